"""Servers that are frozen or killed: the service answers within its limits, and says what it did.

No time decides here. A store that is frozen stays so until all are answered: whatever waits for it
would never be.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from helpers.faces.background import Served, served
from helpers.servers import EmbeddedServers
from helpers.shop.seed import seed
from helpers.stores import Stores, open_shop
from helpers.stores.breaker import TRANSITIONS
from tests.servers.driving import NAMES, frozen, kill, pids, temporary_servers
from tests.waiting import wait_until

pytestmark = pytest.mark.servers

COUNT = 20
# No test waits as long as this, unless it hangs.
GUARD = 60.0
THREADS = 40
DEADLINE = ("--deadline", "3")
ORDER = {"product_id": 1, "quantity": 1, "customer_id": 7}
READS = (
    "/api/products",
    "/api/products?limit=5",
    "/api/products?tag=gift&in_stock=true",
    "/api/products/1",
    "/api/facets",
    "/api/orders/1000000000001",
    "/healthz",
)
REFUSALS = {"too-late", "too-busy", "store-away"}


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServers]:
    """Servers with a small shop; each test leaves them running."""
    with temporary_servers() as servers:
        with open_shop(servers.settings) as stores:
            seed(stores, COUNT, orders=False)
        yield servers


@pytest.fixture(scope="module")
def shop(running: EmbeddedServers) -> Iterator[Stores]:
    with open_shop(running.settings) as stores:
        yield stores


def _client(service: Served) -> httpx.Client:
    limits = httpx.Limits(max_connections=None)
    return httpx.Client(base_url=service.url, headers=service.writing, timeout=GUARD, limits=limits)


@pytest.fixture(scope="module")
def tireless(shop: Stores) -> Iterator[httpx.Client]:
    """A client of a service without breakers: every question is asked."""
    with served(shop, *DEADLINE, "--no-breaker") as service, _client(service) as client:
        yield client


@pytest.fixture(scope="module")
def client(shop: Stores) -> Iterator[httpx.Client]:
    with served(shop, *DEADLINE) as service, _client(service) as client:
        yield client


@pytest.fixture(scope="module")
def reader(shop: Stores) -> Iterator[httpx.Client]:
    """A client of a service with the read model."""
    with served(shop, *DEADLINE, "--read-model") as service, _client(service) as client:
        yield client


def _is_whole(client: httpx.Client) -> bool:
    """Tell whether all is as it should be."""
    response = client.get("/api/products")
    is_whole = response.status_code == 200 and "x-missing-stores" not in response.headers
    return is_whole and client.get("/healthz").json()["status"] == "ok"


def _kind(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"
    kind: str = response.json()["type"].removeprefix("/problems/")
    return kind


def _breakers(client: httpx.Client) -> dict[str, str]:
    stores = client.get("/healthz").json()["stores"]
    return {name: one["breaker"]["state"] for name, one in stores.items()}


def _many(client: httpx.Client, writes: int) -> list[httpx.Response]:
    """Ask everything at once: each of the reads thrice, and so many writes of both kinds."""

    def put(number: int) -> httpx.Response:
        return client.put(f"/api/products/{2 + number % 3}/stock", json={"on_hand": 50})

    with ThreadPoolExecutor(3 * len(READS) + 2 * writes) as pool:
        asked = [pool.submit(client.get, path) for path in READS * 3]
        asked += [pool.submit(client.post, "/api/orders", json=ORDER) for _ in range(writes)]
        asked += [pool.submit(put, number) for number in range(writes)]
        return [one.result() for one in asked]


@pytest.mark.parametrize("name", NAMES)
def test_while_a_server_is_frozen_everything_is_answered(
    running: EmbeddedServers, tireless: httpx.Client, name: str
) -> None:
    wait_until(lambda: _is_whole(tireless))
    with frozen(running, name):
        answers = _many(tireless, 30)
        answers += _many(tireless, 1)
    for answer in answers:
        if answer.request.url.path == "/healthz":
            assert "stores" in answer.json()
        elif answer.status_code == 503:
            assert _kind(answer) in REFUSALS
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert answer.status_code in (200, 201, 404), answer.text
    wait_until(lambda: _is_whole(tireless))
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
    assert {_kind(answer) for answer in answers} <= REFUSALS
    wait_until(lambda: _is_whole(tireless))
    # It comes after all that is in line.
    wait_until(lambda: tireless.post("/api/orders", json=ORDER).status_code == 201)
    # What had begun may yet be done.
    assert before + 1 <= orders() <= before + 1 + THREADS


@pytest.mark.parametrize(
    ("name", "store"), [("redis", "Redis"), ("mongo", "MongoDB"), ("coordinator", "PostgreSQL")]
)
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_store_that_fails_again_and_again_is_left_alone_until_it_is_back(
    running: EmbeddedServers, client: httpx.Client, name: str, store: str, how: str
) -> None:
    wait_until(lambda: _is_whole(client))
    assert _breakers(client) == {"PostgreSQL": "closed", "MongoDB": "closed", "Redis": "closed"}

    def ask_until_it_rests() -> None:
        """Until an answer has asked nothing of it, and says so."""

        def rests() -> bool:
            response = client.get("/api/products/1")
            if store == "PostgreSQL":
                assert response.status_code == 503
                return "is not asked for the moment" in response.json()["detail"]
            assert response.headers["x-missing-stores"] == store
            return store.lower() not in response.headers["server-timing"]

        wait_until(rests)
        states = _breakers(client)
        assert states.pop(store) in ("open", "half-open")
        assert set(states.values()) == {"closed"}
        health = client.get("/healthz").json()["stores"][store]
        assert health["status"] == "down", "it is asked here"
        assert health["breaker"]["failures"] >= 5

    if how == "frozen":
        with frozen(running, name):
            ask_until_it_rests()
    else:
        kill({name: pids(running)[name]})
        ask_until_it_rests()
        running.up()
    wait_until(lambda: _is_whole(client))
    assert _breakers(client) == {"PostgreSQL": "closed", "MongoDB": "closed", "Redis": "closed"}


def test_what_is_refused_says_when_to_try_again(
    running: EmbeddedServers, client: httpx.Client
) -> None:
    wait_until(lambda: _is_whole(client))
    with frozen(running, "redis"):
        found = []

        def refused() -> bool:
            found.append(client.post("/api/orders", json=ORDER))
            return "is not asked for the moment" in found[-1].json()["detail"]

        wait_until(refused)
        assert (found[-1].status_code, _kind(found[-1])) == (503, "store-away")
        assert found[-1].json()["store"] == "Redis"
        assert 1 <= int(found[-1].headers["retry-after"]) <= 2
        assert client.get("/api/orders/1000000000001").status_code in (200, 404), "no need of Redis"
    wait_until(lambda: _is_whole(client))
    assert client.post("/api/orders", json=ORDER).status_code == 201


def test_without_breakers_none_is_shown(tireless: httpx.Client) -> None:
    stores = tireless.get("/healthz").json()["stores"]
    assert [one["breaker"] for one in stores.values()] == [None, None, None]
    assert {before for before, _, _ in TRANSITIONS} == {"closed", "open", "half-open"}


def _is_stale(client: httpx.Client, path: str = "/api/products") -> bool:
    return "x-stale" in client.get(path).headers


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_without_postgresql_the_views_are_answered_and_marked(
    running: EmbeddedServers, reader: httpx.Client, how: str
) -> None:
    def from_views() -> bool:
        return "read-model" in reader.get("/api/products").headers["server-timing"]

    wait_until(lambda: _is_whole(reader) and from_views())
    products, one = reader.get("/api/products"), reader.get("/api/products/3")

    def look() -> None:
        wait_until(lambda: _is_stale(reader))
        for path, whole in (("/api/products", products), ("/api/products/3", one)):
            stale = reader.get(path)
            assert stale.status_code == 200, stale.text
            assert stale.headers["x-stale"] == "PostgreSQL"
            assert stale.headers["x-missing-stores"] == "PostgreSQL"
            assert stale.headers["cache-control"] == "no-store"
            assert "etag" not in stale.headers
            assert stale.json() == whole.json()
            age = int(stale.headers["age"])
            assert age >= 0
            wait_until(lambda: int(reader.get(path).headers["age"]) > age)  # noqa: B023  # at once
        for path in ("/api/products?limit=5", f"/api/products/{COUNT + 1}"):
            refused = reader.get(path)
            assert (refused.status_code, _kind(refused)) == (503, "store-away"), path
            assert int(refused.headers["retry-after"]) > 0

    if how == "frozen":
        with frozen(running, "coordinator"):
            look()
    else:
        kill({"coordinator": pids(running)["coordinator"]})
        look()
        running.up()
    wait_until(lambda: _is_whole(reader) and from_views())
    assert reader.get("/api/products").content == products.content
    wait_until(lambda: not _is_stale(reader, "/api/products/3"))
    assert reader.get(f"/api/products/{COUNT + 1}").status_code == 404
