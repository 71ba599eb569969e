"""Shards move while they are read and written; a move that fails leaves all as it was."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest

from tests.conformance.databases import Cluster, Connection, Database, rows, value
from tests.conformance.traffic import ORDERS, Traffic, make_tables

pytestmark = pytest.mark.servers

_PLACEMENTS = "SELECT shardid, nodeport FROM pg_dist_shard_placement ORDER BY 1, 2"


def test_rows_stay_whole_while_shards_are_rebalanced_moved_and_drained(database: Database) -> None:
    """No read is refused or wrong, no row lost or doubled, and each is where its shard is."""
    traffic = Traffic(database)
    with database.connect() as connection:
        make_tables(connection)
        with traffic.flowing():
            connection.execute(f"SELECT citus_add_node({database.address(3)})")
            connection.execute(
                "SELECT rebalance_table_shards(shard_transfer_mode => 'block_writes')"
            )
            spread = dict(_shards_by_port(connection))
            _move(connection, database, _shard_on(connection, database, 1), 1, 2)
            connection.execute(f"SELECT citus_drain_node({database.address(3)}, 'block_writes')")
        assert traffic.wrong == []
        assert sorted(spread) == database.ports[1:], "the new worker has got shards"
        assert sorted(dict(_shards_by_port(connection))) == database.ports[1:3]
        written = sum(traffic.written)
        assert rows(connection, "SELECT count(*), count(DISTINCT id) FROM o") == [
            (ORDERS + written, ORDERS + written)
        ]
        assert value(connection, "SELECT sum(stock)::int FROM p") == written
        held = rows(
            connection, "SELECT result FROM run_command_on_shards('o', 'SELECT count(*) FROM %s')"
        )
        assert sum(int(count) for (count,) in held) == ORDERS + written


# What makes a move fail: given the databases, the shards of both tables, and a free session.
Fault = Callable[[Cluster, Database, int, Connection], AbstractContextManager[None]]


@contextmanager
def _name_taken(
    cluster: Cluster, database: Database, shard: int, mover: Connection
) -> Iterator[None]:
    with database.connect(3) as target:
        target.execute(f"CREATE TABLE o_{shard + 8} (x int)".encode())
        yield
        target.execute(f"DROP TABLE IF EXISTS o_{shard + 8}".encode())


@contextmanager
def _writer_waited_for(
    cluster: Cluster, database: Database, shard: int, mover: Connection
) -> Iterator[None]:
    mover.execute("SET lock_timeout = '1ms'")
    with database.connect() as writer, writer.transaction(force_rollback=True):
        writer.execute("UPDATE p SET stock = stock")
        yield


@contextmanager
def _mover_killed(
    cluster: Cluster, database: Database, shard: int, mover: Connection
) -> Iterator[None]:
    """Hold the move up by a writer until it waits, then end its session."""
    with database.connect() as writer, writer.transaction(force_rollback=True):
        writer.execute("UPDATE p SET stock = stock")
        killer = threading.Thread(target=_kill_once_it_waits, args=(database, mover))
        killer.start()
        yield
        killer.join()


@contextmanager
def _target_dead(
    cluster: Cluster, database: Database, shard: int, mover: Connection
) -> Iterator[None]:
    with cluster.stopped(3):
        yield


@pytest.mark.parametrize(
    "fault",
    [_name_taken, _writer_waited_for, _mover_killed, _target_dead],
    ids=lambda f: f.__name__,
)
def test_a_move_that_fails_leaves_the_old_placement_in_force(
    fault: Fault, cluster: Cluster
) -> None:
    """Both colocated shards stay where they were, with all rows, and can be moved afterwards."""
    if cluster.citus and fault is _name_taken:
        pytest.skip("Citus takes such a table for what a failed move left, and drops it")
    with cluster.database(workers=3) as database, database.connect() as connection:
        make_tables(connection)
        shard = _shard_on(connection, database, 1)
        before = _state(connection)
        with (
            contextlib.closing(database.connect()) as mover,
            fault(cluster, database, shard, mover),
            pytest.raises(psycopg.Error),
        ):
            _move(mover, database, shard, 1, 3)
        assert _state(connection) == before
        connection.execute("UPDATE p SET stock = stock + 1")
        _move(connection, database, shard, 1, 3)
        assert (shard, database.ports[3]) in rows(connection, _PLACEMENTS)
        assert (shard + 8, database.ports[3]) in rows(connection, _PLACEMENTS)
        assert rows(connection, "SELECT sum(stock)::int, count(*)::int FROM p") == [(300, 300)]
        assert value(connection, "SELECT count(*) FROM o") == ORDERS


def _state(connection: Connection) -> list[Any]:
    return [
        rows(connection, _PLACEMENTS),
        rows(connection, "SELECT id, stock FROM p ORDER BY 1"),
        rows(connection, "SELECT pid, id FROM o ORDER BY 1, 2"),
    ]


def _shards_by_port(connection: Connection) -> list[tuple[Any, ...]]:
    return rows(connection, "SELECT nodeport, count(*) FROM citus_shards GROUP BY 1")


def _shard_on(connection: Connection, database: Database, worker: int) -> int:
    """Return the first shard of ``p`` on a worker; that of ``o`` is numbered 8 higher."""
    return int(
        value(
            connection,
            "SELECT min(shardid) FROM citus_shards "
            f"WHERE table_name = 'p'::regclass AND nodeport = {database.ports[worker]}",
        )
    )


def _move(connection: Connection, database: Database, shard: int, source: int, target: int) -> None:
    connection.execute(
        f"SELECT citus_move_shard_placement({shard}, {database.address(source)}, "
        f"{database.address(target)}, 'block_writes')".encode()
    )


def _kill_once_it_waits(database: Database, mover: Connection) -> None:
    with database.connect() as killer:
        while not mover.closed:
            waiting = rows(killer, f"SELECT pg_blocking_pids({mover.info.backend_pid}) <> '{{}}'")
            if waiting == [(True,)]:
                killer.execute(f"SELECT pg_terminate_backend({mover.info.backend_pid})".encode())
                return
            time.sleep(0.01)
