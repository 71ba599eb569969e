"""An unavailable worker: its products are missing, and the response names them.

Service and coordinator reach both workers through proxies, and a proxy is cut or frozen.
``test_frozen_servers.py`` does the same to the workers' processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from helpers.citus.cluster_databases import drop_database, nodes_of
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.read_model.index_follower import IndexFollower
from helpers.settings import Settings
from helpers.shop import locate
from helpers.shop.opening import open_databases
from helpers.stores import Stores
from tests.e2e.api.workers_shop import (
    WORKERS,
    Product,
    Shop,
    assert_missing,
    assert_named,
    assert_unavailable,
    shop_on,
)
from tests.waiting import wait_until

# Nodes on other machines cannot reach proxies on this one.
pytestmark = pytest.mark.servers

HOW = pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
# Of the process, besides its usual one; test_ownership uses it, too.
_FIRST_REDIS_DATABASE = 14


@pytest.fixture(scope="module")
def stores(settings: Settings, process_number: int) -> Iterator[tuple[Stores, dict[str, TcpProxy]]]:
    """Databases of this module only, whose workers are reached through proxies."""
    addresses = locate(settings)
    name = f"test_{process_number}_proxied"
    number = _FIRST_REDIS_DATABASE + process_number
    with contextlib.ExitStack() as opened:
        proxies = [opened.enter_context(TcpProxy(url)) for url in addresses.workers[: len(WORKERS)]]
        for proxy in proxies:
            opened.callback(proxy.restore)
        # Drop the databases directly, because the proxies are closed by then.
        opened.callback(drop_database, nodes_of(addresses), name)
        # Another test may have started a third worker, which the shop does not use.
        urls = [*(proxy.url for proxy in proxies), *addresses.workers[len(WORKERS) :]]
        places = [urlsplit(url) for url in urls]
        names = tuple((place.hostname or "", place.port or 0) for place in places)
        proxied = replace(addresses, workers=tuple(urls), worker_names=names)
        found = opened.enter_context(
            open_databases(name, number, replace(settings, addresses=proxied))
        )
        opened.callback(found.redis.flushdb)
        yield found, dict(zip(WORKERS, proxies, strict=True))


@pytest.fixture(scope="module")
def proxied_shop(stores: tuple[Stores, dict[str, TcpProxy]]) -> Iterator[Shop]:
    found, proxies = stores

    @contextlib.contextmanager
    def without(worker: str, how: str) -> Iterator[None]:
        getattr(proxies[worker], how)()
        try:
            yield
        finally:
            proxies[worker].restore()

    with shop_on(found, without) as shop:
        yield shop


@pytest.fixture
def shop(proxied_shop: Shop) -> Iterator[Shop]:
    """The shop, complete before and after the test."""
    wait_until(proxied_shop.is_complete)
    yield proxied_shop
    wait_until(proxied_shop.is_complete)


@HOW
def test_the_products_of_an_unavailable_worker_are_missing_and_named(shop: Shop, how: str) -> None:
    """In the list, in pages and single products, until the worker is available again."""
    with shop.without("worker1", how):
        assert_named(shop, "worker1")
    assert shop.is_complete()


def test_healthz_shows_the_status_of_each_node(shop: Shop) -> None:
    assert shop.get("/healthz").json()["stores"]["PostgreSQL"]["nodes"] == dict.fromkeys(
        WORKERS, "ok"
    )
    with shop.without("worker2", "cut"):
        response = shop.get("/healthz")
    assert response.status_code == 503
    assert response.json()["status"] == "degraded"
    assert response.json()["stores"]["PostgreSQL"]["status"] == "ok"
    assert response.json()["stores"]["PostgreSQL"]["nodes"] == {"worker1": "ok", "worker2": "down"}


def test_pages_skip_missing_products(shop: Shop) -> None:
    """All pages together have the other products, and name each missing product once."""
    with shop.without("worker1", "cut"):
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


@pytest.mark.parametrize(
    ("query", "how"),
    [
        ("category=laptop", "cut"),
        ("tag=electronics", "cut"),
        ("tag=electronics&category=laptop", "cut"),
        ("in_stock=true", "cut"),
        pytest.param("tag=electronics&category=laptop", "freeze", marks=pytest.mark.verify),
    ],
)
def test_filters_apply_to_the_available_products(shop: Shop, query: str, how: str) -> None:
    whole = shop.get(f"/api/products?limit=1000&{query}").json()
    assert len(whole) > 0
    with shop.without("worker2", how):
        response = shop.get(f"/api/products?limit=1000&{query}")
    assert response.status_code == 200, response.text
    assert response.json() == shop.lacking(whole, "worker2")
    assert response.headers["x-missing-nodes"] == "worker2"
    named = set(map(int, response.headers["x-missing-products"].split(", ")))
    missing = {product["id"] for product in whole} & {*shop.ids["worker2"]}
    assert missing <= named <= {*shop.ids["worker2"]}
    if "in_stock" not in query:  # the stock of missing products is not read
        assert named == missing


def test_a_request_for_ids_lacks_only_those_of_the_unavailable_worker(shop: Shop) -> None:
    gone, other = shop.ids["worker1"][0], shop.ids["worker2"][0]
    with shop.without("worker1", "cut"):
        both = shop.get(f"/api/products?ids={gone},{other}")
        assert [found["id"] for found in both.json()] == [other]
        assert both.headers["x-missing-products"] == str(gone)
        assert both.headers["x-missing-count"] == "1"
        alone = shop.get(f"/api/products?ids={other}")
        assert alone.json() == [shop.products[other - 1]]
        assert "etag" in alone.headers
        assert "x-missing-nodes" not in alone.headers


def test_the_index_counts_all_products(shop: Shop) -> None:
    whole = shop.get("/api/facets").json()
    with shop.without("worker1", "cut"):
        response = shop.get("/api/facets")
    assert response.json() == whole
    assert "x-missing-nodes" not in response.headers


def test_facets_without_the_index_count_the_available_products(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_index(_: IndexFollower) -> None: ...

    whole = shop.get("/api/facets").json()
    monkeypatch.setattr(IndexFollower, "current", no_index)
    assert shop.get("/api/facets").json() == whole
    with shop.without("worker1", "cut"):
        response = shop.get("/api/facets")
    assert_missing(response, shop, "worker1", shop.ids["worker1"])
    found = response.json()
    assert {**found, "category": None} == {**whole, "category": None}
    assert sum(value["count"] for value in found["category"]) == len(shop.ids["worker2"])


def test_without_both_workers_there_is_no_list(shop: Shop) -> None:
    with shop.without("worker1", "cut"), shop.without("worker2", "cut"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            assert_unavailable(shop.get(path), "worker1", "worker2")


@HOW
def test_orders_of_products_of_an_unavailable_worker_are_refused(shop: Shop, how: str) -> None:
    """Orders of products on the other worker are placed; refused ones leave no reservation."""
    with shop.without("worker1", how):
        there, gone = shop.ids["worker2"][0], shop.ids["worker1"][0]
        order = {"quantity": 1, "customer_id": 7}
        assert_unavailable(
            shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1"
        )
        placed = shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
        on_hand = {"on_hand": 5}
        assert_unavailable(shop.client.put(f"/api/products/{gone}/stock", json=on_hand), "worker1")
        assert_unavailable(shop.get(placed.headers["location"]), "worker1")
    read = shop.get(placed.headers["location"])
    assert read.json() == placed.json()
    stock = shop.products[there - 1]["stock"]
    assert shop.client.put(f"/api/products/{there}/stock", json={"on_hand": int(stock)}).json() == {
        "id": there,
        "on_hand": int(stock),
        "stock": stock,
    }
