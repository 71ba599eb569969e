"""Where the rows are: a table's shards, their ranges of hash values, their nodes, their rows."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg


@dataclass(frozen=True)
class Shard:
    """One shard of a distributed table.

    ``index`` counts from 0 in order of the hash values ``low`` to ``high`` (both included) that
    belong to it; ``node`` is what its worker is called; ``rows`` is how many rows it holds.
    """

    index: int
    id: int
    low: int
    high: int
    node: str
    rows: int


def shards_of(connection: psycopg.Connection, table: str) -> list[Shard]:
    """Return a distributed table's shards in order of their index, with their rows counted.

    Raises ``psycopg.Error`` when there is no such table; the list is empty when it has no shards.
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
    """Return what each node is called here, by its host name and port.

    The coordinator is ``coordinator``; the workers are numbered in the order in which they were
    added, since their host names and ports differ from one installation to the next.
    """
    found = connection.execute(
        "SELECT nodename, nodeport, groupid FROM pg_dist_node ORDER BY nodeid"
    ).fetchall()
    workers = [(host, port) for host, port, group in found if group != 0]
    names = {place: f"worker {number}" for number, place in enumerate(workers, start=1)}
    return names | {(host, port): "coordinator" for host, port, group in found if group == 0}


def nodes_of_shards(connection: psycopg.Connection) -> dict[int, str]:
    """Return what the node of each shard is called (of a reference table: that of one copy)."""
    names = node_names(connection)
    found = connection.execute(
        "SELECT shardid, nodename, nodeport FROM pg_dist_shard_placement ORDER BY shardid, nodeport"
    )
    return {shard: names[host, port] for shard, host, port in found}
