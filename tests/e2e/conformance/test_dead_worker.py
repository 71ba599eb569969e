"""A worker is away: its shards alone are missed, and no table is left half distributed or moved."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager

import psycopg
import pytest

from tests.e2e.conformance.databases import (
    Cluster,
    Connection,
    Database,
    rows,
    running_cluster,
    value,
)
from tests.e2e.conformance.items_table import DISTRIBUTE, check_refused, left_on_workers, make_items
from tests.e2e.conformance.moves_under_load import check_move_fails

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A cluster whose servers can be stopped, since no other test uses them."""
    with running_cluster() as cluster:
        yield cluster


def test_a_worker_that_cannot_be_reached_hides_its_own_shards_alone(
    cluster: Cluster, database: Database
) -> None:
    """The coordinator looks for it at a port where nobody listens."""
    if cluster.citus:
        pytest.skip("genuine Citus tells the new port to the worker, and waits for it")
    _check_away(database, _moved_away(database, 2))


@pytest.mark.verify
def test_a_dead_worker_hides_its_own_shards_alone(own_cluster: Cluster) -> None:
    """The same for a worker whose server is stopped and started again."""
    with own_cluster.database(workers=2) as database:
        _check_away(database, _stopped(own_cluster, database, 2))


@pytest.mark.verify
def test_a_move_to_a_dead_worker_leaves_the_old_placement_in_force(own_cluster: Cluster) -> None:
    """Both colocated shards stay where they were, and can be moved when the worker is back."""
    with own_cluster.database(workers=3) as database:
        check_move_fails(database, lambda *_: own_cluster.stopped(3))


def _check_away(database: Database, away: AbstractContextManager[int]) -> None:
    """Other shards are read and written as before; what needs the worker says that it is gone.

    ``away`` takes worker 2 away, and gives the port at which it is missed.
    """
    with database.connect() as connection:
        make_items(connection)
        connection.execute("CREATE TABLE t (k int PRIMARY KEY, v text)")
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
        connection.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50) g")
        connection.execute("CREATE TABLE r (k int PRIMARY KEY)")
        connection.execute("SELECT create_reference_table('r')")
        connection.execute("INSERT INTO r VALUES (1)")
        alive, dead = (_key_on(connection, database.ports[worker]) for worker in (1, 2))
        with away as port:
            for query in ("SELECT count(*) FROM t", f"SELECT v FROM t WHERE k = {dead}"):
                with pytest.raises(psycopg.OperationalError) as refused:
                    connection.execute(query.encode())
                said = f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"
                assert str(port) in said, "it says which worker"
            connection.execute(f"UPDATE t SET v = 'y' WHERE k = {alive}".encode())
            assert rows(connection, f"SELECT v FROM t WHERE k = {alive}") == [("y",)]
            assert rows(connection, "SELECT k FROM r") == [(1,)]
            check_refused(connection, DISTRIBUTE)
            assert left_on_workers(database, (1,)) == 0
        assert value(connection, "SELECT count(*) FROM t") == 50
        connection.execute(DISTRIBUTE)
        assert value(connection, "SELECT count(*) FROM items") == 500


@contextlib.contextmanager
def _moved_away(database: Database, worker: int) -> Iterator[int]:
    with database.connect() as connection, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, so no other program can begin to listen there
        port = int(nobody.getsockname()[1])
        _update_port(connection, database.ports[worker], port)
        try:
            yield port
        finally:
            _update_port(connection, port, database.ports[worker])


@contextlib.contextmanager
def _stopped(cluster: Cluster, database: Database, worker: int) -> Iterator[int]:
    with cluster.stopped(worker):
        yield database.ports[worker]


def _update_port(connection: Connection, old: int, new: int) -> None:
    connection.execute(
        f"SELECT citus_update_node(nodeid, nodename, {new}) FROM pg_dist_node "
        f"WHERE nodeport = {old}".encode()
    )


def _key_on(connection: Connection, port: int) -> int:
    return int(
        value(
            connection,
            "SELECT min(k) FROM generate_series(1, 50) k "
            "WHERE get_shard_id_for_distribution_column('t', k) IN "
            f"(SELECT shardid FROM pg_dist_shard_placement WHERE nodeport = {port})",
        )
    )
