"""Move shards of two tables while readers and writers check the rows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest

from tests.e2e.conformance.databases import Connection, Database, rows

PRODUCTS, ORDERS = 300, 3000

_SCHEMA = (
    "CREATE TABLE p (id int PRIMARY KEY, stock int NOT NULL)",
    "SELECT create_distributed_table('p', 'id', shard_count => 8)",
    "CREATE TABLE o (pid int, id bigint, PRIMARY KEY (pid, id))",
    "SELECT create_distributed_table('o', 'pid', colocate_with => 'p')",
    f"INSERT INTO p SELECT g, 0 FROM generate_series(1, {PRODUCTS}) g",
    f"INSERT INTO o SELECT 1 + g % {PRODUCTS}, g FROM generate_series(1, {ORDERS}) g",
)

_EXPECTED = {
    "SELECT count(*), sum(id)::int FROM p": (PRODUCTS, PRODUCTS * (PRODUCTS + 1) // 2),
    "SELECT count(*), max(id)::int FROM p WHERE id = 7": (1, 7),
    f"SELECT count(*), count(DISTINCT p.id) FROM p JOIN o ON o.pid = p.id WHERE o.id <= {ORDERS}": (
        ORDERS,
        PRODUCTS,
    ),
}

#: A fault that makes a move fail, for the shard of ``p`` and the session that moves it.
Fault = Callable[[int, Connection], AbstractContextManager[None]]

_PLACEMENTS = "SELECT shardid, nodeport FROM pg_dist_shard_placement ORDER BY 1, 2"

# Errors after which a writer repeats its transaction.
_REPEAT = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


def make_tables(connection: Connection) -> None:
    """Create products ``p`` without stock and, colocated with them, orders ``o``."""
    for command in _SCHEMA:
        connection.execute(command.encode())


class Load:
    """Concurrent readers and writers; ``errors`` is what they found, ``written`` their writes."""

    def __init__(self, database: Database) -> None:
        self.errors: list[str] = []
        self.written = [0, 0]
        self._database = database
        self._ended = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Read and write while the block runs; all have read or written once before it starts."""
        jobs: list[Callable[[Connection], None]] = [
            *(self._reader(query) for query in _EXPECTED),
            *(self._writer(number) for number in range(len(self.written))),
        ]
        started = [threading.Event() for _ in jobs]
        threads = [
            threading.Thread(target=self._repeat, args=pair)
            for pair in zip(jobs, started, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for event in started:
                event.wait()
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _repeat(self, job: Callable[[Connection], None], started: threading.Event) -> None:
        with self._database.connect() as connection:
            while not self._ended.is_set():
                try:
                    job(connection)
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    break
                finally:
                    started.set()

    def _reader(self, query: str) -> Callable[[Connection], None]:
        def read(connection: Connection) -> None:
            found = rows(connection, query)
            if found != [_EXPECTED[query]]:
                self.errors.append(f"{query} returned {found}")

        return read

    def _writer(self, number: int) -> Callable[[Connection], None]:
        def write(connection: Connection) -> None:
            order = 10**6 * (number + 1) + self.written[number]
            product = 1 + order * 7 % PRODUCTS
            with contextlib.suppress(*_REPEAT):
                with connection.transaction():
                    connection.execute("INSERT INTO o VALUES (%s, %s)", [product, order])
                    connection.execute("UPDATE p SET stock = stock + 1 WHERE id = %s", [product])
                self.written[number] += 1

        return write


def check_move_fails(database: Database, fault: Fault) -> None:
    """Check that a move with this fault fails and changes neither rows nor placements.

    ``database`` must have three workers and no tables.
    """
    with database.connect() as connection:
        make_tables(connection)
        shard = first_shard_on(connection, database, 1)
        before = _state(connection)
        with (
            contextlib.closing(database.connect()) as mover,
            fault(shard, mover),
            pytest.raises(psycopg.Error),
        ):
            move(mover, database, shard, 1, 3)
        assert _state(connection) == before
        connection.execute("UPDATE p SET stock = stock + 1")
        move(connection, database, shard, 1, 3)
        assert (shard, database.ports[3]) in rows(connection, _PLACEMENTS)
        assert (shard + 8, database.ports[3]) in rows(connection, _PLACEMENTS)
        assert rows(connection, "SELECT sum(stock)::int, count(*)::int FROM p") == [(300, 300)]
        assert rows(connection, "SELECT count(*)::int FROM o") == [(ORDERS,)]


def first_shard_on(connection: Connection, database: Database, worker: int) -> int:
    """Return the first shard of ``p`` on a worker; the id of that of ``o`` is 8 higher."""
    [(shard,)] = rows(
        connection,
        "SELECT min(shardid)::int FROM citus_shards "
        f"WHERE table_name = 'p'::regclass AND nodeport = {database.ports[worker]}",
    )
    return int(shard)


def move(connection: Connection, database: Database, shard: int, source: int, target: int) -> None:
    """Move a shard from one worker to another."""
    connection.execute(
        f"SELECT citus_move_shard_placement({shard}, {database.address(source)}, "
        f"{database.address(target)}, 'block_writes')".encode()
    )


def _state(connection: Connection) -> list[Any]:
    return [
        rows(connection, _PLACEMENTS),
        rows(connection, "SELECT id, stock FROM p ORDER BY 1"),
        rows(connection, "SELECT pid, id FROM o ORDER BY 1, 2"),
    ]
