"""The shards of a distributed table: their ranges of hash values, nodes and numbers of rows."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Shard:
    """A shard of a distributed table.

    ``index`` counts from 0 in order of the hash values. The shard has the hash values from ``low``
    to ``high``, both included. ``node`` is its worker's name, ``rows`` its number of rows.
    """

    index: int
    id: int
    low: int
    high: int
    node: str
    rows: int


def shards_of(connection: psycopg.Connection, table: str) -> list[Shard]:
    """Return a distributed table's shards in order of their index, and count their rows.

    The list is empty if the table has no shards. Raises ``psycopg.Error`` if there is no such
    table.
    """
    counted = connection.execute(
        "SELECT shardid, result::bigint FROM run_command_on_shards(%s, 'SELECT count(*) FROM %%s')",
        [table],
    )
    rows: dict[int, int] = dict(counted.fetchall())
    nodes = nodes_of_shards(connection)
    found = connection.execute(
        "SELECT shardid, shardminvalue::bigint, shardmaxvalue::bigint FROM pg_dist_shard "
        "WHERE logicalrelid = %s::regclass AND shardminvalue IS NOT NULL "
        "ORDER BY shardminvalue::bigint",
        [table],
    )
    return [
        Shard(index, shard, low, high, nodes[shard], rows[shard])
        for index, (shard, low, high) in enumerate(found)
    ]


def node_names(connection: psycopg.Connection) -> dict[tuple[str, int], str]:
    """Return the name of each node by its host name and port.

    The names are ``coordinator`` and ``worker 1``, ``worker 2``, … in the order in which the
    workers were added: host names and ports differ between installations.
    """
    rows = connection.execute(
        "SELECT nodename, nodeport, groupid FROM pg_dist_node ORDER BY nodeid"
    ).fetchall()
    workers = [(host, port) for host, port, group in rows if group != 0]
    names = {place: f"worker {number}" for number, place in enumerate(workers, start=1)}
    return names | {(host, port): "coordinator" for host, port, group in rows if group == 0}


def nodes_of_shards(connection: psycopg.Connection) -> dict[int, str]:
    """Return the name of each shard's node; for a reference table, that of one of its copies."""
    names = node_names(connection)
    found = connection.execute(
        "SELECT shardid, nodename, nodeport FROM pg_dist_shard_placement ORDER BY shardid, nodeport"
    )
    return {shard: names[host, port] for shard, host, port in found}
