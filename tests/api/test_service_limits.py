"""Stores that say nothing or refuse: the service answers within its limits, and says what it did.

Proxies are frozen and cut here; ``test_frozen_servers.py`` does the same to servers. No time
decides: a store that is frozen stays so until all requests are answered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from helpers.stores import Stores
from helpers.stores.circuit_breaker import TRANSITIONS
from helpers.stores.proxied_stores import ProxiedStores, Proxies
from tests.api.conftest import COUNT, LINKED_DEADLINE
from tests.api.outages import (
    CLOSED,
    ORDER,
    RESTING,
    are_views,
    ask_everything,
    assert_stale,
    breakers,
    is_resting,
    is_whole,
    kind_of,
)
from tests.api.serving import client_of, serving
from tests.waiting import wait_until

_PAUSE_SECONDS = 0.2


@pytest.fixture(scope="module")
def client(shop: Stores, proxied_shop: ProxiedStores) -> Iterator[httpx.Client]:
    """A client of a service with breakers that pause for a moment only."""
    proxied_shop.proxies.restore()
    with (
        serving(proxied_shop, deadline=LINKED_DEADLINE, breaker_pause=_PAUSE_SECONDS) as running,
        client_of(running) as one,
    ):
        yield one


@contextlib.contextmanager
def _without(links: Proxies, name: str, how: str) -> Iterator[None]:
    link = getattr(links, name)
    getattr(link, how)()
    try:
        yield
    finally:
        link.restore()


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [
        ("postgres", 1, 2),
        pytest.param("mongo", 3, 30, marks=pytest.mark.verify),
        pytest.param("redis", 3, 30, marks=pytest.mark.verify),
    ],
)
def test_while_a_store_is_frozen_everything_is_answered(
    links: Proxies, tireless: httpx.Client, shop: Stores, name: str, reads: int, writes: int
) -> None:
    wait_until(lambda: is_whole(tireless))
    assert tireless.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    with _without(links, name, "freeze"):
        ask_everything(tireless, reads=reads, writes=writes)
    wait_until(lambda: is_whole(tireless))
    assert tireless.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    assert tireless.post("/api/orders", json=ORDER).status_code == 201


@pytest.mark.parametrize(
    ("name", "store", "how"),
    [
        ("redis", "Redis", "freeze"),
        ("postgres", "PostgreSQL", "cut"),
        ("mongo", "MongoDB", "cut"),
        pytest.param("redis", "Redis", "cut", marks=pytest.mark.verify),
        pytest.param("postgres", "PostgreSQL", "freeze", marks=pytest.mark.verify),
        pytest.param("mongo", "MongoDB", "freeze", marks=pytest.mark.verify),
    ],
)
def test_a_store_that_fails_again_and_again_is_left_alone_until_it_is_back(
    links: Proxies, client: httpx.Client, name: str, store: str, how: str
) -> None:
    wait_until(lambda: is_whole(client) and breakers(client) == CLOSED)
    with _without(links, name, how):
        wait_until(lambda: is_resting(client, store))
        states = breakers(client)
        assert states.pop(store) in ("open", "half-open")
        assert set(states.values()) == {"closed"}
        health = client.get("/healthz").json()["stores"][store]
        assert health["status"] == "down", "it is asked here"
        assert health["breaker"]["failures"] >= 5
        assert health["breaker"]["retry_seconds"] <= _PAUSE_SECONDS
    wait_until(lambda: is_whole(client) and breakers(client) == CLOSED)


def test_what_is_refused_says_when_to_try_again(
    links: Proxies, client: httpx.Client, shop: Stores
) -> None:
    wait_until(lambda: is_whole(client))
    with _without(links, "redis", "cut"):
        found = []

        def refused() -> bool:
            found.append(client.post("/api/orders", json=ORDER))
            return RESTING in found[-1].json()["detail"]

        wait_until(refused)
        assert (found[-1].status_code, kind_of(found[-1])) == (503, "store-unavailable")
        assert found[-1].json()["store"] == "Redis"
        assert 1 <= int(found[-1].headers["retry-after"]) <= 2
        assert client.get("/api/orders/1000000000001").status_code in (200, 404), "no need of Redis"
    wait_until(lambda: is_whole(client))
    assert client.post("/api/orders", json=ORDER).status_code == 201


def test_without_breakers_none_is_shown(tireless: httpx.Client) -> None:
    stores = tireless.get("/healthz").json()["stores"]
    assert [one["breaker"] for one in stores.values()] == [None, None, None]
    assert {before for before, _, _ in TRANSITIONS} == {"closed", "open", "half-open"}


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_without_postgresql_the_views_are_answered_and_marked(
    links: Proxies, proxied_shop: ProxiedStores, shop: Stores, how: str
) -> None:
    options = {"deadline": LINKED_DEADLINE, "breaker_pause": _PAUSE_SECONDS, "read_model": True}
    with serving(proxied_shop, **options) as service, client_of(service) as reader:
        wait_until(lambda: is_whole(reader) and are_views(reader))
        products, one = reader.get("/api/products"), reader.get("/api/products/3")
        with _without(links, "postgres", how):
            wait_until(lambda: "x-stale" in reader.get("/api/products").headers)
            for path, whole in (("/api/products", products), ("/api/products/3", one)):
                assert_stale(reader, path, whole)
            for path in ("/api/products?limit=5", f"/api/products/{COUNT + 1}"):
                refused = reader.get(path)
                assert (refused.status_code, kind_of(refused)) == (503, "store-unavailable"), path
                assert int(refused.headers["retry-after"]) > 0
        wait_until(lambda: is_whole(reader) and are_views(reader))
        assert reader.get("/api/products").content == products.content
        wait_until(lambda: "x-stale" not in reader.get("/api/products/3").headers)
        assert reader.get(f"/api/products/{COUNT + 1}").status_code == 404
