"""An unavailable worker: only its shards fail, and no table is partly distributed or moved."""

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
from tests.e2e.conformance.items_table import (
    DISTRIBUTE,
    check_refused,
    make_items,
    shards_on_workers,
)
from tests.e2e.conformance.moves_under_load import check_move_fails

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def separate_cluster() -> Iterator[Cluster]:
    """A cluster whose servers can be stopped, since no other test uses them."""
    with running_cluster() as cluster:
        yield cluster


def test_only_the_shards_of_an_unreachable_worker_fail(
    cluster: Cluster, database: Database
) -> None:
    """The coordinator connects to a port on which no program listens."""
    if cluster.citus:
        pytest.skip("genuine Citus sends the new port to the worker, and waits")
    _check_unavailable(database, _at_unused_port(database, 2))


@pytest.mark.verify
def test_only_the_shards_of_a_stopped_worker_fail(separate_cluster: Cluster) -> None:
    """The worker's server is stopped and started again."""
    with separate_cluster.database(workers=2) as database:
        _check_unavailable(database, _stopped(separate_cluster, database, 2))


@pytest.mark.verify
def test_a_move_to_a_stopped_worker_keeps_the_old_placement(separate_cluster: Cluster) -> None:
    """Both colocated shards keep their node, and can be moved when the worker runs again."""
    with separate_cluster.database(workers=3) as database:
        check_move_fails(database, lambda *_: separate_cluster.stopped(3))


def _check_unavailable(database: Database, unavailable: AbstractContextManager[int]) -> None:
    """Check that other shards are read and written, and that queries of the worker's shards fail.

    ``unavailable`` makes worker 2 unavailable, and yields the port to which connecting fails.
    """
    with database.connect() as connection:
        make_items(connection)
        connection.execute("CREATE TABLE t (k int PRIMARY KEY, v text)")
        connection.execute("SELECT create_distributed_table('t', 'k', shard_count => 4)")
        connection.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50) g")
        connection.execute("CREATE TABLE r (k int PRIMARY KEY)")
        connection.execute("SELECT create_reference_table('r')")
        connection.execute("INSERT INTO r VALUES (1)")
        available, missing = (_key_on(connection, database.ports[worker]) for worker in (1, 2))
        with unavailable as port:
            for query in ("SELECT count(*) FROM t", f"SELECT v FROM t WHERE k = {missing}"):
                with pytest.raises(psycopg.OperationalError) as refused:
                    connection.execute(query.encode())
                message = (
                    f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"
                )
                assert str(port) in message, "the error names the worker"
            connection.execute(f"UPDATE t SET v = 'y' WHERE k = {available}".encode())
            assert rows(connection, f"SELECT v FROM t WHERE k = {available}") == [("y",)]
            assert rows(connection, "SELECT k FROM r") == [(1,)]
            check_refused(connection, DISTRIBUTE)
            assert shards_on_workers(database, (1,)) == 0
        assert value(connection, "SELECT count(*) FROM t") == 50
        connection.execute(DISTRIBUTE)
        assert value(connection, "SELECT count(*) FROM items") == 500


@contextlib.contextmanager
def _at_unused_port(database: Database, worker: int) -> Iterator[int]:
    with database.connect() as connection, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # so that no other program can listen on the port
        port = int(unused.getsockname()[1])
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
