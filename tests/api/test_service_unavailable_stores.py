"""A store is away: what does not need it is answered, what does says so, and nothing is a 500."""

from __future__ import annotations

import httpx
import pytest

from helpers.stores import Stores
from helpers.stores.proxied_stores import Proxies
from tests.api.outages import is_whole
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def whole(links: Proxies, shop: Stores, tireless: httpx.Client) -> None:
    """Begin where nothing is missing."""
    wait_until(lambda: is_whole(tireless))


def _assert_away(response: httpx.Response, store: str) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["store"] == store
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"


_PATHS = ("/api/products", "/api/products?limit=5", "/api/products/1")


@pytest.mark.parametrize(
    ("broken", "store", "field"),
    [("redis", "Redis", "stock"), ("mongo", "MongoDB", "metadata")],
)
def test_without_one_of_them_its_field_is_unknown(
    tireless: httpx.Client, links: Proxies, broken: str, store: str, field: str
) -> None:
    whole = [tireless.get(path).json() for path in _PATHS]
    getattr(links, broken).cut()
    for path, expected in zip(_PATHS, whole, strict=True):
        response = tireless.get(path)
        assert response.status_code == 200
        assert response.headers["x-missing-stores"] == store
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers
        for one in expected if isinstance(expected, list) else [expected]:
            one[field] = None
        assert response.json() == expected


def test_without_both_there_are_names_and_prices(tireless: httpx.Client, links: Proxies) -> None:
    links.mongo.cut()
    links.redis.cut()
    response = tireless.get("/api/products/2")
    assert response.headers["x-missing-stores"] == "MongoDB, Redis"
    assert response.json() == {
        "id": 2,
        "name": "Phone B",
        "price": "800",
        "metadata": None,
        "stock": None,
    }


def test_without_postgresql_there_are_no_products(tireless: httpx.Client, links: Proxies) -> None:
    links.postgres.cut()
    for path in (*_PATHS, "/api/orders/1"):
        _assert_away(tireless.get(path), "PostgreSQL")


def test_who_asks_for_what_is_away_is_not_told_that_there_is_nothing(
    tireless: httpx.Client, links: Proxies
) -> None:
    links.redis.cut()
    _assert_away(tireless.get("/api/products?in_stock=true"), "Redis")
    links.redis.restore()
    links.mongo.cut()
    _assert_away(tireless.get("/api/products?tag=gift"), "MongoDB")
    _assert_away(tireless.get("/api/products?spec.ram=16GB&category=laptop"), "MongoDB")


def test_facets_have_the_parts_of_those_who_answer(tireless: httpx.Client, links: Proxies) -> None:
    whole = tireless.get("/api/facets").json()
    links.mongo.cut()
    response = tireless.get("/api/facets")
    assert response.headers["x-missing-stores"] == "MongoDB"
    assert response.json() == {**whole, "tags": None, "specifications": None}
    links.mongo.restore()
    wait_until(lambda: is_whole(tireless))
    links.postgres.cut()
    response = tireless.get("/api/facets")
    assert response.headers["x-missing-stores"] == "PostgreSQL"
    assert response.json() == {**whole, "category": None}


@pytest.mark.parametrize("broken", ["postgres", "redis"])
def test_what_cannot_be_written_is_not_half_written(
    tireless: httpx.Client, links: Proxies, shop: Stores, broken: str
) -> None:
    orders = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
    getattr(links, broken).cut()
    order = {"product_id": 1, "quantity": 1, "customer_id": 7}
    response = tireless.post("/api/orders", json=order)
    assert response.status_code == 503, response.text
    assert response.json()["store"] in ("PostgreSQL", "Redis")
    links.restore()
    assert shop.postgres.execute("SELECT count(*) FROM orders").fetchone() == orders
    assert shop.redis.hlen("shop:reserved:1") == 0
    wait_until(lambda: is_whole(tireless))
    assert tireless.get("/api/products/1").json()["stock"] == "15"


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
def test_health_says_which_store_is_away(
    tireless: httpx.Client, links: Proxies, broken: str, store: str, status: str, how: str
) -> None:
    getattr(getattr(links, broken), how)()
    response = tireless.get("/healthz")
    assert response.status_code == 503
    found = response.json()
    assert found["status"] == status
    down = {name for name, one in found["stores"].items() if one["status"] == "down"}
    assert down == {store}
    assert found["stores"][store]["detail"]
