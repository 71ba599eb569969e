"""The project's own errors.

Every error that a person meets is one of these, and its text is one or two sentences that name the
thing, the likely cause and the way out. No text ever holds a password::

    CourseError
    ├── SettingsError       an address or a setting is missing, half-set or malformed
    ├── ServerError         an embedded server cannot be prepared, started or stopped
    ├── StoreError          a store does not answer, or refuses us
    │   ├── NodeUnavailableError        some of a store's nodes do not answer; the others do
    │   └── CircuitOpenError         a store is not asked for a while, since it has failed too often
    ├── BusyError           all threads for work that blocks are taken: nothing was begun
    ├── ProxyError           the relay between us and a store cannot be started, or has ended
    ├── LoadError           a server cannot be measured: it does not listen, or the callers ended
    ├── FaultError          another drill is on, or what it needs has ended
    ├── NotebookError       a notebook's cells are not what a tool of the course's authors needs
    ├── GradingError        the project's source, or what was handed in, is not what it must be
    ├── CatalogError        a catalogue file has bad lines; all of them are in ``problems``
    ├── QueryError          what is asked of the shop is not what it must be
    ├── CatalogDownError  nobody knows which listings there are: their store does not answer
    ├── ReadModelError      the views of the read model are being made by somebody else
    ├── MetadataError       a document or a filter of product metadata is not what it must be
    └── StockError          a quantity, an id or a reservation is not what it must be
        ├── UnknownProductError  the shop, or its ledger, has no such product
        ├── MissingCountError    Redis has no count of a product
        ├── SoldOutError         fewer units are available than were asked for
        └── ReservationError     a reservation is in a state in which this cannot be done
            └── KeyReusedError   a key, or a token, stands for another order
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

StoreName = Literal["PostgreSQL", "MongoDB", "Redis"]


class CourseError(Exception):
    """The base of all errors raised by ``helpers``."""


class SettingsError(CourseError):
    """An address or another setting is missing, half-set or malformed."""


class ServerError(CourseError):
    """An embedded server cannot be prepared, started or stopped."""


class ProxyError(CourseError):
    """The relay between us and a store cannot be started, or has ended."""


class LoadError(CourseError):
    """A server cannot be put under load: nothing listens, or the callers' process has ended."""


class FaultError(CourseError):
    """Another drill of the same servers is on, or a process that a drill needs has ended."""


class StoreError(CourseError):
    """A store does not answer, or refuses us.

    ``store`` is the store's name, ``address`` where it was looked for, without its password.
    """

    def __init__(self, store: StoreName, address: str, cause: str, way_out: str) -> None:
        super().__init__(f"{store} at {address}: {cause}. {way_out}")
        self.store = store
        self.address = address


class NodeUnavailableError(StoreError):
    """Some of a store's nodes do not answer, though the store does: what they hold is missing.

    ``nodes`` are their names, such as ``worker1``; ``what`` in the text is what they hold.
    """

    def __init__(self, store: StoreName, address: str, nodes: Sequence[str], what: str) -> None:
        self.nodes = tuple(nodes)
        verb = "does" if len(self.nodes) == 1 else "do"
        self.reason = f"{' and '.join(self.nodes)} {verb} not answer, and {what}"
        super().__init__(
            store, address, self.reason, "Start what does not answer, or try again in a moment."
        )


class CircuitOpenError(StoreError):
    """A store is not asked for the moment, because it failed several times in a row.

    ``failures`` is how many times, ``retry_seconds`` how long it is until it is asked again.
    """

    def __init__(
        self, store: StoreName, address: str, *, failures: int, retry_seconds: float
    ) -> None:
        wait = max(1, math.ceil(retry_seconds))
        super().__init__(
            store,
            address,
            f"it failed {failures} times in a row, and is not asked for the moment",
            f"Try again after {wait} second{'' if wait == 1 else 's'}.",
        )
        self.failures = failures
        self.retry_seconds = retry_seconds


class BusyError(CourseError):
    """All threads for work that blocks are taken. Nothing was begun."""


class NotebookError(CourseError):
    """A cell of a notebook is not what a tool of the course's authors needs it to be.

    ``cell`` is its id, ``reason`` what is wrong with it, ``way_out`` what to do.
    """

    def __init__(self, cell: str, reason: str, way_out: str) -> None:
        super().__init__(f"The cell {cell} {reason}. {way_out}")
        self.cell = cell
        self.reason = reason


class GradingError(CourseError):
    """The project's source, or a submission of it, is not what it must be."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a catalogue file: the line (counted from 1), the field and the reason."""

    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.reason}"


class CatalogError(CourseError):
    """A catalogue file has bad lines. Nothing was loaded; ``problems`` lists every one."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        count = len(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{name}: {count} problem{'s' if count != 1 else ''}, nothing was loaded. "
            f"Correct these lines and load the file again:\n{lines}"
        )
        self.problems = problems


class MetadataError(CourseError):
    """A document of product metadata, or a filter for it, is not what it must be.

    ``field`` is the part that is wrong, ``reason`` what is wrong with it, ``way_out`` what to do.
    """

    def __init__(self, field: str, reason: str, way_out: str) -> None:
        super().__init__(f"{field}: {reason}. {way_out}")
        self.field = field
        self.reason = reason
        self.way_out = way_out


class QueryError(CourseError):
    """A page of products is asked for in a way that cannot be answered.

    ``field`` is the part that is wrong, ``reason`` what is wrong with it.
    """

    def __init__(self, field: str, reason: str, way_out: str) -> None:
        super().__init__(f"{field} {reason}. {way_out.removesuffix('.')}.")
        self.field = field
        self.reason = reason


class CatalogDownError(CourseError):
    """The store that knows which listings there are does not answer, so there is no answer."""


class ReadModelError(CourseError):
    """The views of the read model are being made by somebody else. Nothing was changed."""


class StockError(CourseError):
    """A quantity, an id, a token or a length of time is not what it must be."""


class UnknownProductError(StockError):
    """Somebody, such as the ledger, does not know some products. Nothing was changed.

    ``product_ids`` are those that are not known.
    """

    def __init__(self, who: str, product_ids: list[int], way_out: str) -> None:
        ids = ", ".join(map(str, product_ids))
        super().__init__(f"{who} does not know product {ids}: {way_out}")
        self.product_ids = product_ids


class MissingCountError(StockError):
    """Redis has no count of some products, ``product_ids``. Nothing was reserved."""

    def __init__(self, product_ids: list[int]) -> None:
        super().__init__(
            f"Redis has no count of product {', '.join(map(str, product_ids))}: refresh it from "
            "the ledger, then reserve again."
        )
        self.product_ids = product_ids


class SoldOutError(StockError):
    """Fewer units are available than were asked for. Nothing was reserved.

    ``available`` has the units available of each product that there are too few of, ``overdue``
    the number of reservations that are past their deadline and were not swept yet.
    """

    def __init__(self, available: dict[int, int], overdue: int = 0) -> None:
        counts = ", ".join(f"product {one} has {units}" for one, units in available.items())
        super().__init__(
            f"There are too few units: {counts} available. Ask for fewer, or try again when "
            "reservations have ended."
        )
        self.available = available
        self.overdue = overdue


class ReservationError(StockError):
    """A reservation is in a state in which this cannot be done.

    ``token`` is the reservation's name, ``state`` the state it is in.
    """

    def __init__(self, token: str, state: str, way_out: str) -> None:
        super().__init__(f"Reservation {token} is {state}. {way_out}")
        self.token = token
        self.state = state


class KeyReusedError(ReservationError):
    """A client's key for an order, or its token, stands for another order. Nothing was ordered."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name, "for another order", f"Give every order a {what} of its own.")
