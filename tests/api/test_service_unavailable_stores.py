"""An unavailable store: partial responses, 503 for requests that need it, never 500."""

from __future__ import annotations

import httpx
import pytest

from helpers.read_model.index_follower import IndexFollower
from helpers.stores import Stores
from helpers.stores.proxied_stores import Proxies
from tests.api.outages import is_healthy
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def healthy(proxies: Proxies, shop: Stores, without_breakers: httpx.Client) -> None:
    """Wait until all stores are available."""
    wait_until(lambda: is_healthy(without_breakers))


def _assert_unavailable(response: httpx.Response, store: str) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["store"] == store
    assert "127.0.0.1" not in response.text, "addresses are internal"


_PATHS = ("/api/products", "/api/products?limit=5", "/api/products/1")


@pytest.mark.parametrize(
    ("broken", "store", "field"),
    [("redis", "Redis", "stock"), ("mongo", "MongoDB", "metadata")],
)
def test_the_field_of_an_unavailable_store_is_null(
    without_breakers: httpx.Client, proxies: Proxies, broken: str, store: str, field: str
) -> None:
    wait_until(lambda: is_healthy(without_breakers))
    whole = [without_breakers.get(path).json() for path in _PATHS]
    getattr(proxies, broken).cut()
    for path, expected in zip(_PATHS, whole, strict=True):
        response = without_breakers.get(path)
        assert response.status_code == 200
        assert response.headers["x-missing-stores"] == store
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers
        for product in expected if isinstance(expected, list) else [expected]:
            product[field] = None
        assert response.json() == expected


def test_without_mongodb_and_redis_there_are_names_and_prices(
    without_breakers: httpx.Client, proxies: Proxies
) -> None:
    proxies.mongo.cut()
    proxies.redis.cut()
    response = without_breakers.get("/api/products/2")
    assert response.headers["x-missing-stores"] == "MongoDB, Redis"
    assert response.json() == {
        "id": 2,
        "name": "Phone B",
        "price": "800",
        "metadata": None,
        "stock": None,
    }


def test_without_postgresql_there_are_no_products(
    without_breakers: httpx.Client, proxies: Proxies
) -> None:
    proxies.postgres.cut()
    for path in (*_PATHS, "/api/orders/1"):
        _assert_unavailable(without_breakers.get(path), "PostgreSQL")


def test_a_filter_by_an_unavailable_store_is_503_and_not_an_empty_list(
    without_breakers: httpx.Client, proxies: Proxies
) -> None:
    proxies.redis.cut()
    _assert_unavailable(without_breakers.get("/api/products?in_stock=true"), "Redis")
    proxies.redis.restore()
    proxies.mongo.cut()
    _assert_unavailable(without_breakers.get("/api/products?tag=gift"), "MongoDB")
    _assert_unavailable(
        without_breakers.get("/api/products?spec.ram=16GB&category=laptop"), "MongoDB"
    )


def test_facets_have_the_parts_of_the_available_stores(
    without_breakers: httpx.Client, proxies: Proxies
) -> None:
    whole = without_breakers.get("/api/facets").json()
    proxies.mongo.cut()
    response = without_breakers.get("/api/facets")
    assert response.headers["x-missing-stores"] == "MongoDB"
    assert response.json() == {**whole, "tags": None, "specifications": None}
    proxies.mongo.restore()
    wait_until(lambda: is_healthy(without_breakers))
    proxies.postgres.cut()
    # The index knows the categories, as soon as its change stream is open again.
    wait_until(lambda: without_breakers.get("/api/facets").json() == whole)


def test_facets_without_the_index_have_the_parts_of_the_available_stores(
    without_breakers: httpx.Client, proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_index(_: IndexFollower) -> None: ...

    wait_until(lambda: is_healthy(without_breakers))
    whole = without_breakers.get("/api/facets").json()
    monkeypatch.setattr(IndexFollower, "current", no_index)
    proxies.postgres.cut()
    response = without_breakers.get("/api/facets")
    assert response.headers["x-missing-stores"] == "PostgreSQL"
    assert response.json() == {**whole, "category": None}


@pytest.mark.parametrize("broken", ["postgres", "redis"])
def test_a_failed_order_changes_nothing(
    without_breakers: httpx.Client, proxies: Proxies, shop: Stores, broken: str
) -> None:
    orders = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
    getattr(proxies, broken).cut()
    order = {"product_id": 1, "quantity": 1, "customer_id": 7}
    response = without_breakers.post("/api/orders", json=order)
    assert response.status_code == 503, response.text
    assert response.json()["store"] in ("PostgreSQL", "Redis")
    proxies.restore()
    assert shop.postgres.execute("SELECT count(*) FROM orders").fetchone() == orders
    assert shop.redis.hlen("shop:held:1") == 0
    wait_until(lambda: is_healthy(without_breakers))
    assert without_breakers.get("/api/products/1").json()["stock"] == "15"


@pytest.mark.parametrize(
    ("broken", "store", "status", "how"),
    [
        ("postgres", "PostgreSQL", "down", "cut"),
        ("mongo", "MongoDB", "degraded", "cut"),
        ("redis", "Redis", "degraded", "cut"),
        ("redis", "Redis", "degraded", "freeze"),
        pytest.param("postgres", "PostgreSQL", "down", "freeze", marks=pytest.mark.verify),
        pytest.param("mongo", "MongoDB", "degraded", "freeze", marks=pytest.mark.verify),
    ],
)
def test_healthz_names_the_unavailable_store(
    without_breakers: httpx.Client, proxies: Proxies, broken: str, store: str, status: str, how: str
) -> None:
    getattr(getattr(proxies, broken), how)()
    response = without_breakers.get("/healthz")
    assert response.status_code == 503
    found = response.json()
    assert found["status"] == status
    down = {name for name, store in found["stores"].items() if store["status"] == "down"}
    assert down == {store}
    assert found["stores"][store]["detail"]
