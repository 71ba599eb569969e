"""The counts ``stock:<id>``: read many in one round trip, and made anew from the ledger.

A count that is not there is not zero: it is read from the ledger, by one caller at a time for each
product. Who reads it holds a **lease** (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013,
section 3.2.1). The others wait for what that one stores, so an expiry is no stampede. And a lease
is void as soon as the ledger changes, so no old count is stored over a newer truth.

Where counts have a limited life, it is spread by jitter, so that what was stored together does not
expire together; and a reader may renew a count before it expires, the sooner the longer the ledger
takes to answer (Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
"""

from __future__ import annotations

import math
import random
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
from helpers.stock.lua_scripts import Argument, Script
from helpers.stock.redis_keys import CHANGES, claimed_key, held_key, lease_key
from helpers.stock.reservations import new_token

_LEASE, _STORE, _INVALIDATE, _READ = map(Script, ("lease", "store", "invalidate", "read"))
_BATCH = 1000
_POLL_SECONDS = 0.01
_UNKNOWN_MILLISECONDS = 1000


@dataclass(frozen=True)
class Freshness:
    """How long a count lives, and who makes it anew.

    Without ``life_seconds`` a count stays until it is lost. With it, each count lives that long,
    give or take the share ``jitter``. ``eagerness`` is the β of Vattani et al.: 1 renews a count
    about as long before its end as the ledger takes to answer, a few times that for some readers;
    0 waits for the end. A reader of the ledger has ``lease_seconds`` to answer; then it is another
    reader's turn.
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
                f"Jitter is a share from 0 to below 1 and eagerness 0 or more, not {self.jitter} "
                f"and {self.eagerness}: correct them."
            )

    def life_milliseconds(self) -> int:
        """Return how long a count stored now may live; 0 for without a limit."""
        if self.life_seconds is None:
            return 0
        share = 1 + self.jitter * (2 * random.random() - 1)
        return max(1, round(1000 * self.life_seconds * share))


@dataclass(frozen=True)
class Difference:
    """A count that was not what the ledger bears out, and what it is now (``None``: no count)."""

    product_id: int
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before = "missing" if self.before is None else self.before
        if self.after is None:
            return f"product {self.product_id}: was {before}, the ledger does not know it: deleted"
        return f"product {self.product_id}: was {before}, set to {self.after}"


class Counts:
    """The counts in one logical database. Methods raise ``redis.RedisError``, ``psycopg.Error``.

    ``renewals`` is how many counts were renewed before their end.
    """

    def __init__(self, client: redis.Redis, ledger: Ledger, freshness: Freshness) -> None:
        self._redis = client
        self._ledger = ledger
        self._freshness = freshness
        self._ledger_seconds = 0.0
        self.renewals = 0

    def read(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Return the units available of each product; ``None`` where the ledger does not know it.

        Takes one round trip where all counts are there. Raises ``StockError`` for an id that is
        none, before anything is sent.
        """
        ids = validation.product_ids(product_ids)
        if not ids:
            return {}
        if self._freshness.life_seconds is None or not self._freshness.eagerness:
            texts: Any = self._redis.mget(stock_keys(ids))
        else:
            texts = self._read_renewing(ids)
        try:
            units = list(map(int, texts))
        except (TypeError, ValueError):
            pass  # one is missing, or is no number
        else:
            if min(units) >= 0:
                return dict(zip(ids, units, strict=True))
        found = dict(zip(ids, map(_units, texts), strict=True))
        missing = [one for one, units in found.items() if units is None]
        return found | self.fill(missing) if missing else found

    def fill(self, product_ids: Iterable[int]) -> dict[int, int | None]:
        """Read counts from the ledger that are not in Redis, or wait for who is reading them."""
        found: dict[int, int | None] = {}
        for batch in _batches(list(product_ids)):
            found |= self._fill(batch)
        return found

    def refresh(self, product_ids: Iterable[int]) -> list[Difference]:
        """Make counts what the ledger bears out, and return those that were not.

        May run while units are reserved and sold: a product whose sale falls into it is read again.
        """
        differences = []
        for batch in _batches(validation.product_ids(product_ids)):
            differences += self._refresh(batch)
        return differences

    def invalidate(self, product_ids: Sequence[int]) -> None:
        """Forget counts because the ledger has changed."""
        keys = [CHANGES]
        for one in product_ids:
            keys += (stock_key(one), lease_key(one))
        _INVALIDATE.run(self._redis, keys, [",".join(map(str, product_ids))])

    def _read_renewing(self, ids: list[int]) -> list[str | None]:
        """Read counts with what is left of their life, and renew some of those near its end."""
        answer = _READ.run(self._redis, stock_keys(ids), [])
        texts: list[str | None] = answer[::2]
        lives = answer[1::2]
        near = [
            one
            for one, left in zip(ids, lives, strict=True)
            if left >= 0 and left / 1000 <= self._head_start()
        ]
        if near:
            self.renewals += len(self._take(near, new_token(), "renew")[0])
        return texts

    def _head_start(self) -> float:
        """Return how long before its end a count is renewed this time, in seconds."""
        # 1 - random() is never 0, whose logarithm there is none of.
        return -self._ledger_seconds * self._freshness.eagerness * math.log(1 - random.random())

    def _fill(self, ids: list[int]) -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        pending, owner, deadline = ids, new_token(), self._deadline()
        while True:
            stored, known = self._take(pending, owner, "missing")
            found |= known
            found |= {one.product_id: _units(one.after) for one in stored}
            pending = [one for one in pending if one not in found]
            if not pending:
                return found
            self._wait(pending, deadline)

    def _refresh(self, ids: list[int]) -> list[Difference]:
        differences = []
        pending, owner, deadline = ids, new_token(), self._deadline()
        while True:
            stored, _ = self._take(pending, owner, "all")
            differences += [one for one in stored if one.before != one.after]
            done = {one.product_id for one in stored}
            pending = [one for one in pending if one not in done]
            if not pending:
                return differences
            self._wait(pending, deadline)

    def _take(
        self, ids: list[int], owner: str, which: Literal["missing", "renew", "all"]
    ) -> tuple[list[Difference], dict[int, int | None]]:
        """Read in the ledger those products whose lease is free, and store their counts.

        Returns what was stored, changed or not, and the counts that somebody else has stored.
        """
        keys: list[str] = []
        for one in ids:
            keys += (lease_key(one), claimed_key(one), stock_key(one))
        milliseconds = round(1000 * self._freshness.lease_seconds)
        answers = _LEASE.run(self._redis, keys, [owner, milliseconds, which])
        claims: dict[int, list[str]] = {}
        known: dict[int, int | None] = {}
        for one, answer in zip(ids, answers, strict=True):
            if isinstance(answer, list):
                # With a lease come the tokens of sales that the ledger may have or not have yet.
                claims[one] = answer[1:]
            elif answer != "busy":
                known[one] = _units(answer)
        if not claims:
            return [], known
        start = time.perf_counter()
        balances = self._ledger.balances(claims, without=chain.from_iterable(claims.values()))
        self._ledger_seconds = time.perf_counter() - start
        return self._store(list(claims), balances, owner), known

    def _store(self, ids: list[int], balances: dict[int, int], owner: str) -> list[Difference]:
        keys = [CHANGES]
        arguments: list[Argument] = [owner, _UNKNOWN_MILLISECONDS]
        for one in ids:
            keys += (stock_key(one), held_key(one), claimed_key(one), lease_key(one))
            arguments += (one, balances.get(one, "none"), self._freshness.life_milliseconds())
        answers = _STORE.run(self._redis, keys, arguments)
        return [
            Difference(one, answer[1] or None, answer[2] or None)
            for one, answer in zip(ids, answers, strict=True)
            if answer[0] == "stored"
        ]

    def _deadline(self) -> float:
        return time.monotonic() + 5 * self._freshness.lease_seconds

    @staticmethod
    def _wait(pending: list[int], deadline: float) -> None:
        if time.monotonic() > deadline:
            some = ", ".join(map(str, pending[:5]))
            raise StockError(
                f"The stock of product {some} could not be read: others are reading it in the "
                "ledger or selling it all the time. Try again."
            )
        time.sleep(_POLL_SECONDS * (0.5 + random.random()))


def _units(text: str | bytes | None) -> int | None:
    """Return the units that a count says; ``None`` where it says none."""
    try:
        return None if text is None else max(int(text), 0)
    except ValueError:
        return None


def _batches(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
