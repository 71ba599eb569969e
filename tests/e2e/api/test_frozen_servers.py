"""Servers that are frozen or killed: the service answers within its limits, and says what it did.

``test_limits.py`` sees the same of links, for more kinds of outages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from helpers.embedded import EmbeddedServers
from helpers.shop import open_shop
from helpers.shop.seed import seed
from helpers.stores import Stores
from tests.api.outages import (
    CLOSED,
    ORDER,
    REFUSALS,
    are_views,
    ask_everything,
    assert_stale,
    breakers,
    is_resting,
    is_whole,
    kind_of,
)
from tests.api.serving import client_of, serving
from tests.e2e.api.workers_shop import COUNT, Shop, assert_away, assert_named, shop_on
from tests.e2e.servers.server_helpers import frozen, kill_processes, main_pids, temporary_servers
from tests.waiting import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.verify]

THREADS = 40
DEADLINE = 2.0


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServers]:
    """Servers with a small shop; each test leaves them running."""
    with temporary_servers() as servers:
        with open_shop(servers.settings) as stores:
            seed(stores, COUNT, orders=False)
        yield servers


@pytest.fixture
def shop(running: EmbeddedServers) -> Iterator[Stores]:
    """The shop, by connections that no test has lost."""
    with open_shop(running.settings) as stores:
        yield stores


@pytest.fixture(scope="module")
def tireless(running: EmbeddedServers) -> Iterator[httpx.Client]:
    """A client of a service without breakers: every question is asked."""
    with (
        open_shop(running.settings) as stores,
        serving(stores, deadline=DEADLINE, breaker=False) as service,
        client_of(service) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def workers_shop(running: EmbeddedServers) -> Iterator[Shop]:
    """The same shop, with what each worker has of it."""

    def without(name: str, how: str) -> contextlib.AbstractContextManager[None]:
        return _without(running, name, how)

    with open_shop(running.settings) as stores, shop_on(stores, without) as found:
        yield found


@contextlib.contextmanager
def _without(servers: EmbeddedServers, name: str, how: str) -> Iterator[None]:
    """Freeze or kill a server; bring it back at the end."""
    if how == "freeze":
        with frozen(servers, name):
            yield
        return
    kill_processes({name: main_pids(servers)[name]})
    try:
        yield
    finally:
        servers.up()


@pytest.mark.parametrize("name", ["coordinator", "worker1", "mongo", "redis"])
def test_while_a_server_is_frozen_everything_is_answered(
    running: EmbeddedServers, tireless: httpx.Client, name: str
) -> None:
    wait_until(lambda: is_whole(tireless))
    with frozen(running, name):
        ask_everything(tireless, reads=3, writes=30)
        ask_everything(tireless, reads=1, writes=1)
    wait_until(lambda: is_whole(tireless))
    assert tireless.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    assert tireless.post("/api/orders", json=ORDER).status_code == 201


def test_what_nobody_waits_for_any_more_is_not_begun(
    running: EmbeddedServers, tireless: httpx.Client, shop: Stores
) -> None:
    """Thrice as many orders as there are threads: those that were in line are dropped."""

    def orders() -> int:
        row = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
        assert row is not None
        return int(row[0])

    tireless.put("/api/products/1/stock", json={"on_hand": 1000})
    before = orders()
    with frozen(running, "coordinator"), ThreadPoolExecutor(3 * THREADS) as pool:
        asked = [pool.submit(tireless.post, "/api/orders", json=ORDER) for _ in range(3 * THREADS)]
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {503}
    assert {kind_of(answer) for answer in answers} <= REFUSALS
    wait_until(lambda: is_whole(tireless))
    # It comes after all that is in line.
    wait_until(lambda: tireless.post("/api/orders", json=ORDER).status_code == 201)
    # What had begun may yet be done.
    assert before + 1 <= orders() <= before + 1 + THREADS


@pytest.mark.parametrize(
    ("name", "store", "how"),
    [
        ("redis", "Redis", "freeze"),
        ("mongo", "MongoDB", "kill"),
        ("coordinator", "PostgreSQL", "kill"),
    ],
)
def test_a_store_that_fails_again_and_again_is_left_alone_until_it_is_back(
    running: EmbeddedServers, shop: Stores, name: str, store: str, how: str
) -> None:
    with serving(shop, deadline=DEADLINE) as service, client_of(service) as client:
        wait_until(lambda: is_whole(client) and breakers(client) == CLOSED)
        with _without(running, name, how):
            wait_until(lambda: is_resting(client, store))
            states = breakers(client)
            assert states.pop(store) in ("open", "half-open")
            assert set(states.values()) == {"closed"}
        wait_until(lambda: is_whole(client) and breakers(client) == CLOSED)


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_without_postgresql_the_views_are_answered_and_marked(
    running: EmbeddedServers, shop: Stores, how: str
) -> None:
    with (
        serving(shop, deadline=DEADLINE, read_model=True) as service,
        client_of(service) as reader,
    ):
        wait_until(lambda: is_whole(reader) and are_views(reader))
        products, one = reader.get("/api/products"), reader.get("/api/products/3")
        with _without(running, "coordinator", how):
            wait_until(lambda: "x-stale" in reader.get("/api/products").headers)
            for path, whole in (("/api/products", products), ("/api/products/3", one)):
                assert_stale(reader, path, whole)
        wait_until(lambda: is_whole(reader) and are_views(reader))
        assert reader.get("/api/products").content == products.content


@pytest.mark.parametrize(("worker", "how"), [("worker1", "kill"), ("worker2", "freeze")])
def test_what_it_holds_is_missing_and_named(workers_shop: Shop, worker: str, how: str) -> None:
    """The list, pages and single products; the next answer after its return is whole again."""
    assert workers_shop.is_whole()
    with workers_shop.without(worker, how):
        assert_named(workers_shop, worker)
    assert workers_shop.is_whole()


def test_without_both_workers_there_is_no_list(workers_shop: Shop) -> None:
    with workers_shop.without("worker1", "kill"), workers_shop.without("worker2", "freeze"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            assert_away(workers_shop.get(path), "worker1", "worker2")
    assert workers_shop.is_whole()


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_orders_of_its_products_are_refused_by_its_name(workers_shop: Shop, how: str) -> None:
    """Those of the other worker's are placed."""
    there, gone = workers_shop.ids["worker2"][0], workers_shop.ids["worker1"][0]
    order = {"quantity": 1, "customer_id": 7}
    with workers_shop.without("worker1", how):
        assert_away(
            workers_shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1"
        )
        placed = workers_shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
    assert workers_shop.get(placed.headers["location"]).json() == placed.json()
    stock = int(workers_shop.products[there - 1]["stock"])
    put = workers_shop.client.put(f"/api/products/{there}/stock", json={"on_hand": stock})
    assert put.status_code == 200
    assert workers_shop.is_whole()
