"""Readers and writers that work on two tables all the while, and note whatever is not right."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg

from tests.conformance.databases import Connection, Database, rows

PRODUCTS, ORDERS = 300, 3000

_SCHEMA = (
    "CREATE TABLE p (id int PRIMARY KEY, stock int NOT NULL)",
    "SELECT create_distributed_table('p', 'id', shard_count => 8)",
    "CREATE TABLE o (pid int, id bigint, PRIMARY KEY (pid, id))",
    "SELECT create_distributed_table('o', 'pid', colocate_with => 'p')",
    f"INSERT INTO p SELECT g, 0 FROM generate_series(1, {PRODUCTS}) g",
    f"INSERT INTO o SELECT 1 + g % {PRODUCTS}, g FROM generate_series(1, {ORDERS}) g",
)

_SEES = {
    "SELECT count(*), sum(id)::int FROM p": (PRODUCTS, PRODUCTS * (PRODUCTS + 1) // 2),
    "SELECT count(*), max(id)::int FROM p WHERE id = 7": (1, 7),
    f"SELECT count(*), count(DISTINCT p.id) FROM p JOIN o ON o.pid = p.id WHERE o.id <= {ORDERS}": (
        ORDERS,
        PRODUCTS,
    ),
}

# What a writer is told to repeat.
_REPEAT = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


def make_tables(connection: Connection) -> None:
    """Make products ``p`` without stock and, colocated with them, their orders ``o``."""
    for command in _SCHEMA:
        connection.execute(command.encode())


class Traffic:
    """What went wrong, and how many times each writer has written."""

    def __init__(self, database: Database) -> None:
        self.wrong: list[str] = []
        self.written = [0, 0]
        self._database = database
        self._ended = threading.Event()

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Read and write until the work in the block is done; all begin before it does."""
        jobs: list[Callable[[Connection], None]] = [
            *(self._reader(query) for query in _SEES),
            *(self._writer(number) for number in range(len(self.written))),
        ]
        began = [threading.Event() for _ in jobs]
        threads = [
            threading.Thread(target=self._repeat, args=pair)
            for pair in zip(jobs, began, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for event in began:
                event.wait()
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _repeat(self, job: Callable[[Connection], None], began: threading.Event) -> None:
        with self._database.connect() as connection:
            while not self._ended.is_set():
                try:
                    job(connection)
                except psycopg.Error as error:
                    self.wrong.append(str(error))
                    break
                finally:
                    began.set()

    def _reader(self, query: str) -> Callable[[Connection], None]:
        def read(connection: Connection) -> None:
            found = rows(connection, query)
            if found != [_SEES[query]]:
                self.wrong.append(f"{query} sees {found}")

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
