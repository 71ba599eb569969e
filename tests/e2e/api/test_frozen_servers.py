"""Frozen and killed servers: deadline, circuit breakers, stale reads, partial responses.

``test_service_limits.py`` does the same with proxies, for more kinds of outages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from helpers.embedded import EmbeddedServers
from helpers.shop import open_shop
from helpers.shop.seeding import seed
from helpers.stores import Stores
from tests.api.outages import (
    CLOSED,
    ORDER,
    REFUSALS,
    assert_stale,
    breakers,
    is_circuit_open,
    is_healthy,
    problem_type,
    send_everything,
    uses_read_model,
)
from tests.api.serving import client_of, serving
from tests.e2e.api.workers_shop import COUNT, Shop, assert_named, assert_unavailable, shop_on
from tests.e2e.servers.server_helpers import (
    frozen,
    kill_processes,
    main_pids,
    temporary_servers,
)
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
    """The shop, with new connections."""
    with open_shop(running.settings) as stores:
        yield stores


@pytest.fixture(scope="module")
def without_breakers(running: EmbeddedServers) -> Iterator[httpx.Client]:
    """A client of a service without circuit breakers."""
    with (
        open_shop(running.settings) as stores,
        serving(stores, deadline=DEADLINE, breaker=False) as service,
        client_of(service) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def workers_shop(running: EmbeddedServers) -> Iterator[Shop]:
    """The same shop, with the products of each worker."""

    def without(name: str, how: str) -> contextlib.AbstractContextManager[None]:
        return _broken(running, name, how)

    with open_shop(running.settings) as stores, shop_on(stores, without) as found:
        yield found


@contextlib.contextmanager
def _broken(servers: EmbeddedServers, name: str, how: str) -> Iterator[None]:
    """Freeze or kill a server, and restore it at the end."""
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
def test_every_request_gets_a_response_while_a_server_is_frozen(
    running: EmbeddedServers, without_breakers: httpx.Client, name: str
) -> None:
    wait_until(lambda: is_healthy(without_breakers))
    with frozen(running, name):
        send_everything(without_breakers, reads=3, writes=30)
        send_everything(without_breakers, reads=1, writes=1)
    wait_until(lambda: is_healthy(without_breakers))
    assert without_breakers.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    assert without_breakers.post("/api/orders", json=ORDER).status_code == 201


def test_queued_orders_of_cancelled_requests_are_dropped(
    running: EmbeddedServers, without_breakers: httpx.Client, shop: Stores
) -> None:
    """There are three times as many orders as threads."""

    def orders() -> int:
        row = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
        assert row is not None
        return int(row[0])

    without_breakers.put("/api/products/1/stock", json={"on_hand": 1000})
    before = orders()
    with frozen(running, "coordinator"), ThreadPoolExecutor(3 * THREADS) as pool:
        futures = [
            pool.submit(without_breakers.post, "/api/orders", json=ORDER)
            for _ in range(3 * THREADS)
        ]
        responses = [future.result() for future in futures]
    assert {response.status_code for response in responses} == {503}
    assert {problem_type(response) for response in responses} <= REFUSALS
    wait_until(lambda: is_healthy(without_breakers))
    # This order is queued after all others.
    wait_until(lambda: without_breakers.post("/api/orders", json=ORDER).status_code == 201)
    # Orders that had started may still be placed.
    assert before + 1 <= orders() <= before + 1 + THREADS


@pytest.mark.parametrize(
    ("name", "store", "how"),
    [
        ("redis", "Redis", "freeze"),
        ("mongo", "MongoDB", "kill"),
        ("coordinator", "PostgreSQL", "kill"),
    ],
)
def test_the_circuit_opens_after_failures_and_closes_after_recovery(
    running: EmbeddedServers, shop: Stores, name: str, store: str, how: str
) -> None:
    with serving(shop, deadline=DEADLINE) as service, client_of(service) as client:
        wait_until(lambda: is_healthy(client) and breakers(client) == CLOSED)
        with _broken(running, name, how):
            wait_until(lambda: is_circuit_open(client, store))
            states = breakers(client)
            assert states.pop(store) in ("open", "half-open")
            assert set(states.values()) == {"closed"}
        wait_until(lambda: is_healthy(client) and breakers(client) == CLOSED)


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_the_read_model_stands_in_for_postgresql(
    running: EmbeddedServers, shop: Stores, how: str
) -> None:
    with (
        serving(shop, deadline=DEADLINE, read_model=True) as service,
        client_of(service) as reader,
    ):
        wait_until(lambda: is_healthy(reader) and uses_read_model(reader))
        products, product = reader.get("/api/products"), reader.get("/api/products/3")
        with _broken(running, "coordinator", how):
            wait_until(lambda: "x-stale" in reader.get("/api/products").headers)
            for path, before in (("/api/products", products), ("/api/products/3", product)):
                assert_stale(reader, path, before)
        wait_until(lambda: is_healthy(reader) and uses_read_model(reader))
        assert reader.get("/api/products").content == products.content


@pytest.mark.parametrize(("worker", "how"), [("worker1", "kill"), ("worker2", "freeze")])
def test_the_products_of_an_unavailable_worker_are_missing_and_named(
    workers_shop: Shop, worker: str, how: str
) -> None:
    """In the list, in pages and single products, until the worker is available again."""
    assert workers_shop.is_complete()
    with workers_shop.without(worker, how):
        assert_named(workers_shop, worker)
    assert workers_shop.is_complete()


def test_without_both_workers_there_is_no_list(workers_shop: Shop) -> None:
    with workers_shop.without("worker1", "kill"), workers_shop.without("worker2", "freeze"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            assert_unavailable(workers_shop.get(path), "worker1", "worker2")
    assert workers_shop.is_complete()


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_orders_of_products_of_an_unavailable_worker_are_refused(
    workers_shop: Shop, how: str
) -> None:
    """Orders of products on the other worker are placed."""
    there, gone = workers_shop.ids["worker2"][0], workers_shop.ids["worker1"][0]
    order = {"quantity": 1, "customer_id": 7}
    with workers_shop.without("worker1", how):
        assert_unavailable(
            workers_shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1"
        )
        placed = workers_shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
    assert workers_shop.get(placed.headers["location"]).json() == placed.json()
    stock = int(workers_shop.products[there - 1]["stock"])
    put = workers_shop.client.put(f"/api/products/{there}/stock", json={"on_hand": stock})
    assert put.status_code == 200
    assert workers_shop.is_complete()
