"""The plan of a query on the cluster: its tasks, their shards and nodes, and where it joins.

It is read from ``EXPLAIN (FORMAT JSON)``, on genuine Citus and on the teaching cluster. A task is a
query that the coordinator sends to one node for one shard, or for colocated shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from helpers.citus.shards import node_names, nodes_of_shards

Json = dict[str, Any]

_SHARD = re.compile(r"_(\d{6,})\b")
_JOINS = {"Nested Loop", "Hash Join", "Merge Join"}
_REFUSED = ("requires repartitioning", "complex joins are only supported")


@dataclass(frozen=True)
class Task:
    """A query to one node, such as ``worker 1``, and the ids of the shards that it reads."""

    node: str
    shards: tuple[int, ...]


@dataclass(frozen=True)
class QueryPlan:
    """How the cluster executes a query.

    ``task_count`` is the number of tasks, ``tasks`` lists them (not all for repartition joins,
    where Citus does not show them). ``joins_on_workers`` is whether the workers execute every join,
    or ``None`` without a join. ``refused`` is Citus's message if it refuses the join; there are no
    tasks then.
    """

    task_count: int
    tasks: tuple[Task, ...]
    joins_on_workers: bool | None = None
    refused: str | None = None

    @property
    def shards(self) -> tuple[int, ...]:
        """The ids of the shards that the tasks read, sorted."""
        return tuple(sorted({shard for task in self.tasks for shard in task.shards}))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that execute tasks, sorted."""
        return tuple(sorted({task.node for task in self.tasks}))

    def rows(self) -> list[dict[str, str]]:
        """Return the tasks as rows of a table with the columns node and shards."""
        return [
            {"node": task.node, "shards": ", ".join(str(shard) for shard in task.shards)}
            for task in self.tasks
        ]


def explain(
    connection: psycopg.Connection, query: str, parameters: Sequence[object] | None = None
) -> QueryPlan:
    """Return the plan of ``query`` without executing it.

    ``parameters`` are bound on the client. Raises ``psycopg.Error`` if the query is invalid. If
    Citus refuses a join, the plan's ``refused`` has the message, and no error is raised.
    """
    try:
        with connection.transaction(), psycopg.ClientCursor(connection) as cursor:
            cursor.execute("SET LOCAL citus.explain_all_tasks = on")
            row = cursor.execute(f"EXPLAIN (FORMAT JSON) {query}", parameters).fetchone()
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.InternalError_) as error:
        message = error.diag.message_primary or ""
        if any(words in message for words in _REFUSED):
            return QueryPlan(0, (), joins_on_workers=False, refused=message)
        raise
    assert row is not None
    names = node_names(connection)
    return read_plan(row[0], names, nodes_of_shards(connection))


def read_plan(
    plan: Sequence[Json], names: dict[tuple[str, int], str], placements: dict[int, str]
) -> QueryPlan:
    """Return the plan in the output of ``EXPLAIN (FORMAT JSON)``.

    ``names`` maps a node's host name and port to its name, ``placements`` a shard's id to the name
    of its node.
    """
    top = plan[0]["Plan"]
    jobs = [node["Distributed Query"]["Job"] for node in _walk(top) if "Distributed Query" in node]
    if jobs:
        return _read_citus(top, jobs, names)
    return _read_fdw(top, placements)


def _read_citus(top: Json, jobs: list[Json], names: dict[tuple[str, int], str]) -> QueryPlan:
    tasks = []
    remote: list[Json] = []
    for job in jobs:
        for task in job.get("Tasks", []):
            plans = [explained[0]["Plan"] for explained in task["Remote Plan"]]
            nodes = [node for plan in plans for node in _walk(plan)]
            remote += nodes
            tasks.append(Task(_node_name(task["Node"], names), _shards(nodes)))
    joined = any(node["Node Type"] in _JOINS for node in remote)
    local = any(node["Node Type"] in _JOINS for node in _walk(top))
    shuffled = any("Dependent Jobs" in job for job in jobs)
    return QueryPlan(
        sum(job["Task Count"] for job in jobs),
        tuple(sorted(tasks, key=lambda task: task.shards)),
        (not local and not shuffled) if joined or local or shuffled else None,
    )


def _read_fdw(top: Json, placements: dict[int, str]) -> QueryPlan:
    nodes = list(_walk(top))
    scans = [node for node in nodes if node["Node Type"] == "Foreign Scan"]
    tasks = []
    for scan in scans:
        shards = _shards([scan])
        tasks.append(Task(placements[shards[0]], shards))
    if not scans:
        # As on Citus, the query reads the coordinator's copy of a reference table.
        local = _shards([node for node in nodes if "Relation Name" in node])
        tasks = [Task("coordinator", local)] if local else []
    joined = any(" JOIN " in scan.get("Relations", "") for scan in scans)
    local_join = any(node["Node Type"] in _JOINS for node in nodes)
    return QueryPlan(
        len(tasks),
        tuple(sorted(tasks, key=lambda task: task.shards)),
        not local_join if joined or local_join else None,
    )


def _walk(node: Json) -> Iterator[Json]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


def _shards(nodes: Sequence[Json]) -> tuple[int, ...]:
    texts = [node.get("Relations") or node.get("Relation Name", "") for node in nodes]
    return tuple(sorted({int(number) for text in texts for number in _SHARD.findall(text)}))


def _node_name(address: str, names: dict[tuple[str, int], str]) -> str:
    parts = dict(part.split("=", 1) for part in address.split())
    return names.get((parts["host"], int(parts["port"])), address)
