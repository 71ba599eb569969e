"""Pages for people: the storefront, and explanations of problem types."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from helpers.api.problems import PROBLEM_TYPES

_FOLDER = Path(__file__).with_name("storefront")

_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
}


class _Assets(StaticFiles):
    """The storefront's files, with a policy that lets them load nothing from other servers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if "\0" in path:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update({**_POLICY, "Cache-Control": "no-cache"})
        return response


def add_pages(app: FastAPI) -> None:
    """Serve the storefront at ``/``, and a page about each problem type at ``/problems/<type>``."""
    assets = _Assets(directory=_FOLDER)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def storefront() -> Response:
        scope: Scope = {"type": "http", "method": "GET", "headers": []}
        return await assets.get_response("index.html", scope)

    @router.get("/problems/{slug}")
    async def explain(slug: str) -> Response:
        if slug not in PROBLEM_TYPES:
            raise HTTPException(404)
        found = PROBLEM_TYPES[slug]
        return PlainTextResponse(f"{found.status} {found.title}\n\n{found.explanation}\n")

    app.include_router(router)
    app.mount("/storefront", assets)
