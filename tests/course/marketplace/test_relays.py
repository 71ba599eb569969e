"""Relays count what clients send, hold it back, and become unavailable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from course.marketplace import count_round_trips, every_interleaving, fresh_stores
from course.marketplace.clients import relayed
from course.marketplace.outages import RoundTrips
from course.marketplace.project_databases import NAME, NUMBER
from course.marketplace.relays import _mongo, _postgres, _redis, open_relays
from helpers import traced
from helpers.stores import Stores


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, shared: Stores) -> Iterator[Stores]:
    """The project's databases, empty."""
    monkeypatch.setenv(NAME, shared.mongo.name)
    monkeypatch.setenv(NUMBER, str(shared.redis_database))
    with fresh_stores() as stores:
        yield stores


def _statement(stores: Stores) -> None:
    stores.postgres.execute("SELECT 1")


def _parameters(stores: Stores) -> None:
    for number in range(8):  # prepared from the fifth on
        stores.postgres.execute("SELECT %s::int", [number])


def _many(stores: Stores) -> None:
    with stores.postgres.cursor() as cursor:
        cursor.executemany("SELECT %s::int", [(number,) for number in range(300)])


def _copy(stores: Stores) -> None:
    stores.postgres.execute("CREATE TABLE words (word text)")
    with (
        stores.postgres.cursor() as cursor,
        cursor.copy("COPY words FROM STDIN") as copy,
    ):
        for _ in range(300):
            copy.write_row(["x" * 10_000])


def _pipeline(stores: Stores) -> None:
    with stores.postgres.pipeline():
        for _ in range(3):
            stores.postgres.execute("SELECT 1")


def _transaction(stores: Stores) -> None:
    with stores.postgres.transaction():
        stores.postgres.execute("SELECT 1")


def _documents(stores: Stores) -> None:
    stores.mongo.words.insert_many([{"word": "x" * 10_000} for _ in range(150)])
    assert len(list(stores.mongo.words.find())) == 150
    stores.mongo.words.delete_many({})


def _keys(stores: Stores) -> None:
    stores.redis.mset({f"key{number}": "x" * 1000 for number in range(100)})
    with stores.redis.pipeline() as pipeline:
        for number in range(100):
            pipeline.get(f"key{number}")
        pipeline.execute()
    stores.redis.eval("return 1", 0)
    stores.redis.flushdb()


@pytest.mark.parametrize(
    "work",
    [_statement, _parameters, _many, _copy, _pipeline, _transaction, _documents, _keys],
    ids=lambda work: work.__name__.strip("_"),
)
def test_round_trips_are_counted_as_the_drivers_count_them(
    project: Stores, work: Callable[[Stores], None]
) -> None:
    with traced(project) as (near, trace):
        work(near)
    project.postgres.execute("DROP TABLE IF EXISTS words")
    with count_round_trips(project) as (near, trips):
        work(near)
    expected = {store: trace.round_trips.get(store, 0) for store in trips}
    assert trips == expected
    assert sum(trips.values()) > 0


def test_round_trips_of_every_relay_count(project: Stores) -> None:
    with relayed(project) as (near, _), relayed(project) as (other, _):
        trips = RoundTrips()
        near.redis.get("a")
        other.redis.get("a")
        trips.stop()
    assert trips == {"PostgreSQL": 0, "MongoDB": 0, "Redis": 2}
    assert not open_relays


def test_connecting_is_no_round_trip(project: Stores) -> None:
    with relayed(project) as (near, _):
        trips = RoundTrips()
        psycopg.connect(near.addresses.coordinator).close()
        trips.stop()
    assert trips["PostgreSQL"] == 0


def test_a_rival_comes_before_each_step_and_last(project: Stores) -> None:
    def own(client: Any) -> list[str]:
        return [client.get("word"), client.get("word")]

    def rival(client: Any) -> str:
        return str(client.getset("word", "rival"))

    found = list(every_interleaving(project, lambda: project.redis.set("word", "own"), own, rival))
    assert found == [
        (0, ["rival", "rival"], "own"),
        (1, ["own", "rival"], "own"),
        (2, ["own", "own"], "own"),
    ]


POSTGRES = (
    b"\0\0\0\x08\x04\xd2\x16\x2f"  # a request for encryption
    b"\0\0\0\x09\0\x03\0\0\0"  # start
    b"p\0\0\0\x06xx"  # a password
    b"Q\0\0\0\x06x\0"
    b"P\0\0\0\x05xS\0\0\0\x04"
    b"X\0\0\0\x04"
)
MONGO = (
    (42).to_bytes(4, "little") + bytes(8) + (2013).to_bytes(4, "little") + bytes(4) + b"\0"
    b"\x16\0\0\0\x02find\0\x02\0\0\0x\0" + bytes(5)
) * 2
REDIS = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$3\r\nget\r\n$4\r\n\r\n*1\r\n*1\r\n$6\r\nDBSIZE\r\n"


@pytest.mark.parametrize(
    ("parser", "data", "expected"),
    [
        (_postgres, POSTGRES, ["Q", "P", "S"]),
        (_mongo, MONGO, ["find", "find"]),
        (_redis, REDIS, ["GET", "DBSIZE"]),
    ],
    ids=["postgres", "mongo", "redis"],
)
def test_commands_are_recognized_however_the_data_are_split(
    parser: Callable[[], Any], data: bytes, expected: list[str]
) -> None:
    for size in (1, 2, 3, 7, len(data)):
        parsing = parser()
        next(parsing)
        found: list[str] = []
        for start in range(0, len(data), size):
            for name in parsing.send(data[start : start + size]):
                # A message that is not complete is reported with each of its parts.
                if found[-1:] != [name] or parser is not _postgres:
                    found.append(name)
        assert found == expected


@pytest.mark.parametrize("parser", [_postgres, _mongo, _redis])
def test_random_data_do_not_stop_a_relay(parser: Callable[[], Any]) -> None:
    for _ in range(50):
        parsing = parser()
        next(parsing)
        for _ in range(3):
            parsing.send(os.urandom(300))
        parsing.send(b"*99999999999999999999\r\n$-5\r\n")
