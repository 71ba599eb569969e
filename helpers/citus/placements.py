"""The nodes of a table's shards, and which of these nodes are available.

The coordinator has the shards' placements, even while its workers are unavailable. Each node is
probed, all at the same time, with a short timeout: a killed node refuses the connection at once, a
frozen one does not respond.
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

#: How long a node may take to respond to a probe.
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
class PlacementNode:
    """A node with shards: its name in the course, and its conninfo, which has the password."""

    name: str
    conninfo: str = field(repr=False)


@dataclass(frozen=True)
class ShardPlacement:
    """A shard: its id, the name of its table, its range of hashes (both included), its node."""

    id: int
    relation: str
    low: int
    high: int
    node: PlacementNode


@dataclass(frozen=True)
class ShardStatus:
    """The shards of a table, and the names of the nodes that are unavailable."""

    shards: tuple[ShardPlacement, ...]
    unavailable_nodes: frozenset[str]

    @property
    def available_shards(self) -> tuple[ShardPlacement, ...]:
        """The shards on available nodes."""
        return tuple(shard for shard in self.shards if not self._is_unavailable(shard))

    @property
    def unavailable_shards(self) -> tuple[ShardPlacement, ...]:
        """The shards on unavailable nodes."""
        return tuple(filter(self._is_unavailable, self.shards))

    def unavailable_shards_of(self, keys: Collection[int]) -> tuple[ShardPlacement, ...]:
        """Return the unavailable shards that have, or would have, the rows with these keys."""
        hashes = sorted(map(hash_bigint, keys))
        return tuple(
            shard
            for shard in self.unavailable_shards
            if bisect_left(hashes, shard.low) < bisect_right(hashes, shard.high)
        )

    def needs_unavailable_shards(self, keys: Collection[int] | None) -> bool:
        """Return whether rows with these keys (``None``: all rows) are in unavailable shards."""
        if keys is None or not self.unavailable_shards:
            return bool(self.unavailable_shards)
        return bool(self.unavailable_shards_of(keys))

    def _is_unavailable(self, shard: ShardPlacement) -> bool:
        return shard.node.name in self.unavailable_nodes


async def probe(
    connections: NodeConnections, conninfo: str, addresses: Addresses, table: str
) -> ShardStatus:
    """Read a table's shards from the coordinator, and probe each of their nodes.

    ``conninfo`` is that of the database on the coordinator. The query uses one of ``connections``,
    because all connections of a pool may be waiting for a worker.

    Raises ``psycopg.OperationalError`` or ``TimeoutError`` if the coordinator is unavailable.
    """
    async with connections.connection_now(conninfo, PROBE_SECONDS) as connection:
        shards = await _read_shards(connection, conninfo, addresses, table)
    nodes = sorted({shard.node for shard in shards}, key=lambda node: node.name)
    available = await asyncio.gather(*(_is_available(connections, node) for node in nodes))
    unavailable = {node.name for node, answers in zip(nodes, available, strict=True) if not answers}
    return ShardStatus(shards, frozenset(unavailable))


def ids_on(shards: Collection[ShardPlacement], ids: Collection[int]) -> list[int]:
    """Return the ids whose rows are, or would be, in these shards, in the given order."""
    ranges = [(shard.low, shard.high) for shard in shards]
    found = []
    for key in ids:
        hashed = hash_bigint(key)
        if any(low <= hashed <= high for low, high in ranges):
            found.append(key)
    return found


async def _read_shards(
    connection: psycopg.AsyncConnection, conninfo: str, addresses: Addresses, table: str
) -> tuple[ShardPlacement, ...]:
    workers = [node_id for (node_id,) in await (await connection.execute(_WORKERS)).fetchall()]
    rows = await (await connection.execute(_SHARDS, [table])).fetchall()
    shards = []
    for shard, relation, low, high, node_id, group, host, port in rows:
        if group == 0:
            node = PlacementNode("coordinator", conninfo)
        else:
            number = workers.index(node_id)
            node = PlacementNode(
                f"worker{number + 1}", _worker(conninfo, addresses, number, host, port)
            )
        shards.append(ShardPlacement(shard, relation, low, high, node))
    return tuple(shards)


def _worker(conninfo: str, addresses: Addresses, number: int, host: str, port: int) -> str:
    """Return a worker's conninfo: from the addresses, or else as the coordinator connects."""
    if number < len(addresses.workers):
        database = conninfo_to_dict(conninfo)["dbname"]
        return make_conninfo(addresses.workers[number], dbname=database)
    return make_conninfo(conninfo, host=host, port=port)


async def _is_available(connections: NodeConnections, node: PlacementNode) -> bool:
    try:
        async with connections.connection_now(node.conninfo, PROBE_SECONDS) as connection:
            await connection.execute("SELECT 1", prepare=False)
    except (psycopg.OperationalError, TimeoutError):
        return False
    return True
