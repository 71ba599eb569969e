"""What a page costs: which store is asked what, in which order, and how much comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helpers.citus.query_plans import explain
from helpers.errors import StoreName
from helpers.joins.executor import answer
from helpers.joins.page_query import Choice, Page, Query
from helpers.joins.pages import find_page
from helpers.joins.requests import (
    CountMetadata,
    CountProducts,
    FillStock,
    FindMetadata,
    ReadStock,
    Request,
    SelectProducts,
)
from helpers.joins.statements import statement
from helpers.stores import Stores


@dataclass(frozen=True)
class Step:
    """One question to one store.

    ``wait`` is the number of the wait that it belongs to: those of one wait are asked at once.
    ``tasks`` are the Citus tasks (``None``: another store), ``keys`` how many keys or ids were
    sent, ``found`` how many rows, documents or counts came back.
    """

    wait: int
    store: StoreName
    asked: str
    tasks: int | None
    keys: int
    found: int

    def row(self) -> dict[str, object]:
        """Return the step as a row of a small table."""
        return {
            "wait": self.wait,
            "store": self.store,
            "asked": self.asked,
            "tasks": "" if self.tasks is None else self.tasks,
            "keys": self.keys or "",
            "found": self.found,
        }


@dataclass(frozen=True)
class JoinPlan:
    """How a page was found: the choice, and every question, each a round trip.

    ``found`` is how many products the page has.
    """

    choice: Choice
    steps: tuple[Step, ...]
    found: int

    @property
    def round_trips(self) -> dict[StoreName, int]:
        """How many round trips there were to each store."""
        names: tuple[StoreName, ...] = ("PostgreSQL", "MongoDB", "Redis")
        return {name: sum(step.store == name for step in self.steps) for name in names}

    @property
    def waits(self) -> int:
        """How many times somebody waits, where what may be asked at once is."""
        return max((step.wait for step in self.steps), default=0)

    def rows(self) -> list[dict[str, object]]:
        """Return the steps as rows of a small table."""
        return [step.row() for step in self.steps]

    def __str__(self) -> str:
        names = ("wait", "store", "asked", "tasks", "keys", "found")
        lines = [names, *(tuple(str(step.row()[name]) for name in names) for step in self.steps)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
        table = (
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
        total = f"{len(self.steps)} round trips in {self.waits} waits, {self.found} products found"
        return "\n".join((str(self.choice), *table, total))


def explain_page(stores: Stores, query: Query) -> JoinPlan:
    """Find a page, and return what was asked for it. Counts that are missing are not filled.

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    steps: list[Step] = []
    strategy, answers, wait = find_page(query), None, 0
    while True:
        try:
            group = strategy.send(answers)  # type: ignore[arg-type]  # None begins a generator
        except StopIteration as end:
            page: Page = end.value
            return JoinPlan(page.choice, tuple(steps), len(page.products))
        answers = [answer(stores, asked) for asked in group]
        asked_now = [asked for asked in group if not isinstance(asked, FillStock)]
        wait += bool(asked_now)
        steps += [
            _step(stores, wait, asked, found)
            for asked, found in zip(group, answers, strict=True)
            if asked in asked_now
        ]


def _step(stores: Stores, wait: int, asked: Request[Any], found: Any) -> Step:
    match asked:
        case SelectProducts() | CountProducts():
            sql, parameters = statement(asked)
            tasks = explain(stores.postgres, sql, parameters).task_count
            keys = len(asked.ids or ()) if isinstance(asked, SelectProducts) else 0
            return Step(wait, "PostgreSQL", _summary(asked), tasks, keys, _size(found))
        case FindMetadata() | CountMetadata():
            keys = len(asked.ids or ()) if isinstance(asked, FindMetadata) else 0
            return Step(wait, "MongoDB", _summary(asked), None, keys, _size(found))
        case ReadStock():
            present = sum(count is not None for count in found)
            return Step(wait, "Redis", "MGET", None, len(asked.ids), present)
    raise TypeError(f"{asked!r} is no question to a store.")


def _summary(asked: SelectProducts | CountProducts | FindMetadata | CountMetadata) -> str:
    """Return what is asked, without its values: those of the conditions may be long."""
    parts: list[str] = []
    if isinstance(asked, SelectProducts | CountProducts):
        verb = "SELECT" if isinstance(asked, SelectProducts) else "SELECT count(*)"
        parts += ["category"] if asked.category is not None else []
    else:
        verb = "find" if isinstance(asked, FindMetadata) else "count"
        parts += sorted(asked.condition)
    if isinstance(asked, SelectProducts | FindMetadata):
        parts += ["ids"] if asked.ids is not None else []
    parts += ["after"] if asked.after is not None else []
    limit = getattr(asked, "limit", None)
    by = f" by {', '.join(parts)}" if parts else ""
    return f"{verb}{by}" + (f" limit {limit}" if limit is not None else "")


def _size(found: Any) -> int:
    return found if isinstance(found, int) else len(found)
