"""Unresponsive and unavailable stores: deadline, circuit breakers, stale reads.

Proxies are frozen and cut here; ``test_frozen_servers.py`` freezes servers. No test depends on a
duration: a frozen store stays frozen until all requests have a response.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from helpers.stores import Stores
from helpers.stores.circuit_breaker import TRANSITIONS
from helpers.stores.proxied_stores import ProxiedStores, Proxies
from tests.api.conftest import COUNT, PROXIED_DEADLINE
from tests.api.outages import (
    CIRCUIT_OPEN,
    CLOSED,
    ORDER,
    assert_stale,
    breakers,
    is_circuit_open,
    is_healthy,
    problem_type,
    send_everything,
    uses_read_model,
)
from tests.api.serving import client_of, serving
from tests.waiting import wait_until

_PAUSE_SECONDS = 0.2


@pytest.fixture(scope="module")
def client(shop: Stores, proxied_shop: ProxiedStores) -> Iterator[httpx.Client]:
    """A client of a service whose circuits stay open only for a moment."""
    proxied_shop.proxies.restore()
    with (
        serving(proxied_shop, deadline=PROXIED_DEADLINE, breaker_pause=_PAUSE_SECONDS) as running,
        client_of(running) as client,
    ):
        yield client


@contextlib.contextmanager
def _broken(proxies: Proxies, name: str, how: str) -> Iterator[None]:
    proxy = getattr(proxies, name)
    getattr(proxy, how)()
    try:
        yield
    finally:
        proxy.restore()


@pytest.mark.parametrize(
    ("name", "reads", "writes"),
    [
        ("postgres", 1, 2),
        pytest.param("mongo", 3, 30, marks=pytest.mark.verify),
        pytest.param("redis", 3, 30, marks=pytest.mark.verify),
    ],
)
def test_every_request_gets_a_response_while_a_store_is_frozen(
    proxies: Proxies,
    without_breakers: httpx.Client,
    shop: Stores,
    name: str,
    reads: int,
    writes: int,
) -> None:
    wait_until(lambda: is_healthy(without_breakers))
    assert without_breakers.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    with _broken(proxies, name, "freeze"):
        send_everything(without_breakers, reads=reads, writes=writes)
    wait_until(lambda: is_healthy(without_breakers))
    assert without_breakers.put("/api/products/1/stock", json={"on_hand": 50}).status_code == 200
    assert without_breakers.post("/api/orders", json=ORDER).status_code == 201


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
def test_the_circuit_opens_after_failures_and_closes_after_recovery(
    proxies: Proxies, client: httpx.Client, name: str, store: str, how: str
) -> None:
    wait_until(lambda: is_healthy(client) and breakers(client) == CLOSED)
    with _broken(proxies, name, how):
        wait_until(lambda: is_circuit_open(client, store))
        states = breakers(client)
        assert states.pop(store) in ("open", "half-open")
        assert set(states.values()) == {"closed"}
        health = client.get("/healthz").json()["stores"][store]
        assert health["status"] == "down", "healthz pings it even if its circuit is open"
        assert health["breaker"]["failures"] >= 5
        assert health["breaker"]["retry_seconds"] <= _PAUSE_SECONDS
    wait_until(lambda: is_healthy(client) and breakers(client) == CLOSED)


def test_a_refusal_by_the_breaker_has_retry_after(
    proxies: Proxies, client: httpx.Client, shop: Stores
) -> None:
    wait_until(lambda: is_healthy(client))
    with _broken(proxies, "redis", "cut"):
        responses = []

        def is_refused() -> bool:
            responses.append(client.post("/api/orders", json=ORDER))
            return CIRCUIT_OPEN in responses[-1].json()["detail"]

        wait_until(is_refused)
        assert (responses[-1].status_code, problem_type(responses[-1])) == (
            503,
            "store-unavailable",
        )
        assert responses[-1].json()["store"] == "Redis"
        assert 1 <= int(responses[-1].headers["retry-after"]) <= 2
        assert client.get("/api/orders/1000000000001").status_code in (200, 404), "needs no Redis"
    wait_until(lambda: is_healthy(client))
    assert client.post("/api/orders", json=ORDER).status_code == 201


def test_healthz_has_no_breakers_if_they_are_off(without_breakers: httpx.Client) -> None:
    stores = without_breakers.get("/healthz").json()["stores"]
    assert [store["breaker"] for store in stores.values()] == [None, None, None]
    assert {before for before, _, _ in TRANSITIONS} == {"closed", "open", "half-open"}


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_the_read_model_stands_in_for_postgresql(
    proxies: Proxies, proxied_shop: ProxiedStores, shop: Stores, how: str
) -> None:
    options = {"deadline": PROXIED_DEADLINE, "breaker_pause": _PAUSE_SECONDS, "read_model": True}
    with serving(proxied_shop, **options) as service, client_of(service) as reader:
        wait_until(lambda: is_healthy(reader) and uses_read_model(reader))
        products, product = reader.get("/api/products"), reader.get("/api/products/3")
        with _broken(proxies, "postgres", how):
            wait_until(lambda: "x-stale" in reader.get("/api/products").headers)
            for path, before in (("/api/products", products), ("/api/products/3", product)):
                assert_stale(reader, path, before)
            for path in ("/api/products?limit=5", f"/api/products/{COUNT + 1}"):
                refused = reader.get(path)
                assert (refused.status_code, problem_type(refused)) == (503, "store-unavailable"), (
                    path
                )
                assert int(refused.headers["retry-after"]) > 0
        wait_until(lambda: is_healthy(reader) and uses_read_model(reader))
        assert reader.get("/api/products").content == products.content
        wait_until(lambda: "x-stale" not in reader.get("/api/products/3").headers)
        assert reader.get(f"/api/products/{COUNT + 1}").status_code == 404
