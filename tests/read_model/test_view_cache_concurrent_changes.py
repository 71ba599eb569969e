"""While everything changes, a read that starts after a change was acknowledged includes it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import pytest

from helpers.catalog.model import stock_key
from helpers.joins import batched, products_json
from helpers.read_model.product_changes import announce, set_price
from helpers.read_model.view_cache import ProductList, ViewCache
from helpers.read_model.views import ReadModel
from helpers.stock import Stock
from helpers.stores import Stores
from tests.joins.conftest import Both
from tests.joins.filling import put
from tests.joins.memory import MemoryStores

IDS = range(1, 13)
FIELDS = ("price", "description", "stock")
READERS = 8

Key = tuple[int, str]


@dataclass
class History:
    """All values of each field of each product, in order, and which of them a reader may see.

    ``acknowledged`` is the index of the oldest value that a reader may see; later ones may be being
    written. ``announced`` is the same for a reader whose list is not behind.
    """

    values: dict[Key, list[Any]]
    acknowledged: dict[Key, int] = field(default_factory=dict)
    announced: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.acknowledged = dict.fromkeys(self.values, 0)
        self.announced = dict.fromkeys(self.values, 0)

    @contextlib.contextmanager
    def changing(self, new: dict[Key, Any]) -> Iterator[None]:
        """Record values that are written in this context, and acknowledged at its end."""
        for key, value in new.items():
            self.values[key].append(value)
        yield
        self.announce(new)
        for key in new:
            self.acknowledged[key] = len(self.values[key]) - 1

    def announce(self, keys: dict[Key, Any]) -> None:
        for key in keys:
            self.announced[key] = len(self.values[key]) - 1

    def now(self, key: Key) -> Any:
        return self.values[key][-1]

    def check(
        self, found: ProductList, acknowledged: dict[Key, int], announced: dict[Key, int]
    ) -> None:
        """Assert that a list shows values acknowledged when the read started, or later ones."""
        shown = {product["id"]: product for product in orjson.loads(found.body)}
        assert list(shown) == sorted(shown)
        for key, values in self.values.items():
            product = shown.get(key[0])
            value = _shown(product, key[1])
            known = announced if found.behind == 0 else acknowledged
            allowed = values[known[key] :]
            assert value in allowed, f"{key}: {value} is none of {allowed}; {found}"


def _shown(product: dict[str, Any] | None, name: str) -> Any:
    if product is None:
        return "deleted" if name != "stock" else ANY_STOCK
    return (
        (product["metadata"] or {}).get("description") if name == "description" else product[name]
    )


class _Anything:
    """Equal to any stock count, for a product that is not shown."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY_STOCK = _Anything()


class Writer:
    """Makes random changes, one after another, in a thread."""

    def __init__(self, stores: Stores, model: ReadModel, history: History, seed: int) -> None:
        self.stores = stores
        self.model = model
        self.history = history
        self.draw = random.Random(seed)
        self.number = 1000
        self.stock = Stock.of(stores)

    def step(self) -> None:
        product_id = self.draw.choice(IDS)
        steps = [self.count, self.count, self.delete_count, self.reserve, self.price, self.describe]
        step = self.draw.choice([*steps, self.insert_or_delete, self.kill])
        self.number += 1
        step(product_id)

    def count(self, product_id: int) -> None:
        with self.history.changing({(product_id, "stock"): str(self.number)}):
            self.stores.redis.set(stock_key(product_id), self.number)

    def delete_count(self, product_id: int) -> None:
        with self.history.changing({(product_id, "stock"): None}):
            self.stores.redis.delete(stock_key(product_id))

    def reserve(self, product_id: int) -> None:
        units = self.history.now((product_id, "stock"))
        if units is not None:
            with self.history.changing({(product_id, "stock"): str(int(units) - 1)}):
                self.stock.reserve({product_id: 1})

    def price(self, product_id: int) -> None:
        if self.is_deleted(product_id):
            return
        new = {(product_id, "price"): str(self.number)}
        with self.history.changing(new):
            set_price(self.stores, product_id, Decimal(self.number))
            self.history.announce(new)
            self.model.catch_up()

    def describe(self, product_id: int) -> None:
        if self.is_deleted(product_id):
            return
        text = f"D {self.number}"
        with self.history.changing({(product_id, "description"): text}):
            self.stores.mongo.productmetas.update_one(
                {"product_id": product_id}, {"$set": {"description": text}}, upsert=True
            )
            self.model.catch_up()

    def insert_or_delete(self, product_id: int) -> None:
        if self.is_deleted(product_id):
            description = self.history.values[product_id, "description"][-2]
            new = {
                (product_id, "price"): str(self.number),
                (product_id, "description"): description,
            }
            statement = f"INSERT INTO products VALUES ({product_id}, 'Back', {self.number}, 'lamp')"
        else:
            new = {(product_id, "price"): "deleted", (product_id, "description"): "deleted"}
            statement = f"DELETE FROM products WHERE id = {product_id}"
        with self.history.changing(new):
            self.stores.postgres.execute(statement)
            announce(self.stores.redis, [product_id])
            self.history.announce(new)
            self.model.catch_up()

    def kill(self, _: int) -> None:
        """Kill the connection that receives key changes."""
        number = str(self.stores.redis_database)
        for client in self.stores.redis.client_list():
            if client["name"] == "key-changes" and client["db"] == number:
                self.stores.redis.client_kill_filter(_id=client["id"])

    def is_deleted(self, product_id: int) -> bool:
        return bool(self.history.now((product_id, "price")) == "deleted")


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 25), *(pytest.param(seed, 120, marks=pytest.mark.verify) for seed in (1, 2))],
)
def test_a_read_includes_all_changes_acknowledged_before_it(
    both: Both, seed: int, steps: int
) -> None:
    put(
        both.blocking,
        MemoryStores(
            {number: (f"Product {number}", "5", "lamp") for number in IDS},
            [{"product_id": number, "description": "D"} for number in IDS],
            dict.fromkeys(IDS, b"7"),
        ),
    )
    first = {"price": "5", "description": "D", "stock": "7"}
    history = History({(number, name): [first[name]] for number in IDS for name in FIELDS})
    reads = 0

    async def main(writer: Writer, cache: ViewCache) -> None:
        loop = asyncio.get_running_loop()
        writing = asyncio.create_task(asyncio.to_thread(_write, writer, steps, cache, loop))
        await asyncio.gather(*(read(writing, cache) for _ in range(READERS)))
        await writing

    async def read(writing: asyncio.Task[None], cache: ViewCache) -> None:
        nonlocal reads
        while not writing.done():
            acknowledged, announced = history.acknowledged.copy(), history.announced.copy()
            history.check(await cache.read(), acknowledged, announced)
            reads += 1

    with ReadModel(both.blocking) as model:
        model.rebuild()
        cache = ViewCache(both.awaited)
        both.runner.run(main(Writer(both.blocking, model, history, seed), cache))
        both.runner.run(cache.aclose())
    assert reads > steps


def _write(writer: Writer, steps: int, cache: ViewCache, loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(steps):
        writer.step()
        # No change is being written now, so the list equals the join byte for byte.
        found = asyncio.run_coroutine_threadsafe(cache.read(), loop).result(60)
        assert found.body == products_json(batched(writer.stores))
        assert (found.behind, found.complete) == (0, True)
