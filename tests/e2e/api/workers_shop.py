"""A shop whose workers can be made unavailable, its service, and the products of each worker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from helpers.shop.seeding import seed
from helpers.stores import Stores
from tests.api.serving import client_of, serving
from tests.waiting import wait_until

COUNT = 60
WORKERS = ["worker1", "worker2"]
Product = dict[str, Any]

#: Makes a worker unavailable in the context, in a way such as "cut" or "kill".
Breaking = Callable[[str, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Shop:
    """A shop and its service. In ``without(worker, how)`` a worker is unavailable.

    ``ids`` and ``shards`` list the products and shards of each worker, ``products`` all products.
    """

    client: httpx.Client
    ids: dict[str, list[int]]
    shards: dict[str, list[int]]
    products: list[Product]
    without: Breaking

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def lacking(self, products: list[Product], worker: str) -> list[Product]:
        return [product for product in products if product["id"] not in self.ids[worker]]

    def is_complete(self) -> bool:
        """Tell whether the list has all products, and may be cached."""
        response = self.get("/api/products")
        return (
            response.status_code == 200
            and response.json() == self.products
            and "etag" in response.headers
            and not [name for name in response.headers if name.startswith("x-missing")]
        )


@contextlib.contextmanager
def shop_on(stores: Stores, without: Breaking, **options: Any) -> Iterator[Shop]:
    """Fill the databases of ``stores``, and serve them."""
    seed(stores, COUNT, orders=False)
    ids, shards = _placed(stores)
    with serving(stores, **options) as service, client_of(service) as client:
        wait_until(lambda: client.get("/healthz").status_code == 200)
        products = client.get("/api/products").json()
        assert [product["id"] for product in products] == list(range(1, COUNT + 1))
        yield Shop(client, ids, shards, products, without)


def _placed(stores: Stores) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the products and the shards of each worker, read from the workers themselves."""
    ids: dict[str, list[int]] = {}
    shards: dict[str, list[int]] = {}
    for worker, url in zip(WORKERS, stores.addresses.workers[: len(WORKERS)], strict=True):
        with psycopg.connect(url, dbname=stores.mongo.name) as connection:
            # Otherwise genuine Citus hides the shards from pg_tables.
            connection.execute("SET citus.override_table_visibility TO off")
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename ~ '^products_[0-9]+$'"
            ).fetchall()
            found: list[int] = []
            for (table,) in tables:
                query = psycopg.sql.SQL("SELECT id FROM {}").format(psycopg.sql.Identifier(table))
                found += [product_id for (product_id,) in connection.execute(query)]
        ids[worker] = sorted(found)
        shards[worker] = sorted(int(table.removeprefix("products_")) for (table,) in tables)
    assert sorted(ids["worker1"] + ids["worker2"]) == list(range(1, COUNT + 1))
    return ids, shards


def assert_missing(response: httpx.Response, shop: Shop, worker: str, ids: list[int]) -> None:
    """Assert that the response names the missing ``ids`` and their worker, and is not cached."""
    assert response.status_code == 200, response.text
    headers = response.headers
    assert headers["x-missing-nodes"] == worker
    assert headers["x-missing-shards"] == ", ".join(map(str, shop.shards[worker]))
    assert headers["x-missing-products"] == ", ".join(map(str, ids))
    assert headers["x-missing-count"] == str(len(ids))
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers
    assert "x-missing-stores" not in headers, "PostgreSQL answers"


def assert_unavailable(response: httpx.Response, *workers: str) -> None:
    """Assert that the response is the problem that these workers are unavailable."""
    assert response.status_code == 503, response.text
    found = response.json()
    assert (found["type"], found["store"]) == ("/problems/store-unavailable", "PostgreSQL")
    assert found["nodes"] == list(workers)
    assert all(worker in found["detail"] for worker in workers)
    assert int(response.headers["retry-after"]) > 0
    assert "127.0.0.1" not in response.text, "addresses are internal"


def assert_named(shop: Shop, worker: str) -> None:
    """Assert that list, pages and single products lack the products of ``worker``."""
    lost = shop.ids[worker]
    (other,) = {*WORKERS} - {worker}
    left = shop.lacking(shop.products, worker)
    for _ in range(2):
        response = shop.get("/api/products")
        assert_missing(response, shop, worker, lost)
        assert response.json() == left
    response = shop.get("/api/products?limit=10")
    page = response.json()
    assert page == left[:10]
    last = page[-1]["id"]
    assert_missing(
        response, shop, worker, [product_id for product_id in lost if product_id <= last]
    )
    response = shop.get(f"/api/products/{shop.ids[other][0]}")
    assert response.json() == shop.products[shop.ids[other][0] - 1]
    assert "etag" in response.headers, "a product on another node is complete"
    assert_unavailable(shop.get(f"/api/products/{lost[0]}"), worker)
