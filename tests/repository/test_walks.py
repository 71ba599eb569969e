"""The walk in CONTRIBUTING.md is the one that a request takes: it is taken, and watched."""

from __future__ import annotations

import ast
import asyncio
import io
import sys
from pathlib import Path
from types import FrameType

import httpx

from helpers.api.application import create_app
from helpers.api.json_logs import json_logger
from helpers.api.options import ServeOptions
from helpers.settings import PROJECT, load_settings
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from tests.repository.naming import walks

# Without a server nobody reads bytes.
_NOT_HERE = {"helpers/api/client_timeouts.py"}


def _functions(file: str) -> set[str]:
    """Return the functions and methods of a file, by the names that the walk has for them."""
    tree = ast.parse((PROJECT / file).read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    methods = {
        f"{owner.name}.{one.name}"
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for one in owner.body
        if isinstance(one, kinds)
    }
    return methods | {one.name for one in ast.walk(tree) if isinstance(one, kinds)}


def _short(qualified: str) -> str:
    """Return a name as the walk has it: a function inside another goes by its own alone."""
    return qualified.rpartition("<locals>.")[2]


async def _ask(stores: Stores) -> tuple[httpx.Response, set[tuple[str, str]]]:
    """Ask for product 1; return the answer, and which functions of which files were called."""
    called: set[tuple[str, str]] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PROJECT / "helpers")):
            file = Path(frame.f_code.co_filename).relative_to(PROJECT)
            called.add((file.as_posix(), _short(frame.f_code.co_qualname)))

    addresses = load_settings(environment_of(stores), dotenv=Path("/dev/null")).addresses
    assert addresses is not None
    log = json_logger(io.BytesIO())
    app = create_app(ServeOptions(token="none", relay=False), addresses=addresses, log=log)
    async with app.router.lifespan_context(app):
        sys.setprofile(watch)
        try:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                answer = await client.get("/api/products/1")
        finally:
            sys.setprofile(None)
    return answer, called


def test_a_request_goes_where_the_walk_goes(shop: Stores) -> None:
    answer, called = asyncio.run(_ask(shop))
    assert answer.json()["name"] == "Laptop A"
    walk = walks()[0]
    named = [
        (file, name)
        for file, names in walk
        if file not in _NOT_HERE
        for name in names
        if name in _functions(file)
    ]
    assert len(named) >= 15
    assert [one for one in named if one not in called] == []
