"""What people see: the storefront, and the pages that explain problems."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from helpers.api.problems import KINDS

_FOLDER = Path(__file__).with_name("storefront")

_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
}


class _Assets(StaticFiles):
    """The storefront's files, which ask nothing of anybody else."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if "\0" in path:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update({**_POLICY, "Cache-Control": "no-cache"})
        return response


def add_pages(app: FastAPI) -> None:
    """Serve the storefront at ``/``, and an explanation of each kind of problem."""
    assets = _Assets(directory=_FOLDER)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def storefront() -> Response:
        scope: Scope = {"type": "http", "method": "GET", "headers": []}
        return await assets.get_response("index.html", scope)

    @router.get("/problems/{kind}")
    async def explain(kind: str) -> Response:
        if kind not in KINDS:
            raise HTTPException(404)
        found = KINDS[kind]
        return PlainTextResponse(f"{found.status} {found.title}\n\n{found.explanation}\n")

    app.include_router(router)
    app.mount("/storefront", assets)
