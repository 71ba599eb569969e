"""Read the tasks of a query and their shards from its plan: Citus's tasks, or foreign scans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.e2e.conformance.databases import Connection, rows

#: The shards that a task reads: (table, shard id), sorted.
Task = tuple[tuple[str, int], ...]

_SHARD = re.compile(r"\b([a-z_]+)_(10\d{4})\b")


def tasks(connection: Connection, query: str) -> list[Task]:
    """Return the shards of each task of a query, sorted."""
    connection.execute("SET citus.explain_all_tasks = on")
    [(plan,)] = rows(connection, f"EXPLAIN (FORMAT JSON, VERBOSE) {query}")
    return sorted(_shards(task) for task in _tasks(plan))


def shards(connection: Connection, query: str) -> list[int]:
    """Return the shards that a query of one table reads."""
    found = []
    for task in tasks(connection, query):
        [(_, shard)] = task
        found.append(shard)
    return found


def _tasks(plan: Any) -> Iterator[Any]:
    """Yield the parts of a plan that are one task each."""
    match plan:
        case {"Remote Plan": _} | {"Node Type": "Foreign Scan"}:
            yield plan
        case dict():
            for part in plan.values():
                yield from _tasks(part)
        case list():
            for part in plan:
                yield from _tasks(part)


def _shards(task: dict[str, Any]) -> Task:
    """Return the shards of a task: relations in its plan, or in its remote join."""
    named = " ".join(_relations(task))
    return tuple(sorted({(table, int(shard)) for table, shard in _SHARD.findall(named)}))


def _relations(plan: Any) -> Iterator[str]:
    match plan:
        case dict():
            for key, part in plan.items():
                if key in ("Relation Name", "Relations"):
                    yield part
                yield from _relations(part)
        case list():
            for part in plan:
                yield from _relations(part)
