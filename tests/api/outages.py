"""Requests and assertions for the tests of unavailable stores."""

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
CIRCUIT_OPEN = "is open after"


def is_healthy(client: httpx.Client) -> bool:
    """Tell whether all stores are available."""
    response = client.get("/api/products")
    is_complete = response.status_code == 200 and "x-missing-stores" not in response.headers
    return is_complete and client.get("/healthz").json()["status"] == "ok"


def problem_type(response: httpx.Response) -> str:
    """Return the type of a problem, and assert that it contains no address of a store."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert "127.0.0.1" not in response.text, "addresses are internal"
    slug: str = response.json()["type"].removeprefix("/problems/")
    return slug


def breakers(client: httpx.Client) -> dict[str, str]:
    """Return the state of each store's circuit breaker."""
    stores = client.get("/healthz").json()["stores"]
    return {name: store["breaker"]["state"] for name, store in stores.items()}


def send_everything(client: httpx.Client, *, reads: int, writes: int) -> None:
    """Send each read ``reads`` times and each kind of write ``writes`` times, all at once.

    Raises ``AssertionError`` for a response that is not allowed while a store is unavailable.
    """

    def put(number: int) -> httpx.Response:
        return client.put(f"/api/products/{2 + number % 3}/stock", json={"on_hand": 50})

    with ThreadPoolExecutor(reads * len(READS) + 2 * writes) as pool:
        futures = [pool.submit(client.get, path) for path in READS * reads]
        futures += [pool.submit(client.post, "/api/orders", json=ORDER) for _ in range(writes)]
        futures += [pool.submit(put, number) for number in range(writes)]
        responses = [future.result() for future in futures]
    for response in responses:
        if response.request.url.path == "/healthz":
            assert "stores" in response.json()
        elif response.status_code == 503:
            assert problem_type(response) in REFUSALS
            assert int(response.headers["retry-after"]) > 0
        else:
            assert response.status_code in (200, 201, 404), response.text


def is_circuit_open(client: httpx.Client, store: str) -> bool:
    """Tell whether no request is sent to ``store``, because its circuit is open."""
    response = client.get("/api/products/1")
    if store == "PostgreSQL":
        assert response.status_code == 503
        return CIRCUIT_OPEN in response.json()["detail"]
    assert store in response.headers["x-missing-stores"].split(", ")
    return store.lower() not in response.headers["server-timing"]


def uses_read_model(client: httpx.Client) -> bool:
    """Tell whether the list comes from the read model."""
    return "read-model" in client.get("/api/products").headers["server-timing"]


def assert_stale(client: httpx.Client, path: str, before: httpx.Response) -> None:
    """Assert that the read model stands in with the data of ``before`` and a growing age."""
    stale = client.get(path)
    assert stale.status_code == 200, stale.text
    assert stale.headers["x-stale"] == "PostgreSQL"
    assert stale.headers["x-missing-stores"] == "PostgreSQL"
    assert stale.headers["cache-control"] == "no-store"
    assert "etag" not in stale.headers
    assert stale.json() == before.json()
    age = int(stale.headers["age"])
    assert age >= 0
    wait_until(lambda: int(client.get(path).headers["age"]) > age)
