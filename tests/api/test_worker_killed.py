"""A worker is away, really: killed or frozen. What it holds is missing, and the answer says so."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from helpers.servers import EmbeddedServers
from helpers.stores import open_shop
from tests.api.workers_shop import Shop, assert_away, assert_named, shop_on
from tests.servers.driving import kill, pids, temporary_servers

pytestmark = [pytest.mark.servers, pytest.mark.verify]


def _taking(servers: EmbeddedServers, worker: str, how: str) -> contextlib.ExitStack:
    """Kill or freeze a worker; return what brings it back."""
    back = contextlib.ExitStack()
    main = pids(servers)[worker]
    if how == "kill":
        kill({worker: main})
        back.callback(servers.up)
        return back
    # The children first: a main process that is stopped starts none meanwhile.
    for one in [psutil.Process(main), *psutil.Process(main).children()]:
        os.kill(one.pid, signal.SIGSTOP)
        back.callback(_go_on, one.pid)
    return back


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with temporary_servers() as servers, open_shop(servers.settings) as stores:

        @contextlib.contextmanager
        def without(worker: str, how: str) -> Iterator[None]:
            with _taking(servers, worker, how):
                yield

        with shop_on(stores, without) as shop:
            yield shop


@pytest.mark.parametrize(("worker", "how"), [("worker1", "kill"), ("worker2", "freeze")])
def test_what_it_holds_is_missing_and_named(shop: Shop, worker: str, how: str) -> None:
    """The list, pages and single products; the next answer after its return is whole again."""
    assert shop.is_whole()
    with shop.without(worker, how):
        assert_named(shop, worker)
    assert shop.is_whole()


def test_without_both_workers_there_is_no_list(shop: Shop) -> None:
    with shop.without("worker1", "kill"), shop.without("worker2", "freeze"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            assert_away(shop.get(path), "worker1", "worker2")
    assert shop.is_whole()


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_orders_of_its_products_are_refused_by_its_name(shop: Shop, how: str) -> None:
    """Those of the other worker's are placed."""
    there, gone = shop.ids["worker2"][0], shop.ids["worker1"][0]
    order = {"quantity": 1, "customer_id": 7}
    with shop.without("worker1", how):
        assert_away(shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1")
        placed = shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
    assert shop.get(placed.headers["location"]).json() == placed.json()
    stock = int(shop.products[there - 1]["stock"])
    put = shop.client.put(f"/api/products/{there}/stock", json={"on_hand": stock})
    assert put.status_code == 200
    assert shop.is_whole()
