"""Reconciliation: find and repair every difference between Redis and the ledger.

The steps build on one another:

1. entries about reservations are made to match the reservations;
2. reservations past their deadline expire;
3. an interrupted confirmation is decided by the ledger: if it has the sale, the confirmation is
   finished; if not, the sale is cancelled for good, so a slow client cannot record it later;
4. each stock count is set to what is on hand minus what is reserved.

It may run at any time, while clients buy, and may be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from helpers.catalog.model import stock_key
from helpers.stock.redis_keys import (
    CONFIRMATIONS,
    DEADLINES,
    confirming_key,
    reservation_key,
    reserved_key,
)
from helpers.stock.redis_strings import as_string
from helpers.stock.reservations import Reservation
from helpers.stock.stock import Stock
from helpers.validation import LARGEST_ID

_BATCH = 500
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Finding:
    """A difference that was found and repaired.

    ``kind`` is ``"entry"``, ``"overdue"``, ``"in doubt"``, ``"count"`` or ``"stray key"``.
    ``subject`` is the reservation's token, the product's id or the key. ``done`` is a description.
    """

    kind: str
    subject: str
    done: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.done}"


@dataclass
class Reconciliation:
    """How many products and reservations were examined, and the differences found."""

    products: int = 0
    reservations: int = 0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        examined = f"{self.products} products and {self.reservations} reservations examined"
        if not self.findings:
            return f"{examined}: ledger, stock and reservations agree."
        lines = "\n".join(f"  {finding}" for finding in self.findings)
        return f"{examined}, {len(self.findings)} differences repaired:\n{lines}"


def reconcile(stock: Stock, *, in_doubt_seconds: float = 30) -> Reconciliation:
    """Repair every difference, and return what was found.

    A confirmation that started less than ``in_doubt_seconds`` ago is left to its client.

    Raises ``redis.RedisError`` or ``psycopg.Error`` if a store fails; repairs up to then remain.
    Raises ``StockError`` if a product is sold too often to be examined.
    """
    report = Reconciliation()
    _repair_entries(stock, report)
    _expire_overdue(stock, report)
    _decide_in_doubt(stock, report, in_doubt_seconds)
    _rebuild_counts(stock, report)
    return report


def recover(stock: Stock, *, in_doubt_seconds: float = 30) -> Reconciliation:
    """Do steps 2 and 3 only: expire overdue reservations, decide interrupted confirmations.

    These read lists of open reservations; ``reconcile`` reads all products. Raises as it does.
    """
    report = Reconciliation()
    _expire_overdue(stock, report)
    _decide_in_doubt(stock, report, in_doubt_seconds)
    return report


def _repair_entries(stock: Stock, report: Reconciliation) -> None:
    units_of = _units_by_token(stock)
    report.reservations = len(units_of)
    for tokens in _batches(iter(sorted(units_of))):
        # If a reservation is lost, only the entries tell which products it was for.
        reservations = [
            found or Reservation(token, tuple(sorted(units_of[token].items())), _NEVER)
            for token, found in zip(tokens, stock.reservations.find_many(tokens), strict=True)
        ]
        for token, wrong in zip(tokens, stock.reservations.repair(reservations), strict=True):
            if wrong:
                done = f"{wrong} entries of reservation {token} did not match its state: repaired"
                report.findings.append(Finding("entry", token, done))


def _units_by_token(stock: Stock) -> dict[str, dict[int, int]]:
    """Return every token that any key has, with its units of each product in the hashes."""
    prefix = reservation_key("")
    found: dict[str, dict[int, int]] = {
        key.removeprefix(prefix): {} for key in _scan(stock, reservation_key("*"))
    }
    for key in (DEADLINES, CONFIRMATIONS):
        members: Any = stock.redis.zrange(key, 0, -1)
        for token in members:
            found.setdefault(as_string(token), {})
    for key_of in (reserved_key, confirming_key):
        prefix = key_of(0).removesuffix("0")
        for keys in _batches(_scan(stock, f"{prefix}*")):
            with stock.redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hgetall(key)
                hashes: list[dict[Any, Any]] = pipeline.execute()
            for key, units_of in zip(keys, hashes, strict=True):
                product_id = int(key.removeprefix(prefix))
                for token, units in units_of.items():
                    found.setdefault(as_string(token), {})[product_id] = int(units)
    return found


def _expire_overdue(stock: Stock, report: Reconciliation) -> None:
    for token in stock.sweep():
        done = f"reservation {token} was past its deadline: its units are back"
        report.findings.append(Finding("overdue", token, done))


def _decide_in_doubt(stock: Stock, report: Reconciliation, seconds: float) -> None:
    for token in stock.reservations.confirming(older_than_seconds=seconds):
        outcome = stock.decide(token)
        if outcome == "sold":
            done = f"reservation {token} was sold: confirmed"
        else:
            done = f"reservation {token} was not sold: released"
        report.findings.append(Finding("in doubt", token, done))


def _rebuild_counts(stock: Stock, report: Reconciliation) -> None:
    known = stock.ledger.product_ids()
    report.products = len(known)
    strays = []
    for key in _scan(stock, stock_key("*")):
        name = key.removeprefix(stock_key(""))
        if not name.isdecimal() or not 0 < int(name) <= LARGEST_ID or key != stock_key(int(name)):
            done = f"{key} is not the key of a product: left unchanged"
            strays.append(Finding("stray key", key, done))
        else:
            known.add(int(name))
    for difference in stock.refresh(sorted(known)):
        report.findings.append(Finding("count", str(difference.product_id), str(difference)))
    report.findings += strays


def _scan(stock: Stock, pattern: str) -> Iterator[str]:
    """Yield each matching key once, with ``SCAN``, which does not block the server as ``KEYS``."""
    seen = set()
    for key in stock.redis.scan_iter(match=pattern, count=1000):
        text = as_string(key)
        if text not in seen:
            seen.add(text)
            yield text


def _batches(items: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(items, _BATCH)):
        yield batch
