"""What the tests of outages ask, and how they read the answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.waiting import wait_until

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
REFUSALS = {"timeout", "overloaded", "store-unavailable"}
CLOSED = {"PostgreSQL": "closed", "MongoDB": "closed", "Redis": "closed"}
RESTING = "is open after"


def is_whole(client: httpx.Client) -> bool:
    """Tell whether all is as it should be."""
    response = client.get("/api/products")
    is_whole = response.status_code == 200 and "x-missing-stores" not in response.headers
    return is_whole and client.get("/healthz").json()["status"] == "ok"


def kind_of(response: httpx.Response) -> str:
    """Return which problem a response is, and see that it gives no address away."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"
    kind: str = response.json()["type"].removeprefix("/problems/")
    return kind


def breakers(client: httpx.Client) -> dict[str, str]:
    """Return the state of each store's breaker."""
    stores = client.get("/healthz").json()["stores"]
    return {name: one["breaker"]["state"] for name, one in stores.items()}


def ask_everything(client: httpx.Client, *, reads: int, writes: int) -> None:
    """Ask all at once: each of the reads, and so many writes of both kinds.

    Raises ``AssertionError`` where something is answered that should not be while a store is away.
    """

    def put(number: int) -> httpx.Response:
        return client.put(f"/api/products/{2 + number % 3}/stock", json={"on_hand": 50})

    with ThreadPoolExecutor(reads * len(READS) + 2 * writes) as pool:
        asked = [pool.submit(client.get, path) for path in READS * reads]
        asked += [pool.submit(client.post, "/api/orders", json=ORDER) for _ in range(writes)]
        asked += [pool.submit(put, number) for number in range(writes)]
        answers = [one.result() for one in asked]
    for answer in answers:
        if answer.request.url.path == "/healthz":
            assert "stores" in answer.json()
        elif answer.status_code == 503:
            assert kind_of(answer) in REFUSALS
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert answer.status_code in (200, 201, 404), answer.text


def is_resting(client: httpx.Client, store: str) -> bool:
    """Ask for a product, and tell whether the answer asked nothing of ``store``, and says so."""
    response = client.get("/api/products/1")
    if store == "PostgreSQL":
        assert response.status_code == 503
        return RESTING in response.json()["detail"]
    assert store in response.headers["x-missing-stores"].split(", ")
    return store.lower() not in response.headers["server-timing"]


def are_views(client: httpx.Client) -> bool:
    """Tell whether the list comes from the read model."""
    return "read-model" in client.get("/api/products").headers["server-timing"]


def assert_stale(client: httpx.Client, path: str, whole: httpx.Response) -> None:
    """Assert that what the views have is answered: as it was, marked, and of a growing age."""
    stale = client.get(path)
    assert stale.status_code == 200, stale.text
    assert stale.headers["x-stale"] == "PostgreSQL"
    assert stale.headers["x-missing-stores"] == "PostgreSQL"
    assert stale.headers["cache-control"] == "no-store"
    assert "etag" not in stale.headers
    assert stale.json() == whole.json()
    age = int(stale.headers["age"])
    assert age >= 0
    wait_until(lambda: int(client.get(path).headers["age"]) > age)
