"""A worker is away, really: killed or frozen. What it holds is missing, and the answer says so."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from helpers.faces.background import Served, served
from helpers.servers import EmbeddedServers
from helpers.shop.seed import seed
from helpers.stores import Stores, open_shop
from tests.servers.driving import kill, pids, temporary_servers

pytestmark = pytest.mark.servers

COUNT = 60
WORKERS = ["worker1", "worker2"]
Product = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    """A shop on servers of its own, its service, and which products each worker has."""

    servers: EmbeddedServers
    service: Served
    client: httpx.Client
    ids: dict[str, list[int]]
    shards: dict[str, list[int]]
    products: list[Product]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    @contextlib.contextmanager
    def without(self, worker: str, how: str) -> Iterator[None]:
        """Kill or freeze a worker; bring it back at the end."""
        main = pids(self.servers)[worker]
        if how == "kill":
            kill({worker: main})
            try:
                yield
            finally:
                self.servers.up()
            return
        # The children first: a main process that is stopped starts none meanwhile.
        found = [psutil.Process(main), *psutil.Process(main).children()]
        for one in found:
            os.kill(one.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGCONT)

    def lacking(self, products: list[Product], worker: str) -> list[Product]:
        return [one for one in products if one["id"] not in self.ids[worker]]


@pytest.fixture(scope="module")
def served_shop() -> Iterator[Shop]:
    with temporary_servers() as servers, open_shop(servers.settings) as stores:
        seed(stores, COUNT, orders=False)
        ids, shards = _placed(stores)
        with (
            served(stores) as service,
            httpx.Client(base_url=service.url, headers=service.writing, timeout=60) as client,
        ):
            products = client.get("/api/products").json()
            yield Shop(servers, service, client, ids, shards, products)


@pytest.fixture
def shop(served_shop: Shop) -> Iterator[Shop]:
    """The shop, whole before and after."""
    _assert_whole(served_shop)
    yield served_shop
    _assert_whole(served_shop)


def _placed(stores: Stores) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the products and the shards of each worker, as the workers themselves have them."""
    ids: dict[str, list[int]] = {}
    shards: dict[str, list[int]] = {}
    for worker, url in zip(WORKERS, stores.addresses.workers, strict=True):
        with psycopg.connect(url) as connection:
            # Else genuine Citus keeps them out of the catalogue.
            connection.execute("SET citus.override_table_visibility TO off")
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename ~ '^products_[0-9]+$'"
            ).fetchall()
            found: list[int] = []
            for (table,) in tables:
                query = psycopg.sql.SQL("SELECT id FROM {}").format(psycopg.sql.Identifier(table))
                found += [one for (one,) in connection.execute(query)]
        ids[worker] = sorted(found)
        shards[worker] = sorted(int(table.removeprefix("products_")) for (table,) in tables)
    assert sorted(ids["worker1"] + ids["worker2"]) == list(range(1, COUNT + 1))
    return ids, shards


def _assert_whole(shop: Shop) -> None:
    response = shop.get("/api/products")
    assert response.status_code == 200
    assert response.json() == shop.products
    assert "etag" in response.headers
    assert not [name for name in response.headers if name.startswith("x-missing")]


def _assert_missing(response: httpx.Response, shop: Shop, worker: str, ids: list[int]) -> None:
    """Assert that the answer says that ``ids`` are missing, and why, and is not to be kept."""
    assert response.status_code == 200, response.text
    headers = response.headers
    assert headers["x-missing-nodes"] == worker
    assert headers["x-missing-shards"] == ", ".join(map(str, shop.shards[worker]))
    assert headers["x-missing-products"] == ", ".join(map(str, ids))
    assert headers["x-missing-count"] == str(len(ids))
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers
    assert "x-missing-stores" not in headers, "PostgreSQL answers"


def _assert_away(response: httpx.Response, *workers: str) -> None:
    assert response.status_code == 503, response.text
    found = response.json()
    assert (found["type"], found["store"]) == ("/problems/store-away", "PostgreSQL")
    assert found["nodes"] == list(workers)
    assert all(worker in found["detail"] for worker in workers)
    assert int(response.headers["retry-after"]) > 0
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"


@pytest.mark.parametrize("how", ["kill", "freeze"])
@pytest.mark.parametrize("worker", WORKERS)
def test_what_it_holds_is_missing_and_named(shop: Shop, worker: str, how: str) -> None:
    """The list, pages and single products; the next answer after its return is whole again."""
    lost = shop.ids[worker]
    (other,) = {*WORKERS} - {worker}
    left = shop.lacking(shop.products, worker)
    with shop.without(worker, how):
        for _ in range(2):
            response = shop.get("/api/products")
            _assert_missing(response, shop, worker, lost)
            assert response.json() == left
        response = shop.get("/api/products?limit=10")
        page = response.json()
        assert page == left[:10]
        last = page[-1]["id"]
        _assert_missing(response, shop, worker, [one for one in lost if one <= last])
        response = shop.get(f"/api/products/{shop.ids[other][0]}")
        assert response.json() == shop.products[shop.ids[other][0] - 1]
        assert "etag" in response.headers, "one that is not on that node is whole"
        _assert_away(shop.get(f"/api/products/{lost[0]}"), worker)


def test_health_shows_the_nodes_by_the_names_that_answers_use(shop: Shop) -> None:
    assert shop.get("/healthz").json()["stores"]["PostgreSQL"]["nodes"] == dict.fromkeys(
        WORKERS, "ok"
    )
    with shop.without("worker2", "kill"):
        response = shop.get("/healthz")
    assert response.status_code == 503
    assert response.json()["status"] == "degraded"
    assert response.json()["stores"]["PostgreSQL"]["status"] == "ok"
    assert response.json()["stores"]["PostgreSQL"]["nodes"] == {"worker1": "ok", "worker2": "down"}


def test_pages_go_on_over_what_is_missing(shop: Shop) -> None:
    """Together they are what is left, and name all that is missing, each once."""
    with shop.without("worker1", "kill"):
        path: str | None = "/api/products?limit=7"
        found: list[Product] = []
        named: list[str] = []
        while path is not None:
            response = shop.get(path)
            assert response.headers["x-missing-nodes"] == "worker1"
            found += response.json()
            named += filter(None, response.headers["x-missing-products"].split(", "))
            path = response.links["next"]["url"] if response.links else None
    assert found == shop.lacking(shop.products, "worker1")
    assert named == list(map(str, shop.ids["worker1"]))


@pytest.mark.parametrize("how", ["kill", "freeze"])
@pytest.mark.parametrize(
    "query",
    ["category=laptop", "tag=electronics", "tag=electronics&category=laptop", "in_stock=true"],
)
def test_filters_go_on(shop: Shop, query: str, how: str) -> None:
    whole = shop.get(f"/api/products?limit=1000&{query}").json()
    assert len(whole) > 0
    with shop.without("worker2", how):
        response = shop.get(f"/api/products?limit=1000&{query}")
    assert response.status_code == 200, response.text
    assert response.json() == shop.lacking(whole, "worker2")
    assert response.headers["x-missing-nodes"] == "worker2"
    named = set(map(int, response.headers["x-missing-products"].split(", ")))
    missing = {one["id"] for one in whole} & {*shop.ids["worker2"]}
    assert missing <= named <= {*shop.ids["worker2"]}
    if "in_stock" not in query:  # which those have, Redis is not asked
        assert named == missing


def test_a_list_of_ids_lacks_those_that_are_there_alone(shop: Shop) -> None:
    one, other = shop.ids["worker1"][0], shop.ids["worker2"][0]
    with shop.without("worker1", "kill"):
        both = shop.get(f"/api/products?ids={one},{other}")
        assert [found["id"] for found in both.json()] == [other]
        assert both.headers["x-missing-products"] == str(one)
        assert both.headers["x-missing-count"] == "1"
        alone = shop.get(f"/api/products?ids={other}")
        assert alone.json() == [shop.products[other - 1]]
        assert "etag" in alone.headers
        assert "x-missing-nodes" not in alone.headers


def test_facets_count_what_is_left(shop: Shop) -> None:
    whole = shop.get("/api/facets").json()
    with shop.without("worker1", "kill"):
        response = shop.get("/api/facets")
    _assert_missing(response, shop, "worker1", shop.ids["worker1"])
    found = response.json()
    assert {**found, "category": None} == {**whole, "category": None}
    assert sum(one["count"] for one in found["category"]) == len(shop.ids["worker2"])


def test_without_both_workers_there_is_no_list(shop: Shop) -> None:
    with shop.without("worker1", "kill"), shop.without("worker2", "freeze"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            _assert_away(shop.get(path), "worker1", "worker2")


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_orders_of_its_products_are_refused_by_its_name(shop: Shop, how: str) -> None:
    """Those of the other worker's are placed; nothing stays reserved of the others."""
    with shop.without("worker1", how):
        there, gone = shop.ids["worker2"][0], shop.ids["worker1"][0]
        order = {"quantity": 1, "customer_id": 7}
        _assert_away(shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1")
        placed = shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
        on_hand = {"on_hand": 5}
        _assert_away(shop.client.put(f"/api/products/{gone}/stock", json=on_hand), "worker1")
        _assert_away(shop.get(placed.headers["location"]), "worker1")
    read = shop.get(placed.headers["location"])
    assert read.json() == placed.json()
    stock = shop.products[there - 1]["stock"]
    assert shop.client.put(f"/api/products/{there}/stock", json={"on_hand": int(stock)}).json() == {
        "id": there,
        "on_hand": int(stock),
        "stock": stock,
    }
