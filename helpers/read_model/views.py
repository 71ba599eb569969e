"""The read model: products joined when they change, not when they are read.

Each product is stored as a string in Redis, ``shop:view:<id>``: the data from PostgreSQL and
MongoDB. The stock count is not part of it, since it changes with every sale; it is read with the
view. So reading any number of products is one round trip to one store.

The price is staleness: a view shows a change only after ``catch_up`` has processed it. Changes in
MongoDB come from its change stream (the event of a deletion does not tell whose document it was;
then all views are rebuilt), changes in PostgreSQL from the announcements of ``product_changes``.
The same round trip reads how many announced versions the views are behind.

A lock lets one worker at a time write views. It continues where the last one stopped: the positions
in its two sources are stored with the views.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
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

#: The number of announced changes that the views include; missing until a worker has built them.
APPLIED = "shop:views:applied"

#: The prefix of the views' keys.
VIEW_PREFIX = "shop:view:"

_POSITIONS = "shop:views:positions"
_LOCK = "shop:views:lock"
_CHECKED = "shop:views:checked"  # its time to live tells when a pass was last complete
_CHECKED_MS = 86_400_000
_BATCH = 500
_LOCK_SECONDS = 60
_NO_HISTORY = {260, 280, 286}  # MongoDB's codes for a change stream that cannot be resumed


def view_key(product_id: int) -> str:
    """Return the Redis key of a product's view."""
    return f"{VIEW_PREFIX}{product_id}"


@dataclass(frozen=True)
class Views:
    """Products from the read model, and how many announced versions they may be ``behind``.

    Products without a view are omitted.
    """

    products: list[ProductJSON]
    behind: int


def read_views(stores: Stores, product_ids: Sequence[int]) -> Views:
    """Return the views of products in one round trip, in the order of ``product_ids``.

    Raises ``redis.RedisError``.
    """
    keys = [VERSION, APPLIED, *map(view_key, product_ids), *stock_keys(product_ids)]
    execute: Any = stores.redis.execute_command
    version, applied, *values = execute("MGET", *keys, NEVER_DECODE=True)
    half = len(product_ids)
    products: list[ProductJSON] = []
    for view, count in zip(values[:half], values[half:], strict=True):
        if view is not None:
            product: ProductJSON = orjson.loads(view)
            product["stock"] = stock_text(count)
            products.append(product)
    return Views(products, int(version or 0) - int(applied or 0))


class ReadModel:
    """Writes the views. Use it in a ``with`` statement, or call ``close()``.

    The methods raise the drivers' errors; the next call repeats what was interrupted. They raise
    ``ReadModelError`` if another worker holds the lock. A lock that was acquired with the same
    ``token`` is not another's: so a worker that lost its connection does not wait for its own lock.
    """

    def __init__(self, stores: Stores, *, token: str | None = None) -> None:
        self._stores = stores
        self._token = token or secrets.token_hex(16)
        self._redis = stores.redis
        self._lock = stores.redis.lock(
            _LOCK, timeout=_LOCK_SECONDS, blocking=False, thread_local=False
        )
        self._stream: Any = None

    def rebuild(self) -> int:
        """Rebuild all views, delete those of deleted products, and return the number of views."""
        with self._pass():
            return self._rebuild()

    def catch_up(self) -> int:
        """Rebuild the views of products that changed since the last call; return their number.

        Rebuilds all views if the sources no longer have all changes.
        """
        with self._pass():
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
                self._build(batch)
            # The last pass may have read an announcement that its version did not include yet.
            if ids or last != positions["announcements"] or version != applied:
                self._save_positions(last, version)
            return len(ids)

    def age_seconds(self) -> float:
        """Return how long ago the last complete pass of any worker began, at least 1 ms.

        That is the age of the views. It is infinite if it is more than a day, or unknown.
        """
        left: int = self._redis.pttl(_CHECKED)
        return math.inf if left < 0 else (_CHECKED_MS - left + 1) / 1000

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
        # The positions are read first: changes during the rebuild are processed by the next pass.
        self.close()
        last = extent(self._redis, PRODUCT_CHANGES).last
        version = int(self._redis.get(VERSION) or 0)
        self._open_stream(None)
        existing = self._ids_with_views()
        rows = run(self._stores, ask(SelectProducts()))
        ids = [row[0] for row in rows]
        for batch in _batches(ids):
            self._build(batch)
        for batch in _batches(sorted(existing.difference(ids))):
            self._write({}, batch)
        self._save_positions(last, version)
        return len(ids)

    def _build(self, ids: list[int]) -> None:
        """Build the views of these products, and delete those of deleted products."""
        products = run(self._stores, _without_stock(ids))
        views = {product["id"]: orjson.dumps(product) for product in products}
        self._write(views, [product_id for product_id in ids if product_id not in views])

    def _write(self, views: dict[int, bytes], deleted: list[int]) -> None:
        try:
            self._lock.reacquire()
        except LockError:
            raise _lock_is_taken() from None
        with self._redis.pipeline() as pipeline:
            pipeline.watch(_LOCK)  # type: ignore[no-untyped-call]
            if not self._lock.owned():
                raise _lock_is_taken()
            pipeline.multi()
            for product_id, view in views.items():
                pipeline.set(view_key(product_id), view)
            for product_id in deleted:
                pipeline.delete(view_key(product_id))
            try:
                pipeline.execute()
            except WatchError:
                raise _lock_is_taken() from None

    @contextlib.contextmanager
    def _pass(self) -> Iterator[None]:
        """Hold the lock during a pass, and record when it began if it is complete."""
        began = time.monotonic()
        with self._locked():
            yield
            milliseconds = int(1000 * (time.monotonic() - began))
            self._redis.set(_CHECKED, "", px=max(1, _CHECKED_MS - milliseconds))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(token=self._token):
            self._lock.local.token = self._token.encode()
            if not self._lock.owned():
                raise _lock_is_taken()
        try:
            yield
        finally:
            with contextlib.suppress(LockError):  # it expired, and another worker may hold it
                self._lock.release()

    # The positions in the sources.

    def _positions(self) -> tuple[dict[str, Any] | None, int, int]:
        """Return the positions up to which the sources were read, and both version numbers."""
        found: Any = self._redis.mget(_POSITIONS, APPLIED, VERSION)
        positions, applied, version = found
        decoded = None if positions is None else json_util.loads(positions)
        return decoded, int(applied or 0), int(version or 0)

    def _save_positions(self, announcements: str, version: int) -> None:
        positions = {"announcements": announcements, "documents": self._stream.resume_token}
        self._redis.mset({_POSITIONS: json_util.dumps(positions), APPLIED: version})

    def _announced(self, position: str) -> tuple[set[int], str] | None:
        """Return the products announced after ``position``, and the last announcement.

        ``None`` if the stream has dropped some of them.
        """
        entries: Any = self._redis.xrange(PRODUCT_CHANGES, min=f"({position}")
        # Read afterwards, so that no entry can have been dropped before the range was read.
        if not extent(self._redis, PRODUCT_CHANGES).holds_all_after(position):
            return None
        ids = {
            int(number)
            for _, fields in entries
            for number in fields["products"].split(",")
            if number
        }
        return ids, entries[-1][0] if entries else position

    def _changed_documents(self, token: Any) -> set[int] | None:
        """Return the products whose documents changed after ``token``; ``None`` if unknown."""
        try:
            if self._stream is None:
                self._open_stream(token)
            ids: set[int] = set()
            while (event := self._stream.try_next()) is not None:
                document = event.get("fullDocument")
                if document is None:
                    return None  # a deletion does not tell which product it was
                ids.add(int(document["product_id"]))
        except OperationFailure as error:
            if error.code in _NO_HISTORY:
                return None
            raise
        return ids

    def _open_stream(self, token: Any) -> None:
        self._stream = self._stores.mongo.productmetas.watch(
            full_document="updateLookup", resume_after=token, max_await_time_ms=1
        )
        if token is None:
            self._stream.try_next()  # its reply has the current position

    def _ids_with_views(self) -> set[int]:
        keys = self._redis.scan_iter(match=f"{VIEW_PREFIX}*", count=1000)
        return {int(key.removeprefix(VIEW_PREFIX)) for key in keys}


def _without_stock(ids: Sequence[int]) -> Strategy[list[ProductJSON]]:
    rows = yield from ask(SelectProducts(ids))
    documents = yield from ask(FindMetadata([row[0] for row in rows]))
    return (yield from assemble(rows, documents, [None] * len(rows)))


def _lock_is_taken() -> ReadModelError:
    return ReadModelError(
        "Another background worker builds the views: let it, or stop it and try again after "
        f"{_LOCK_SECONDS} seconds."
    )


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while batch := list(islice(rest, _BATCH)):
        yield batch
