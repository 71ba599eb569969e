"""While everything changes: whoever asks after a change was acknowledged, sees it."""

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
from helpers.read_model.live_views import LiveList, LiveViews
from helpers.read_model.product_changes import announce, set_price
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
    """What each field of each product was, one value after another, and how much of it is known.

    ``acknowledged`` is the place of the value from which on a reader may see any: a later one may
    be under way. ``announced`` is the same for a reader who is told that nothing is behind.
    """

    values: dict[Key, list[Any]]
    acknowledged: dict[Key, int] = field(default_factory=dict)
    announced: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.acknowledged = dict.fromkeys(self.values, 0)
        self.announced = dict.fromkeys(self.values, 0)

    @contextlib.contextmanager
    def changing(self, new: dict[Key, Any]) -> Iterator[None]:
        """Let these values be under way inside, and acknowledged afterwards."""
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
        self, found: LiveList, acknowledged: dict[Key, int], announced: dict[Key, int]
    ) -> None:
        """Assert that a list shows what was known when it was asked for, or what came since."""
        shown = {one["id"]: one for one in orjson.loads(found.body)}
        assert list(shown) == sorted(shown)
        for key, values in self.values.items():
            product = shown.get(key[0])
            value = _shown(product, key[1])
            known = announced if found.behind == 0 else acknowledged
            allowed = values[known[key] :]
            assert value in allowed, f"{key}: {value} is none of {allowed}; {found}"


def _shown(product: dict[str, Any] | None, name: str) -> Any:
    if product is None:
        return "gone" if name != "stock" else ANY_STOCK
    return (
        (product["metadata"] or {}).get("description") if name == "description" else product[name]
    )


class _Anything:
    """Equal to whatever the count of a product is that is not shown."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY_STOCK = _Anything()


class Mover:
    """Changes one thing after another, drawn by lot, from a thread of its own."""

    def __init__(self, stores: Stores, model: ReadModel, history: History, seed: int) -> None:
        self.stores = stores
        self.model = model
        self.history = history
        self.draw = random.Random(seed)
        self.number = 1000
        self.stock = Stock.of(stores)

    def step(self) -> None:
        product_id = self.draw.choice(IDS)
        steps = [self.count, self.count, self.forget, self.reserve, self.price, self.describe]
        step = self.draw.choice([*steps, self.come_or_go, self.kill])
        self.number += 1
        step(product_id)

    def count(self, product_id: int) -> None:
        with self.history.changing({(product_id, "stock"): str(self.number)}):
            self.stores.redis.set(stock_key(product_id), self.number)

    def forget(self, product_id: int) -> None:
        with self.history.changing({(product_id, "stock"): None}):
            self.stores.redis.delete(stock_key(product_id))

    def reserve(self, product_id: int) -> None:
        units = self.history.now((product_id, "stock"))
        if units is not None:
            with self.history.changing({(product_id, "stock"): str(int(units) - 1)}):
                self.stock.reserve({product_id: 1})

    def price(self, product_id: int) -> None:
        if self.is_gone(product_id):
            return
        new = {(product_id, "price"): str(self.number)}
        with self.history.changing(new):
            set_price(self.stores, product_id, Decimal(self.number))
            self.history.announce(new)
            self.model.catch_up()

    def describe(self, product_id: int) -> None:
        if self.is_gone(product_id):
            return
        text = f"D {self.number}"
        with self.history.changing({(product_id, "description"): text}):
            self.stores.mongo.productmetas.update_one(
                {"product_id": product_id}, {"$set": {"description": text}}, upsert=True
            )
            self.model.catch_up()

    def come_or_go(self, product_id: int) -> None:
        if self.is_gone(product_id):
            description = self.history.values[product_id, "description"][-2]
            new = {
                (product_id, "price"): str(self.number),
                (product_id, "description"): description,
            }
            statement = f"INSERT INTO products VALUES ({product_id}, 'Back', {self.number}, 'lamp')"
        else:
            new = {(product_id, "price"): "gone", (product_id, "description"): "gone"}
            statement = f"DELETE FROM products WHERE id = {product_id}"
        with self.history.changing(new):
            self.stores.postgres.execute(statement)
            announce(self.stores.redis, [product_id])
            self.history.announce(new)
            self.model.catch_up()

    def kill(self, _: int) -> None:
        """End the connection that is told of changes."""
        number = str(self.stores.redis.connection_pool.connection_kwargs["db"])
        for one in self.stores.redis.client_list():
            if one["name"] == "key-changes" and one["db"] == number:
                self.stores.redis.client_kill_filter(_id=one["id"])

    def is_gone(self, product_id: int) -> bool:
        return bool(self.history.now((product_id, "price")) == "gone")


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 25), *(pytest.param(seed, 120, marks=pytest.mark.verify) for seed in (1, 2))],
)
def test_whoever_asks_after_a_change_sees_it_while_everything_moves(
    both: Both, seed: int, steps: int
) -> None:
    put(
        both.waiting,
        MemoryStores(
            {one: (f"Product {one}", "5", "lamp") for one in IDS},
            [{"product_id": one, "description": "D"} for one in IDS],
            dict.fromkeys(IDS, b"7"),
        ),
    )
    first = {"price": "5", "description": "D", "stock": "7"}
    history = History({(one, name): [first[name]] for one in IDS for name in FIELDS})
    reads = 0

    async def main(mover: Mover, views: LiveViews) -> None:
        loop = asyncio.get_running_loop()
        moving = asyncio.create_task(asyncio.to_thread(_move, mover, steps, views, loop))
        await asyncio.gather(*(read(moving, views) for _ in range(READERS)))
        await moving

    async def read(moving: asyncio.Task[None], views: LiveViews) -> None:
        nonlocal reads
        while not moving.done():
            acknowledged, announced = history.acknowledged.copy(), history.announced.copy()
            history.check(await views.read(), acknowledged, announced)
            reads += 1

    with ReadModel(both.waiting) as model:
        model.rebuild()
        views = LiveViews(both.awaited)
        both.runner.run(main(Mover(both.waiting, model, history, seed), views))
        both.runner.run(views.aclose())
    assert reads > steps


def _move(mover: Mover, steps: int, views: LiveViews, loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(steps):
        mover.step()
        # Nothing is under way now: so it is to the byte what the join answers.
        found = asyncio.run_coroutine_threadsafe(views.read(), loop).result(60)
        assert found.body == products_json(batched(mover.stores))
        assert (found.behind, found.complete) == (0, True)
