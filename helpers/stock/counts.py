"""Stock counts ``stock:<id>``: read many in one round trip, rebuild missing ones from the ledger.

A missing stock count is not zero: it is read from the ledger, by one client at a time for each
product. That client holds a **lease** (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013,
section 3.2.1); the others wait until it has stored the count, so an expired key does not cause a
cache stampede. A change of the ledger deletes the lease, so an outdated count is never stored.

If stock counts expire, their time to live has jitter, so that counts stored together do not expire
together. A reader may also renew a count shortly before it expires; the slower the ledger, the
earlier (Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import redis

from helpers import validation
from helpers.catalog.model import stock_key, stock_keys
from helpers.errors import StockError
from helpers.stock.ledger import Ledger
from helpers.stock.lua_scripts import Argument, run_script
from helpers.stock.redis_keys import CHANGES, confirming_key, lease_key, reserved_key
from helpers.stock.reservations import new_token

# As the scripts' ``is_count``.
_COUNT = re.compile(r"-?(0|[1-9][0-9]{0,14})", re.ASCII)
_BATCH = 1000
_POLL_SECONDS = 0.01
_UNKNOWN_MILLISECONDS = 1000


@dataclass(frozen=True)
class Freshness:
    """How long a stock count lives, and who renews it.

    Without ``life_seconds``, a count does not expire. Otherwise it expires after that time, varied
    by up to the fraction ``jitter``. ``eagerness`` is β in Vattani et al.: with 1, a reader renews
    a count about as long before it expires as the ledger takes to respond (some readers a few times
    earlier); with 0, no reader renews it before it expires. A lease expires after
    ``lease_seconds``; then another reader may read the ledger.
    """

    life_seconds: float | None = None
    jitter: float = 0.1
    eagerness: float = 1.0
    lease_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.life_seconds is not None:
            validation.seconds(self.life_seconds, "The life of a count")
        validation.seconds(self.lease_seconds, "The life of a lease")
        if not (0 <= self.jitter < 1 and 0 <= self.eagerness < math.inf):
            raise StockError(
                f"jitter must be from 0 to below 1 and eagerness 0 or more, not {self.jitter} "
                f"and {self.eagerness}: correct them."
            )

    def life_milliseconds(self) -> int:
        """Return the time to live of a count that is stored now, 0 if it does not expire."""
        if self.life_seconds is None:
            return 0
        factor = 1 + self.jitter * (2 * random.random() - 1)
        return max(1, round(1000 * self.life_seconds * factor))


@dataclass(frozen=True)
class Difference:
    """A stock count as it was and as it is after it was rebuilt (``None``: missing)."""

    product_id: int
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before = "missing" if self.before is None else self.before
        if self.after is None:
            return f"product {self.product_id}: was {before}, the ledger does not know it: deleted"
        return f"product {self.product_id}: was {before}, set to {self.after}"


class Counts:
    """The stock counts in one logical Redis database.

    Methods raise ``redis.RedisError`` and ``psycopg.Error``. ``renewals`` counts how many stock
    counts were renewed before they expired.
    """

    def __init__(self, client: redis.Redis, ledger: Ledger, freshness: Freshness) -> None:
        self._redis = client
        self._ledger = ledger
        self._freshness = freshness
        self._ledger_seconds = 0.0
        self.renewals = 0

    def read(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Return the units available of each product, ``None`` if the ledger does not know it.

        Takes one round trip if Redis has all stock counts. Raises ``StockError`` for an invalid
        id before it sends anything.
        """
        ids = validation.product_ids(product_ids)
        if not ids:
            return {}
        if self._freshness.life_seconds is None or not self._freshness.eagerness:
            values: Any = self._redis.mget(stock_keys(ids))
        else:
            values = self._read_and_renew(ids)
        found = dict(zip(ids, map(_units, values), strict=True))
        missing = [product_id for product_id, count in found.items() if count is None]
        return found | self.fill(missing) if missing else found

    def fill(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Read missing counts from the ledger, or wait until another client has stored them."""
        found: dict[int, int | None] = {}
        for batch in _batches(list(product_ids)):
            found |= self._fill(batch)
        return found

    def refresh(self, product_ids: Iterable[int]) -> list[Difference]:
        """Rebuild stock counts from the ledger, and return those that were wrong.

        May run while units are reserved and sold: if a product is sold meanwhile, it is read again.
        """
        differences = []
        for batch in _batches(validation.product_ids(product_ids)):
            differences += self._refresh(batch)
        return differences

    def invalidate(self, product_ids: Sequence[int]) -> None:
        """Delete stock counts because the ledger has changed."""
        keys = [CHANGES]
        for product_id in product_ids:
            keys += (stock_key(product_id), lease_key(product_id))
        run_script(self._redis, "invalidate", keys, [",".join(map(str, product_ids))])

    def _read_and_renew(self, ids: list[int]) -> list[str | None]:
        """Read counts and their remaining time to live; renew some that expire soon."""
        result = run_script(self._redis, "read_with_ttl", stock_keys(ids), [])
        values: list[str | None] = result[::2]
        expiring = [
            product_id
            for product_id, milliseconds in zip(ids, result[1::2], strict=True)
            if milliseconds >= 0 and milliseconds / 1000 <= self._head_start()
        ]
        if expiring:
            self.renewals += len(self._lease_and_store(expiring, new_token(), "renew")[0])
        return values

    def _head_start(self) -> float:
        """Return how many seconds before it expires a count is renewed this time."""
        # 1 - random() is never 0, so its logarithm is defined.
        return -self._ledger_seconds * self._freshness.eagerness * math.log(1 - random.random())

    def _fill(self, ids: list[int]) -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        pending, owner, deadline = ids, new_token(), self._deadline()
        while True:
            stored, known = self._lease_and_store(pending, owner, "missing")
            found |= known
            found |= {difference.product_id: _units(difference.after) for difference in stored}
            pending = [product_id for product_id in pending if product_id not in found]
            if not pending:
                return found
            self._wait(pending, deadline)

    def _refresh(self, ids: list[int]) -> list[Difference]:
        differences = []
        pending, owner, deadline = ids, new_token(), self._deadline()
        while True:
            stored, _ = self._lease_and_store(pending, owner, "all")
            differences += [
                difference for difference in stored if difference.before != difference.after
            ]
            done = {difference.product_id for difference in stored}
            pending = [product_id for product_id in pending if product_id not in done]
            if not pending:
                return differences
            self._wait(pending, deadline)

    def _lease_and_store(
        self, ids: list[int], owner: str, which: Literal["missing", "renew", "all"]
    ) -> tuple[list[Difference], dict[int, int | None]]:
        """Lease products, read those in the ledger, and store their counts.

        Returns what was stored, changed or not, and the counts that other clients have stored.
        """
        keys: list[str] = []
        for product_id in ids:
            keys += (lease_key(product_id), confirming_key(product_id), stock_key(product_id))
        milliseconds = round(1000 * self._freshness.lease_seconds)
        results = run_script(self._redis, "lease", keys, [owner, milliseconds, which])
        confirming: dict[int, list[str]] = {}
        known: dict[int, int | None] = {}
        for product_id, result in zip(ids, results, strict=True):
            if isinstance(result, list):
                # With a lease come the tokens of sales that may or may not be in the ledger yet.
                confirming[product_id] = result[1:]
            elif result != "busy":
                known[product_id] = _units(result)
        if not confirming:
            return [], known
        start = time.perf_counter()
        balances = self._ledger.balances(
            confirming, without=chain.from_iterable(confirming.values())
        )
        self._ledger_seconds = time.perf_counter() - start
        return self._store(list(confirming), balances, owner), known

    def _store(self, ids: list[int], balances: dict[int, int], owner: str) -> list[Difference]:
        keys = [CHANGES]
        arguments: list[Argument] = [owner, _UNKNOWN_MILLISECONDS]
        for product_id in ids:
            keys += (stock_key(product_id), reserved_key(product_id))
            keys += (confirming_key(product_id), lease_key(product_id))
            arguments += (product_id, balances.get(product_id, "none"))
            arguments.append(self._freshness.life_milliseconds())
        results = run_script(self._redis, "store", keys, arguments)
        return [
            Difference(product_id, result[1] or None, result[2] or None)
            for product_id, result in zip(ids, results, strict=True)
            if result[0] == "stored"
        ]

    def _deadline(self) -> float:
        return time.monotonic() + 5 * self._freshness.lease_seconds

    @staticmethod
    def _wait(pending: list[int], deadline: float) -> None:
        if time.monotonic() > deadline:
            some = ", ".join(map(str, pending[:5]))
            raise StockError(
                f"The stock of product {some} could not be read: other clients are reading it in "
                "the ledger or selling it all the time. Try again."
            )
        time.sleep(_POLL_SECONDS * (0.5 + random.random()))


def _units(value: str | bytes | None) -> int | None:
    """Return a stock count as a number of units; ``None`` if it is missing or not a count."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
    return max(int(text), 0) if _COUNT.fullmatch(text) else None


def _batches(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
