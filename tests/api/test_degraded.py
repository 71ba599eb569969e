"""A store is away: what does not need it is answered, what does says so, and nothing is a 500."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from helpers.faces.background import Served, served
from helpers.stores import Stores
from helpers.stores.linked import LinkedStores, linked


@dataclass(frozen=True)
class Far:
    """A service that reaches its stores through links, and a client of it."""

    stores: LinkedStores
    service: Served
    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)


@pytest.fixture(scope="module")
def linked_service(shop: Stores) -> Iterator[Far]:
    with (
        linked(shop) as stores,
        served(stores, "--no-breaker") as service,
        httpx.Client(base_url=service.url, headers=service.writing, timeout=60) as client,
    ):
        yield Far(stores, service, client)


@pytest.fixture
def far(linked_service: Far) -> Iterator[Far]:
    """All links as they should be, before and after."""
    linked_service.stores.links.restore()
    yield linked_service
    linked_service.stores.links.restore()
    assert linked_service.get("/healthz").json()["status"] == "ok"
    response = linked_service.get("/api/products")
    assert response.status_code == 200
    assert "x-missing-stores" not in response.headers


def _assert_away(response: httpx.Response, store: str) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["store"] == store
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"


@pytest.mark.parametrize("path", ["/api/products", "/api/products?limit=5", "/api/products/1"])
def test_without_redis_the_stock_is_unknown(far: Far, path: str) -> None:
    whole = far.get(path)
    far.stores.links.redis.cut()
    response = far.get(path)
    assert response.status_code == 200
    assert response.headers["x-missing-stores"] == "Redis"
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
    expected, found = whole.json(), response.json()
    for one in expected if isinstance(expected, list) else [expected]:
        one["stock"] = None
    assert found == expected


@pytest.mark.parametrize("path", ["/api/products", "/api/products?limit=5", "/api/products/1"])
def test_without_mongodb_there_are_no_metadata(far: Far, path: str) -> None:
    whole = far.get(path)
    far.stores.links.mongo.cut()
    response = far.get(path)
    assert response.status_code == 200
    assert response.headers["x-missing-stores"] == "MongoDB"
    expected, found = whole.json(), response.json()
    for one in expected if isinstance(expected, list) else [expected]:
        one["metadata"] = None
    assert found == expected


def test_without_both_there_are_names_and_prices(far: Far) -> None:
    far.stores.links.mongo.cut()
    far.stores.links.redis.cut()
    response = far.get("/api/products/2")
    assert response.headers["x-missing-stores"] == "MongoDB, Redis"
    assert response.json() == {
        "id": 2,
        "name": "Phone B",
        "price": "800",
        "metadata": None,
        "stock": None,
    }


@pytest.mark.parametrize(
    "path", ["/api/products", "/api/products?limit=5", "/api/products/1", "/api/orders/1"]
)
def test_without_postgresql_there_are_no_products(far: Far, path: str) -> None:
    far.stores.links.postgres.cut()
    _assert_away(far.get(path), "PostgreSQL")


def test_who_asks_for_what_is_away_is_not_told_that_there_is_nothing(far: Far) -> None:
    far.stores.links.redis.cut()
    _assert_away(far.get("/api/products?in_stock=true"), "Redis")
    far.stores.links.redis.restore()
    far.stores.links.mongo.cut()
    _assert_away(far.get("/api/products?tag=gift"), "MongoDB")
    _assert_away(far.get("/api/products?spec.ram=16GB&category=laptop"), "MongoDB")


def test_facets_have_the_parts_of_those_who_answer(far: Far) -> None:
    whole = far.get("/api/facets").json()
    far.stores.links.mongo.cut()
    response = far.get("/api/facets")
    assert response.headers["x-missing-stores"] == "MongoDB"
    assert response.json() == {**whole, "tags": None, "specifications": None}
    far.stores.links.mongo.restore()
    far.stores.links.postgres.cut()
    response = far.get("/api/facets")
    assert response.headers["x-missing-stores"] == "PostgreSQL"
    assert response.json() == {**whole, "category": None}


@pytest.mark.parametrize("broken", ["postgres", "redis"])
def test_what_cannot_be_written_is_not_half_written(far: Far, shop: Stores, broken: str) -> None:
    orders = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
    getattr(far.stores.links, broken).cut()
    order = {"product_id": 1, "quantity": 1, "customer_id": 7}
    response = far.client.post("/api/orders", json=order)
    assert response.status_code == 503, response.text
    assert response.json()["store"] in ("PostgreSQL", "Redis")
    far.stores.links.restore()
    assert shop.postgres.execute("SELECT count(*) FROM orders").fetchone() == orders
    assert shop.redis.hlen("shop:held:1") == 0
    assert far.get("/api/products/1").json()["stock"] == "15"


@pytest.mark.parametrize(
    ("broken", "store", "status"),
    [
        ("postgres", "PostgreSQL", "down"),
        ("mongo", "MongoDB", "degraded"),
        ("redis", "Redis", "degraded"),
    ],
)
@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_health_says_which_store_is_away(
    far: Far, broken: str, store: str, status: str, how: str
) -> None:
    getattr(getattr(far.stores.links, broken), how)()
    response = far.get("/healthz")
    assert response.status_code == 503
    found = response.json()
    assert found["status"] == status
    down = {name for name, one in found["stores"].items() if one["status"] == "down"}
    assert down == {store}
    assert found["stores"][store]["detail"]
