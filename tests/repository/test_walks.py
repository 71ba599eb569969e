"""The walks of a request and of an order in CONTRIBUTING.md: the named functions are called."""

from __future__ import annotations

import ast
import asyncio
import io
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from helpers.api.application import create_app
from helpers.api.json_logs import json_logger
from helpers.api.options import ServeOptions
from helpers.settings import PROJECT, load_settings
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from tests.repository.naming import walks
from tests.waiting import come

# The application is called directly, without the server that reads bytes from a socket.
_NOT_CALLED = {"helpers/api/client_timeouts.py"}
_TOKEN = "for the test"

Calls = set[tuple[str, str]]


def _functions(file: str) -> set[str]:
    """Return the functions and methods of a file, by the names that a walk uses for them."""
    tree = ast.parse((PROJECT / file).read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    methods = {
        f"{owner.name}.{method.name}"
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, kinds)
    }
    return methods | {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def _not_called(walk: str, called: Calls) -> list[tuple[str, str]]:
    """Return the functions that a walk names and that are not in ``called``."""
    named = [
        (file, name)
        for file, names in walks()[walk]
        if file not in _NOT_CALLED
        for name in names
        if name in _functions(file)
    ]
    assert len(named) >= 15
    return [call for call in named if call not in called]


async def _send(stores: Stores, method: str, path: str, **more: Any) -> tuple[Any, Calls]:
    """Send one request; return the JSON of the response, and the functions that were called.

    The request of an order has been relayed to MongoDB when this returns.
    """
    called: Calls = set()

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PROJECT / "helpers")):
            file = Path(frame.f_code.co_filename).relative_to(PROJECT).as_posix()
            called.add((file, frame.f_code.co_qualname.rpartition("<locals>.")[2]))

    addresses = load_settings(environment_of(stores), dotenv=Path("/dev/null")).addresses
    options = ServeOptions(token=_TOKEN, relay_interval=0.01)
    sys.setprofile(record)
    threading.setprofile(record)
    try:
        app = create_app(options, addresses=addresses, log=json_logger(io.BytesIO()))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
        ):
            response = await client.request(method, path, **more)
            count = "SELECT count(*) FROM order_outbox"
            await come(lambda: stores.postgres.execute(count).fetchone() == (0,))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return response.raise_for_status().json(), called


def test_a_request_takes_the_path_of_its_walk(shop: Stores) -> None:
    products, called = asyncio.run(_send(shop, "GET", "/api/products?ids=1,2"))
    assert [product["id"] for product in products] == [1, 2]
    assert _not_called("A request", called) == []


def test_an_order_takes_the_path_of_its_walk(shop: Stores) -> None:
    headers = {"Authorization": f"Bearer {_TOKEN}", "Idempotency-Key": "walk"}
    body = {"product_id": 1, "quantity": 1, "customer_id": 7}
    order, called = asyncio.run(_send(shop, "POST", "/api/orders", json=body, headers=headers))
    assert order["quantity"] == 1
    assert _not_called("An order", called) == []
