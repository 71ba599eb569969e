"""Where the shards of a table stand, and which of their nodes answer.

The coordinator knows the former as long as it answers itself, whatever its workers do. The latter
each node is asked, all at once and for a short time: one that was killed refuses at once, one that
is frozen says nothing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from helpers.citus.node_connections import NodeConnections
from helpers.citus.shard_function import hash_bigint
from helpers.settings import Addresses

#: How long a node may take to say that it is there.
PROBE_SECONDS = 0.8

_SHARDS = """
SELECT shardid, shard_name(logicalrelid, shardid), shardminvalue::bigint, shardmaxvalue::bigint,
    nodeid, groupid, nodename, nodeport
FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)
WHERE logicalrelid = %s::regclass AND noderole = 'primary' AND shardminvalue IS NOT NULL
ORDER BY shardid
"""
_WORKERS = """
SELECT nodeid FROM pg_dist_node WHERE groupid <> 0 AND noderole = 'primary' ORDER BY nodeid
"""


@dataclass(frozen=True)
class Node:
    """One node with shards: what it is called here, and how it is reached, password included."""

    name: str
    conninfo: str = field(repr=False)


@dataclass(frozen=True)
class Shard:
    """One shard of a table: its id, its own table's name, its range of hashes, its node."""

    id: int
    relation: str
    low: int
    high: int
    node: Node


@dataclass(frozen=True)
class ShardStatus:
    """The shards of a table, and the names of those of their nodes that did not answer."""

    shards: tuple[Shard, ...]
    away: frozenset[str]

    @property
    def live(self) -> tuple[Shard, ...]:
        """The shards on nodes that answer."""
        return tuple(one for one in self.shards if one.node.name not in self.away)

    @property
    def lost(self) -> tuple[Shard, ...]:
        """The shards on nodes that do not."""
        return tuple(one for one in self.shards if one.node.name in self.away)

    def lost_of(self, keys: Collection[int]) -> tuple[Shard, ...]:
        """Return those of them that have, or would have, the rows with these keys."""
        hashes = sorted(map(hash_bigint, keys))
        return tuple(
            one
            for one in self.lost
            if bisect_left(hashes, one.low) < bisect_right(hashes, one.high)
        )

    def needs_lost(self, keys: Collection[int] | None) -> bool:
        """Tell whether one of them is needed for the rows with these keys, ``None``: for all."""
        return bool(self.lost if keys is None else self.lost and self.lost_of(keys))


async def probe(
    connections: NodeConnections, conninfo: str, addresses: Addresses, table: str
) -> ShardStatus:
    """Ask the coordinator for a table's shards, and each of their nodes whether it is there.

    ``conninfo`` leads to the database on the coordinator. It is asked by one of ``connections``:
    those of a pool may all be waiting for a worker.

    Raises ``psycopg.OperationalError`` or ``TimeoutError`` where the coordinator itself is away.
    """
    async with connections.lend_at_once(conninfo, PROBE_SECONDS) as connection:
        shards = await _read_shards(connection, conninfo, addresses, table)
    nodes = sorted({one.node for one in shards}, key=lambda node: node.name)
    there = await asyncio.gather(*(_answers(connections, node) for node in nodes))
    away = {node.name for node, answers in zip(nodes, there, strict=True) if not answers}
    return ShardStatus(shards, frozenset(away))


def ids_on(shards: Collection[Shard], ids: Collection[int]) -> list[int]:
    """Return those ids whose rows are on these shards, or would be, in their order."""
    ranges = [(one.low, one.high) for one in shards]
    found = []
    for key in ids:
        hashed = hash_bigint(key)
        if any(low <= hashed <= high for low, high in ranges):
            found.append(key)
    return found


async def _read_shards(
    connection: psycopg.AsyncConnection, conninfo: str, addresses: Addresses, table: str
) -> tuple[Shard, ...]:
    workers = [one for (one,) in await (await connection.execute(_WORKERS)).fetchall()]
    found = await (await connection.execute(_SHARDS, [table])).fetchall()
    shards = []
    for shard, relation, low, high, node_id, group, host, port in found:
        if group == 0:
            node = Node("coordinator", conninfo)
        else:
            number = workers.index(node_id)
            node = Node(f"worker{number + 1}", _worker(conninfo, addresses, number, host, port))
        shards.append(Shard(shard, relation, low, high, node))
    return tuple(shards)


def _worker(conninfo: str, addresses: Addresses, number: int, host: str, port: int) -> str:
    """Return how a worker is reached: as the addresses say, or else as the coordinator does."""
    if number < len(addresses.workers):
        database = conninfo_to_dict(conninfo)["dbname"]
        return make_conninfo(addresses.workers[number], dbname=database)
    return make_conninfo(conninfo, host=host, port=port)


async def _answers(connections: NodeConnections, node: Node) -> bool:
    try:
        async with connections.lend_at_once(node.conninfo, PROBE_SECONDS) as connection:
            await connection.execute("SELECT 1", prepare=False)
    except (psycopg.OperationalError, TimeoutError):
        return False
    return True
