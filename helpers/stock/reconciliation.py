"""Reconciliation: find every difference between Redis and the ledger, repair it, say what was done.

In this order, since each step rests on the one before:

1. entries about reservations follow from the reservations themselves;
2. what is past its deadline ends;
3. a confirmation that was cut short is decided by the ledger: if the sale is there, it is settled,
   or else cancelled there for good, so that a late comer cannot sell it;
4. each count becomes what is on hand less what is reserved.

It may run at any time, beside buyers, and be cut short and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from helpers.catalog.model import stock_key
from helpers.stock.redis_keys import (
    CLAIMS,
    DEADLINES,
    claimed_key,
    held_key,
    reservation_key,
)
from helpers.stock.redis_strings import as_string
from helpers.stock.reservations import Reservation
from helpers.stock.stock import Stock
from helpers.validation import LARGEST_ID

_BATCH = 500
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Finding:
    """One thing that was wrong and is repaired.

    ``kind`` is ``"entry"``, ``"overdue"``, ``"in doubt"``, ``"count"`` or ``"stray key"``;
    ``subject`` the reservation's token, the product's id or the key.
    """

    kind: str
    subject: str
    done: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.done}"


@dataclass
class Reconciliation:
    """What was examined, and what was found."""

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

    A confirmation that began less than ``in_doubt_seconds`` ago is left to whoever is at it.

    Raises ``redis.RedisError`` or ``psycopg.Error`` when a store fails: what was repaired stays
    repaired. Raises ``StockError`` when a product is sold too often to be examined.
    """
    report = Reconciliation()
    _mend_entries(stock, report)
    _end_overdue(stock, report)
    _decide_doubtful(stock, report, in_doubt_seconds)
    _mend_counts(stock, report)
    return report


def recover(stock: Stock, *, in_doubt_seconds: float = 30) -> Reconciliation:
    """Do the second and third step alone: end what is overdue, decide what is in doubt.

    These look at lists of what is open; ``reconcile`` looks at all products. Raises as it does.
    """
    report = Reconciliation()
    _end_overdue(stock, report)
    _decide_doubtful(stock, report, in_doubt_seconds)
    return report


def _mend_entries(stock: Stock, report: Reconciliation) -> None:
    tokens = _all_tokens(stock)
    report.reservations = len(tokens)
    for batch in _batches(iter(sorted(tokens))):
        found = stock.reservations.find_many(batch)
        # Of a reservation that is gone, only the entries tell what it was for.
        whole = [
            one or Reservation(token, tuple(sorted(tokens[token].items())), _NEVER)
            for token, one in zip(batch, found, strict=True)
        ]
        for one, wrong in zip(whole, stock.reservations.mend(whole), strict=True):
            if wrong:
                done = f"{wrong} entries of reservation {one.token} did not fit its state: mended"
                report.findings.append(Finding("entry", one.token, done))


def _all_tokens(stock: Stock) -> dict[str, dict[int, int]]:
    """Return every token that is written anywhere, with the entries of products under it."""
    prefix = reservation_key("")
    tokens: dict[str, dict[int, int]] = {
        key.removeprefix(prefix): {} for key in _scan(stock, reservation_key("*"))
    }
    for key in (DEADLINES, CLAIMS):
        members: Any = stock.redis.zrange(key, 0, -1)
        for token in members:
            tokens.setdefault(as_string(token), {})
    for name in (held_key, claimed_key):
        start = name(0).removesuffix("0")
        for batch in _batches(_scan(stock, f"{start}*")):
            with stock.redis.pipeline(transaction=False) as pipeline:
                for key in batch:
                    pipeline.hgetall(key)
                answers: list[dict[Any, Any]] = pipeline.execute()
            for key, entries in zip(batch, answers, strict=True):
                for token, quantity in entries.items():
                    product = int(key.removeprefix(start))
                    tokens.setdefault(as_string(token), {})[product] = int(quantity)
    return tokens


def _end_overdue(stock: Stock, report: Reconciliation) -> None:
    for token in stock.sweep():
        done = f"reservation {token} was past its deadline: its units are back"
        report.findings.append(Finding("overdue", token, done))


def _decide_doubtful(stock: Stock, report: Reconciliation, seconds: float) -> None:
    for token in stock.reservations.claimed(older_than_seconds=seconds):
        outcome = stock.decide(token)
        if outcome == "sold":
            done = f"reservation {token} was sold: confirmed"
        else:
            done = f"reservation {token} was not sold: released"
        report.findings.append(Finding("in doubt", token, done))


def _mend_counts(stock: Stock, report: Reconciliation) -> None:
    known = stock.ledger.product_ids()
    report.products = len(known)
    strays = []
    for key in _scan(stock, stock_key("*")):
        name = key.removeprefix(stock_key(""))
        if not name.isdecimal() or not 0 < int(name) <= LARGEST_ID or key != stock_key(int(name)):
            done = f"{key} is no product's: left alone"
            strays.append(Finding("stray key", key, done))
        else:
            known.add(int(name))
    for one in stock.refresh(sorted(known)):
        report.findings.append(Finding("count", str(one.product_id), str(one)))
    report.findings += strays


def _scan(stock: Stock, pattern: str) -> Iterator[str]:
    """Yield the keys that fit, each once, without stopping the server as KEYS would."""
    seen = set()
    for key in stock.redis.scan_iter(match=pattern, count=1000):
        text = as_string(key)
        if text not in seen:
            seen.add(text)
            yield text


def _batches(items: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(items, _BATCH)):
        yield batch
