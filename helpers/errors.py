"""The project's own errors.

Every error that a person sees is one of these. Its message is one or two sentences that name the
object, the likely cause and the way out. No message contains a password::

    CourseError
    ├── SettingsError       an address or a setting is missing, incomplete or malformed
    ├── ServerError         an embedded server cannot be prepared, started or stopped
    ├── StoreError          a store does not respond, or rejects us
    │   ├── NodeUnavailableError  some of a store's nodes do not respond, the others do
    │   ├── CircuitOpenError      the circuit of a store is open after repeated failures
    │   └── ForeignDataError      a database has data that the course did not create
    ├── BusyError           the thread pool for blocking work is full: nothing was started
    ├── ProxyError          a proxy in front of a store cannot be started, or has exited
    ├── LoadError           a server cannot be measured: it does not listen, or the clients exited
    ├── FaultError          another fault injection is active, or a process that it needs has exited
    ├── NotebookError       a notebook's cells are not what an authoring tool needs
    ├── GradingError        the project's source, or a submission, is invalid
    ├── CatalogError        a catalogue file has invalid lines, listed in ``problems``
    ├── QueryError          a query for products is invalid
    ├── CatalogDownError    the store that knows which listings exist does not respond
    ├── ReadModelError      another worker builds the views, or a view is invalid
    ├── MetadataError       a document or a filter of product metadata is invalid
    └── StockError          a quantity, an id or a reservation is invalid
        ├── UnknownProductError  the shop or its ledger does not have a product
        ├── MissingCountError    Redis does not have a product's stock count
        ├── SoldOutError         fewer units are available than requested
        └── ReservationError     a reservation's state does not allow this
            └── KeyReusedError   an idempotency key or token belongs to another order
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_MOST_PROBLEMS = 20

StoreName = Literal["PostgreSQL", "MongoDB", "Redis"]


class CourseError(Exception):
    """The base class of all errors raised by ``helpers``."""


class SettingsError(CourseError):
    """An address or another setting is missing, incomplete or malformed."""


class ServerError(CourseError):
    """An embedded server cannot be prepared, started or stopped."""


class ProxyError(CourseError):
    """A proxy in front of a store cannot be started, or has exited."""


class LoadError(CourseError):
    """A server cannot be put under load: it does not listen, or the clients' process exited."""


class FaultError(CourseError):
    """Another fault injection on the same servers is active, or a process it needs has exited."""


class StoreError(CourseError):
    """A store does not respond, or rejects us.

    ``store`` is the store's name, ``address`` its address without the password.
    """

    def __init__(self, store: StoreName, address: str, cause: str, way_out: str) -> None:
        super().__init__(f"{store} at {address}: {cause}. {way_out}")
        self.store = store
        self.address = address


class ForeignDataError(StoreError):
    """A database on a server given by address has data that the course did not create.

    Nothing was changed in it.
    """


class NodeUnavailableError(StoreError):
    """Some of a store's nodes do not respond, so their data is missing; the others do.

    ``nodes`` are their names, such as ``worker1``; ``what`` completes the sentence about them.
    """

    def __init__(self, store: StoreName, address: str, nodes: Sequence[str], what: str) -> None:
        self.nodes = tuple(nodes)
        verb = "does" if len(self.nodes) == 1 else "do"
        self.reason = f"{' and '.join(self.nodes)} {verb} not answer, and {what}"
        super().__init__(
            store, address, self.reason, "Start the missing nodes, or try again in a moment."
        )


class CircuitOpenError(StoreError):
    """The circuit of a store is open, because requests to it failed several times in a row.

    ``failures`` is how many, ``retry_seconds`` the time until the next request is allowed.
    """

    def __init__(
        self, store: StoreName, address: str, *, failures: int, retry_seconds: float
    ) -> None:
        wait = max(1, math.ceil(retry_seconds))
        super().__init__(
            store,
            address,
            f"it failed {failures} times in a row, so its circuit is open",
            f"Try again after {wait} second{'' if wait == 1 else 's'}.",
        )
        self.failures = failures
        self.retry_seconds = retry_seconds


class BusyError(CourseError):
    """The thread pool for blocking work is full. Nothing was started."""


class NotebookError(CourseError):
    """A cell of a notebook is not what an authoring tool needs.

    ``cell`` is its id, ``reason`` what is wrong with it, ``way_out`` what to do.
    """

    def __init__(self, cell: str, reason: str, way_out: str) -> None:
        super().__init__(f"The cell {cell} {reason}. {way_out}")
        self.cell = cell
        self.reason = reason


class GradingError(CourseError):
    """The project's source, or a submission of it, is invalid."""


@dataclass(frozen=True)
class CatalogProblem:
    """One error in a catalogue file: the line (from 1), the field and the reason.

    If the file is one JSON document, ``unit`` is ``product``, and ``line`` counts products.
    """

    line: int
    field: str
    reason: str
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.field}: {self.reason}"


class CatalogError(CourseError):
    """A catalogue file has invalid lines, all in ``problems``. Nothing was loaded.

    The message has the first 20 problems.
    """

    def __init__(self, name: str, problems: list[CatalogProblem]) -> None:
        count = len(problems)
        lines = [f"  {problem}" for problem in problems[:_MOST_PROBLEMS]]
        if count > _MOST_PROBLEMS:
            lines.append(f"  … and {count - _MOST_PROBLEMS} more")
        super().__init__(
            f"{name}: {count} problem{'s' if count != 1 else ''}, nothing was loaded. "
            "Correct them and load the file again:\n" + "\n".join(lines)
        )
        self.problems = problems


class MetadataError(CourseError):
    """A document of product metadata, or a filter for it, is invalid.

    ``field`` is the part that is wrong, ``reason`` what is wrong with it, ``way_out`` what to do.
    """

    def __init__(self, field: str, reason: str, way_out: str) -> None:
        super().__init__(f"{field}: {reason}. {way_out}")
        self.field = field
        self.reason = reason
        self.way_out = way_out


class QueryError(CourseError):
    """A query for a page of products is invalid.

    ``field`` is the part that is wrong, ``reason`` what is wrong with it.
    """

    def __init__(self, field: str, reason: str, way_out: str) -> None:
        super().__init__(f"{field} {reason}. {way_out.removesuffix('.')}.")
        self.field = field
        self.reason = reason


class CatalogDownError(CourseError):
    """The store that knows which listings exist does not respond, so there is no result."""


class ReadModelError(CourseError):
    """Another background worker builds the views, or a view is invalid. Nothing was changed."""


class StockError(CourseError):
    """A quantity, an id, a token or a duration is invalid."""


class UnknownProductError(StockError):
    """``who``, such as the ledger, does not have the products ``product_ids``.

    Nothing was changed.
    """

    def __init__(self, who: str, product_ids: list[int], way_out: str) -> None:
        ids = ", ".join(map(str, product_ids))
        super().__init__(f"{who} does not know product {ids}: {way_out}")
        self.product_ids = product_ids


class MissingCountError(StockError):
    """Redis does not have the stock counts of ``product_ids``. Nothing was reserved."""

    def __init__(self, product_ids: list[int]) -> None:
        super().__init__(
            f"Redis has no stock count of product {', '.join(map(str, product_ids))}: refresh it "
            "from the ledger, then reserve again."
        )
        self.product_ids = product_ids


class SoldOutError(StockError):
    """Fewer units are available than requested. Nothing was reserved.

    ``available`` has the available units of each product that has too few, ``overdue`` the number
    of reservations past their deadline that have not been released yet.
    """

    def __init__(self, available: dict[int, int], overdue: int = 0) -> None:
        counts = ", ".join(f"product {product} has {units}" for product, units in available.items())
        super().__init__(
            f"There are too few units: {counts} available. Order fewer, or try again when "
            "reservations have expired."
        )
        self.available = available
        self.overdue = overdue


class ReservationError(StockError):
    """A reservation's state does not allow this.

    ``token`` identifies the reservation, ``state`` is its state.
    """

    def __init__(self, token: str, state: str, way_out: str) -> None:
        super().__init__(f"Reservation {token} is {state}. {way_out}")
        self.token = token
        self.state = state


class KeyReusedError(ReservationError):
    """An idempotency key or a token belongs to another order. Nothing was ordered."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name, "for another order", f"Give every order a different {what}.")
