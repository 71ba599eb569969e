"""A shop whose workers can be taken away, its service, and what each worker has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from helpers.shop.seed import seed
from helpers.stores import Stores
from tests.api.serving import client_of, serving
from tests.waiting import wait_until

COUNT = 60
WORKERS = ["worker1", "worker2"]
Product = dict[str, Any]

#: Takes a worker away in some way, and brings it back at the end.
Taking = Callable[[str, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Shop:
    """A shop and its service; ``without(worker, how)`` takes a worker away for a while.

    ``ids`` and ``shards`` are what each worker has, ``products`` the whole list.
    """

    client: httpx.Client
    ids: dict[str, list[int]]
    shards: dict[str, list[int]]
    products: list[Product]
    without: Taking

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def lacking(self, products: list[Product], worker: str) -> list[Product]:
        return [one for one in products if one["id"] not in self.ids[worker]]

    def is_whole(self) -> bool:
        """Tell whether the list is answered with all that there is, and may be kept."""
        response = self.get("/api/products")
        return (
            response.status_code == 200
            and response.json() == self.products
            and "etag" in response.headers
            and not [name for name in response.headers if name.startswith("x-missing")]
        )


@contextlib.contextmanager
def shop_on(stores: Stores, without: Taking, **options: Any) -> Iterator[Shop]:
    """Fill the databases of ``stores``, and serve them."""
    seed(stores, COUNT, orders=False)
    ids, shards = _placed(stores)
    with serving(stores, **options) as service, client_of(service) as client:
        wait_until(lambda: client.get("/healthz").status_code == 200)
        products = client.get("/api/products").json()
        assert [one["id"] for one in products] == list(range(1, COUNT + 1))
        yield Shop(client, ids, shards, products, without)


def _placed(stores: Stores) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the products and the shards of each worker, as the workers themselves have them."""
    ids: dict[str, list[int]] = {}
    shards: dict[str, list[int]] = {}
    for worker, url in zip(WORKERS, stores.addresses.workers[: len(WORKERS)], strict=True):
        with psycopg.connect(url, dbname=stores.mongo.name) as connection:
            # Else genuine Citus keeps them out of the catalogue.
            connection.execute("SET citus.override_table_visibility TO off")
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename ~ '^products_[0-9]+$'"
            ).fetchall()
            found: list[int] = []
            for (table,) in tables:
                query = psycopg.sql.SQL("SELECT id FROM {}").format(psycopg.sql.Identifier(table))
                found += [one for (one,) in connection.execute(query)]
        ids[worker] = sorted(found)
        shards[worker] = sorted(int(table.removeprefix("products_")) for (table,) in tables)
    assert sorted(ids["worker1"] + ids["worker2"]) == list(range(1, COUNT + 1))
    return ids, shards


def assert_missing(response: httpx.Response, shop: Shop, worker: str, ids: list[int]) -> None:
    """Assert that the answer says that ``ids`` are missing, and why, and is not to be kept."""
    assert response.status_code == 200, response.text
    headers = response.headers
    assert headers["x-missing-nodes"] == worker
    assert headers["x-missing-shards"] == ", ".join(map(str, shop.shards[worker]))
    assert headers["x-missing-products"] == ", ".join(map(str, ids))
    assert headers["x-missing-count"] == str(len(ids))
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers
    assert "x-missing-stores" not in headers, "PostgreSQL answers"


def assert_away(response: httpx.Response, *workers: str) -> None:
    """Assert that the answer is the problem that these workers are away."""
    assert response.status_code == 503, response.text
    found = response.json()
    assert (found["type"], found["store"]) == ("/problems/store-unavailable", "PostgreSQL")
    assert found["nodes"] == list(workers)
    assert all(worker in found["detail"] for worker in workers)
    assert int(response.headers["retry-after"]) > 0
    assert "127.0.0.1" not in response.text, "where the stores are is nobody's business"


def assert_named(shop: Shop, worker: str) -> None:
    """Assert that with ``worker`` away the list, pages and single products lack what it holds."""
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
    assert_missing(response, shop, worker, [one for one in lost if one <= last])
    response = shop.get(f"/api/products/{shop.ids[other][0]}")
    assert response.json() == shop.products[shop.ids[other][0] - 1]
    assert "etag" in response.headers, "one that is not on that node is whole"
    assert_away(shop.get(f"/api/products/{lost[0]}"), worker)
