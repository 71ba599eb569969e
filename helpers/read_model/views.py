"""The read model: products joined when they change, and not when they are read.

Each product is kept ready as a text in Redis, ``shop:view:<id>``: what PostgreSQL and MongoDB say
of it. The count is not in it, since that changes with every sale; it is read beside it. So any
number of products is one round trip to one store, and as fast as that store.

The price is staleness: a view shows a change once ``catch_up`` has seen it. MongoDB's changes come
from its change stream (a document that is deleted does not say whose it was: then all views are
made anew), PostgreSQL's from the announcements of ``product_changes``. How many announced versions
the views are behind is read in the same round trip.

One keeper at a time makes views. It resumes where the last one stopped: where each of its sources
was read to is kept beside the views.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import orjson
from bson import json_util
from pymongo.errors import OperationFailure
from redis.exceptions import LockError, WatchError

from helpers.catalog.model import ProductJSON, stock_keys
from helpers.errors import ReadModelError
from helpers.joins.assembly import assemble, stock_text
from helpers.joins.executor import run
from helpers.joins.requests import FindMetadata, SelectProducts, Strategy, ask
from helpers.read_model.product_changes import PRODUCT_CHANGES, VERSION
from helpers.stock.redis_streams import extent
from helpers.stores import Stores

#: How many announced changes are in the views; not there: no keeper has made them.
APPLIED = "shop:views:applied"

#: What the keys of views begin with.
VIEW_PREFIX = "shop:view:"

_POSITIONS = "shop:views:positions"
_KEEPER = "shop:views:keeper"
_BATCH = 500
_KEEPER_SECONDS = 60
_NO_HISTORY = {260, 280, 286}  # the change stream cannot be resumed: it is gone, or too old


def view_key(product_id: int) -> str:
    """Return the Redis key of a product's view."""
    return f"{VIEW_PREFIX}{product_id}"


@dataclass(frozen=True)
class Views:
    """Products from the read model. ``behind`` is how many announced versions they may be behind.

    A product that has no view is not among them.
    """

    products: list[ProductJSON]
    behind: int


def read_views(stores: Stores, product_ids: Sequence[int]) -> Views:
    """Return the views of products in one round trip, in the order of ``product_ids``.

    Raises ``redis.RedisError``.
    """
    keys = [VERSION, APPLIED, *map(view_key, product_ids), *stock_keys(product_ids)]
    ask_redis: Any = stores.redis.execute_command
    version, applied, *values = ask_redis("MGET", *keys, NEVER_DECODE=True)
    half = len(product_ids)
    products: list[ProductJSON] = []
    for view, count in zip(values[:half], values[half:], strict=True):
        if view is not None:
            product: ProductJSON = orjson.loads(view)
            product["stock"] = stock_text(count)
            products.append(product)
    return Views(products, int(version or 0) - int(applied or 0))


class ReadModel:
    """The keeper of the views. Use it in a ``with`` statement, or call ``close()``.

    Its methods raise the drivers' errors; what was cut short is done again by the next call.
    ``ReadModelError`` is raised where another keeper is at work.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._redis = stores.redis
        self._lock = stores.redis.lock(
            _KEEPER, timeout=_KEEPER_SECONDS, blocking=False, thread_local=False
        )
        self._stream: Any = None

    def rebuild(self) -> int:
        """Make all views anew, delete those of products that are gone; return how many."""
        with self._keeping():
            return self._rebuild()

    def catch_up(self) -> int:
        """Make anew what has changed since the last time, and return how many views that were.

        Where the sources no longer have all that changed, rebuilds.
        """
        with self._keeping():
            positions, applied, version = self._positions()
            if positions is None or (self._stream is None and positions["documents"] is None):
                return self._rebuild()
            announced = self._announced(positions["announcements"])
            documents = self._changed_documents(positions["documents"])
            if announced is None or documents is None:
                return self._rebuild()
            ids, last = announced
            ids |= documents
            for batch in _batches(sorted(ids)):
                self._make(batch)
            # The last pass may have seen an announcement that it had not counted yet.
            if ids or last != positions["announcements"] or version != applied:
                self._remember(last, version)
            return len(ids)

    def close(self) -> None:
        """Close the change stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rebuild(self) -> int:
        # Where the sources stand is noted first: what changes meanwhile is made anew afterwards.
        self.close()
        last = extent(self._redis, PRODUCT_CHANGES).last
        version = int(self._redis.get(VERSION) or 0)
        self._open(None)
        there = self._with_views()
        rows = run(self._stores, ask(SelectProducts()))
        ids = [row[0] for row in rows]
        for batch in _batches(ids):
            self._make(batch)
        for batch in _batches(sorted(there.difference(ids))):
            self._write({}, batch)
        self._remember(last, version)
        return len(ids)

    def _make(self, ids: list[int]) -> None:
        """Make the views of these products anew; one that is gone loses its view."""
        products = run(self._stores, _without_stock(ids))
        views = {product["id"]: orjson.dumps(product) for product in products}
        self._write(views, [one for one in ids if one not in views])

    def _write(self, views: dict[int, bytes], gone: list[int]) -> None:
        try:
            self._lock.reacquire()
        except LockError:
            raise _not_the_keeper() from None
        with self._redis.pipeline() as pipeline:
            pipeline.watch(_KEEPER)  # type: ignore[no-untyped-call]
            if not self._lock.owned():
                raise _not_the_keeper()
            pipeline.multi()
            for one, view in views.items():
                pipeline.set(view_key(one), view)
            for one in gone:
                pipeline.delete(view_key(one))
            try:
                pipeline.execute()
            except WatchError:
                raise _not_the_keeper() from None

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[None]:
        if not self._lock.acquire():
            raise _not_the_keeper()
        try:
            yield
        finally:
            with contextlib.suppress(LockError):  # it ran out, and another keeper may have it
                self._lock.release()

    # Where the sources stand.

    def _positions(self) -> tuple[dict[str, Any] | None, int, int]:
        """Return where the sources were read to, with how many changes, and how many there are."""
        found: Any = self._redis.mget(_POSITIONS, APPLIED, VERSION)
        text, applied, version = found
        positions = None if text is None else json_util.loads(text)
        return positions, int(applied or 0), int(version or 0)

    def _remember(self, announcements: str, version: int) -> None:
        positions = {"announcements": announcements, "documents": self._stream.resume_token}
        self._redis.mset({_POSITIONS: json_util.dumps(positions), APPLIED: version})

    def _announced(self, position: str) -> tuple[set[int], str] | None:
        """Return the products announced after ``position``, and the last announcement.

        ``None`` where the stream has dropped some of them.
        """
        entries: Any = self._redis.xrange(PRODUCT_CHANGES, min=f"({position}")
        # Asked afterwards: nothing can have been dropped between this and the answer above.
        if not extent(self._redis, PRODUCT_CHANGES).holds_all_after(position):
            return None
        ids = {int(one) for _, fields in entries for one in fields["products"].split(",") if one}
        return ids, entries[-1][0] if entries else position

    def _changed_documents(self, token: Any) -> set[int] | None:
        """Return the products whose documents changed after ``token``; ``None``: nobody knows."""
        try:
            if self._stream is None:
                self._open(token)
            ids: set[int] = set()
            while (event := self._stream.try_next()) is not None:
                document = event.get("fullDocument")
                if document is None:
                    return None  # deleted, or the collection was: of which product is not told
                ids.add(int(document["product_id"]))
        except OperationFailure as error:
            if error.code in _NO_HISTORY:
                return None
            raise
        return ids

    def _open(self, token: Any) -> None:
        self._stream = self._stores.mongo.productmetas.watch(
            full_document="updateLookup", resume_after=token, max_await_time_ms=1
        )
        if token is None:
            self._stream.try_next()  # the answer says where the stream stands

    def _with_views(self) -> set[int]:
        keys = self._redis.scan_iter(match=f"{VIEW_PREFIX}*", count=1000)
        return {int(key.removeprefix(VIEW_PREFIX)) for key in keys}


def _without_stock(ids: Sequence[int]) -> Strategy[list[ProductJSON]]:
    rows = yield from ask(SelectProducts(ids))
    documents = yield from ask(FindMetadata([row[0] for row in rows]))
    return (yield from assemble(rows, documents, [None] * len(rows)))


def _not_the_keeper() -> ReadModelError:
    return ReadModelError(
        "Another keeper is making the views: let it, or stop it and try again after "
        f"{_KEEPER_SECONDS} seconds."
    )


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while batch := list(islice(rest, _BATCH)):
        yield batch
