"""Explain how a page is found: the requests to each store, their order and their result sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helpers.citus.query_plans import explain
from helpers.errors import StoreName
from helpers.joins.driver_adapters import send, sql
from helpers.joins.pages import Candidates, JoinOrder, Page, Query, find_page
from helpers.joins.requests import (
    CountMetadata,
    CountProducts,
    FillStock,
    ReadStock,
    Request,
    SelectProducts,
)
from helpers.stores import Stores
from helpers.stores.trace import STORES

_COLUMNS = ("wait", "store", "asked", "tasks", "keys", "found")


@dataclass(frozen=True)
class PlanStep:
    """One request to one store.

    Requests with the same ``wait`` run concurrently. ``asked`` describes the request, ``tasks`` is
    the number of Citus tasks (``None`` for another store), ``keys`` the number of keys or ids sent,
    ``found`` the number of rows, documents or stock counts returned.
    """

    wait: int
    store: StoreName
    asked: str
    tasks: int | None
    keys: int
    found: int

    def columns(self) -> tuple[str, ...]:
        """Return the fields as strings, for a table."""
        tasks = "" if self.tasks is None else str(self.tasks)
        keys = str(self.keys or "")
        return str(self.wait), self.store, self.asked, tasks, keys, str(self.found)


@dataclass(frozen=True)
class JoinPlan:
    """How a page was found: the join order, and each request, which is one round trip.

    ``found`` is the number of products on the page.
    """

    join_order: JoinOrder
    steps: tuple[PlanStep, ...]
    found: int

    @property
    def round_trips(self) -> dict[StoreName, int]:
        """The number of round trips to each store."""
        return {name: sum(step.store == name for step in self.steps) for name in STORES}

    @property
    def waits(self) -> int:
        """The number of sequential waits, if requests run concurrently where they can."""
        return max((step.wait for step in self.steps), default=0)

    def __str__(self) -> str:
        lines = [_COLUMNS, *(step.columns() for step in self.steps)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = (
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
        total = f"{len(self.steps)} round trips in {self.waits} waits, {self.found} products found"
        return "\n".join((str(self.join_order), *table, total))


def explain_page(stores: Stores, query: Query, candidates: Candidates | None = None) -> JoinPlan:
    """Find a page, and return the requests that this took. Missing stock counts are not filled.

    ``candidates``, such as a ``ProductIndex``, replaces a search in MongoDB, as in the service.

    Raises the drivers' errors, and ``MetadataError`` if a product has two documents.
    """
    steps: list[PlanStep] = []
    strategy, results, wait = find_page(query, candidates), None, 0
    while True:
        try:
            group = strategy.send(results)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            page: Page = end.value
            return JoinPlan(page.join_order, tuple(steps), len(page.products))
        results = [send(stores, request) for request in group]
        sent = [
            (request, result)
            for request, result in zip(group, results, strict=True)
            if not isinstance(request, FillStock)
        ]
        wait += bool(sent)
        steps += [_step(stores, wait, request, result) for request, result in sent]


def _step(stores: Stores, wait: int, request: Request[Any], result: Any) -> PlanStep:
    tasks = None
    match request:
        case SelectProducts() | CountProducts():
            tasks = explain(stores.postgres, *sql(request)).task_count
            found = result if isinstance(request, CountProducts) else len(result)
        case ReadStock():
            found = sum(count is not None for count in result)
        case CountMetadata():
            found = result
        case _:
            found = len(result)
    keys = len(getattr(request, "ids", None) or ())
    return PlanStep(wait, request.store, _summary(request), tasks, keys, found)


def _summary(request: Request[Any]) -> str:
    """Describe a request by the names of its conditions, without their values."""
    if isinstance(request, ReadStock):
        return request.name
    verb = "SELECT count(*)" if isinstance(request, CountProducts) else request.name
    fields = vars(request)
    given = [name for name in ("category", "ids", "after") if fields.get(name) is not None]
    parts = ", ".join([*sorted(fields.get("condition", ())), *given])
    limit = fields.get("limit")
    return verb + (f" by {parts}" if parts else "") + (f" limit {limit}" if limit else "")
