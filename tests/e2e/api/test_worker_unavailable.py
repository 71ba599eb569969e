"""A worker is away: what it holds is missing, and the answer says so.

Both workers are reached over links here, by the coordinator too, and a link is cut or frozen.
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
from helpers.settings import Settings
from helpers.shop import locate
from helpers.shop.opening import open_databases
from helpers.stores import Stores
from tests.e2e.api.workers_shop import (
    WORKERS,
    Product,
    Shop,
    assert_away,
    assert_missing,
    assert_named,
    shop_on,
)
from tests.waiting import wait_until

# Nodes elsewhere do not reach links on this machine.
pytestmark = pytest.mark.servers

HOW = pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
_LAST_REDIS_DATABASE = 15


@pytest.fixture(scope="module")
def stores(settings: Settings, process_number: int) -> Iterator[tuple[Stores, dict[str, TcpProxy]]]:
    """Databases beside those of other tests, whose workers are reached over links."""
    addresses = locate(settings)
    name = f"test_{process_number}_linked"
    number = _LAST_REDIS_DATABASE - process_number
    with contextlib.ExitStack() as opened:
        links = [opened.enter_context(TcpProxy(url)) for url in addresses.workers[: len(WORKERS)]]
        for link in links:
            opened.callback(link.restore)
        # Its nodes are gone with the links.
        opened.callback(drop_database, nodes_of(addresses), name)
        # Another test may have started a third worker, which no shop uses.
        urls = [*(link.url for link in links), *addresses.workers[len(WORKERS) :]]
        places = [urlsplit(url) for url in urls]
        names = tuple((place.hostname or "", place.port or 0) for place in places)
        far = replace(addresses, workers=tuple(urls), worker_names=names)
        found = opened.enter_context(open_databases(name, number, replace(settings, addresses=far)))
        yield found, dict(zip(WORKERS, links, strict=True))


@pytest.fixture(scope="module")
def whole_shop(stores: tuple[Stores, dict[str, TcpProxy]]) -> Iterator[Shop]:
    found, links = stores

    @contextlib.contextmanager
    def without(worker: str, how: str) -> Iterator[None]:
        getattr(links[worker], how)()
        try:
            yield
        finally:
            links[worker].restore()

    with shop_on(found, without) as shop:
        yield shop


@pytest.fixture
def shop(whole_shop: Shop) -> Iterator[Shop]:
    """The shop, whole before and after."""
    wait_until(whole_shop.is_whole)
    yield whole_shop
    wait_until(whole_shop.is_whole)


@HOW
def test_what_it_holds_is_missing_and_named(shop: Shop, how: str) -> None:
    """The list, pages and single products; the next answer after its return is whole again."""
    with shop.without("worker1", how):
        assert_named(shop, "worker1")
    assert shop.is_whole()


def test_health_shows_the_nodes_by_the_names_that_answers_use(shop: Shop) -> None:
    assert shop.get("/healthz").json()["stores"]["PostgreSQL"]["nodes"] == dict.fromkeys(
        WORKERS, "ok"
    )
    with shop.without("worker2", "cut"):
        response = shop.get("/healthz")
    assert response.status_code == 503
    assert response.json()["status"] == "degraded"
    assert response.json()["stores"]["PostgreSQL"]["status"] == "ok"
    assert response.json()["stores"]["PostgreSQL"]["nodes"] == {"worker1": "ok", "worker2": "down"}


def test_pages_go_on_over_what_is_missing(shop: Shop) -> None:
    """Together they are what is left, and name all that is missing, each once."""
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
    with shop.without("worker1", "cut"):
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
    with shop.without("worker1", "cut"):
        response = shop.get("/api/facets")
    assert_missing(response, shop, "worker1", shop.ids["worker1"])
    found = response.json()
    assert {**found, "category": None} == {**whole, "category": None}
    assert sum(one["count"] for one in found["category"]) == len(shop.ids["worker2"])


def test_without_both_workers_there_is_no_list(shop: Shop) -> None:
    with shop.without("worker1", "cut"), shop.without("worker2", "cut"):
        for path in ("/api/products", "/api/products?limit=3", "/api/products?category=laptop"):
            assert_away(shop.get(path), "worker1", "worker2")


@HOW
def test_orders_of_its_products_are_refused_by_its_name(shop: Shop, how: str) -> None:
    """Those of the other worker's are placed; nothing stays reserved of the others."""
    with shop.without("worker1", how):
        there, gone = shop.ids["worker2"][0], shop.ids["worker1"][0]
        order = {"quantity": 1, "customer_id": 7}
        assert_away(shop.client.post("/api/orders", json={**order, "product_id": gone}), "worker1")
        placed = shop.client.post("/api/orders", json={**order, "product_id": there})
        assert placed.status_code == 201, placed.text
        on_hand = {"on_hand": 5}
        assert_away(shop.client.put(f"/api/products/{gone}/stock", json=on_hand), "worker1")
        assert_away(shop.get(placed.headers["location"]), "worker1")
    read = shop.get(placed.headers["location"])
    assert read.json() == placed.json()
    stock = shop.products[there - 1]["stock"]
    assert shop.client.put(f"/api/products/{there}/stock", json={"on_hand": int(stock)}).json() == {
        "id": there,
        "on_hand": int(stock),
        "stock": stock,
    }
