"""A part of the rows: what PostgreSQL's requests are answered with while a worker is away.

The shards that are left are asked on their own nodes, all nodes at once, and their answers are put
together as the coordinator would have done it. What is lost is known by its shards, and by the
hash of a product's id.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import psycopg

from helpers.citus.node_connections import NodeConnections
from helpers.citus.placements import Node, Shard, ShardStatus, ids_on
from helpers.joins.requests import CountCategories, CountProducts, SelectProducts
from helpers.joins.statements import statement

#: What PostgreSQL is asked.
FromPostgres = SelectProducts | CountProducts | CountCategories

# How long a node that is there may take to answer.
_SECONDS = 3.0


@dataclass(frozen=True)
class MissingShards:
    """The shards that an answer does without."""

    shards: frozenset[Shard] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.shards)

    def __or__(self, other: MissingShards) -> MissingShards:
        return MissingShards(self.shards | other.shards)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of their nodes, in order."""
        return tuple(sorted({one.node.name for one in self.shards}))

    @property
    def shard_ids(self) -> tuple[int, ...]:
        """Their ids, in order."""
        return tuple(sorted(one.id for one in self.shards))

    def among(self, ids: Collection[int]) -> list[int]:
        """Return those of the ids whose products are on these shards, or would be."""
        return ids_on(self.shards, ids)


async def ask_live(
    connections: NodeConnections, request: FromPostgres, standing: ShardStatus
) -> tuple[Any, MissingShards]:
    """Answer a request from the shards on nodes that answer, and say which it lost by that.

    A request for some ids loses only the shards of these. Where a node falls silent meanwhile, its
    shards are lost as well. Raises ``psycopg.Error`` where a node answers with another error.
    """
    by_node: dict[Node, list[Shard]] = {}
    for shard in standing.available_shards:
        by_node.setdefault(shard.node, []).append(shard)
    answers = await asyncio.gather(
        *(_ask(connections, node, shards, request) for node, shards in by_node.items())
    )
    silent = {node.name for node, one in zip(by_node, answers, strict=True) if one is None}
    standing = ShardStatus(standing.shards, standing.unavailable_nodes | silent)
    ids = ids_of(request)
    lost = standing.unavailable_shards if ids is None else standing.unavailable_shards_of(ids)
    found = [answer for answer in answers if answer is not None]
    return _put_together(request, found), MissingShards(frozenset(lost))


def ids_of(request: FromPostgres) -> Sequence[int] | None:
    """Return the ids that a request is about; ``None``: about all."""
    return None if isinstance(request, CountProducts) else request.ids


async def _ask(
    connections: NodeConnections, node: Node, shards: Sequence[Shard], request: FromPostgres
) -> list[Any] | None:
    """Ask one node for its part; ``None`` where it does not answer in time."""
    # Here, its shards are the table. Their names are the coordinator's own, quoted by it.
    table = " UNION ALL ".join(f"TABLE {one.relation}" for one in shards)
    text, parameters = statement(request)
    asked = f"WITH products AS ({table}) {text}", parameters
    try:
        async with connections.connection(node.conninfo, _SECONDS) as connection:
            cursor = await connection.execute(*asked)
            return await cursor.fetchall()
    except (psycopg.OperationalError, TimeoutError):
        return None


def _put_together(request: FromPostgres, parts: Sequence[list[Any]]) -> Any:
    """Make one answer of the nodes' answers, as the coordinator would."""
    match request:
        case SelectProducts():
            rows = list(heapq.merge(*parts, key=itemgetter(0)))
            return rows if request.limit is None else rows[: request.limit]
        case CountProducts():
            return sum(rows[0][0] for rows in parts)
    counted: Counter[str] = Counter()
    for rows in parts:
        counted.update(dict(rows))
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
