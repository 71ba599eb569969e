"""Traces count round trips exactly, for each driver and kind of request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pymongo
import pymongo.monitoring
import pytest
import redis
from psycopg import sql

from helpers.errors import StoreName
from helpers.stores import Stores
from helpers.stores.proxied_stores import proxied
from helpers.stores.trace import Trace
from helpers.stores.tracing import count_commands, traced


@pytest.fixture(scope="module")
def table(shared: Stores) -> Iterator[Stores]:
    """Stores with a table ``things``."""
    shared.postgres.execute("DROP TABLE IF EXISTS things")
    shared.postgres.execute("CREATE TABLE things (n int)")
    yield shared
    shared.postgres.execute("DROP TABLE things")
    shared.mongo.things.drop()
    shared.redis.flushdb()


@pytest.fixture
def things(table: Stores) -> Stores:
    """The same with 5 rows, 250 documents and 5 keys."""
    table.postgres.execute("DELETE FROM things; INSERT INTO things SELECT generate_series(1, 5)")
    table.mongo.things.delete_many({})
    table.mongo.things.insert_many([{"_id": number} for number in range(250)])
    table.redis.flushdb()
    table.redis.mset({f"thing:{number}": number for number in range(5)})
    return table


@pytest.fixture
def tracing(things: Stores) -> Iterator[tuple[Stores, Trace]]:
    """The same, traced."""
    with traced(things) as (counted, trace):
        yield counted, trace


def _counts(postgres: int = 0, mongo: int = 0, redis: int = 0) -> dict[StoreName, int]:
    return {"PostgreSQL": postgres, "MongoDB": mongo, "Redis": redis}


def _names(trace: Trace) -> list[str]:
    return [span.name for span in trace.spans]


def test_a_new_trace_is_empty(tracing: tuple[Stores, Trace]) -> None:
    _, trace = tracing
    assert trace.round_trips == _counts()
    assert trace.spans == []


def _many(connection: psycopg.Connection) -> None:
    connection.cursor().executemany("INSERT INTO things VALUES (%s)", [[n] for n in range(1000)])


def _copy_in(connection: psycopg.Connection) -> None:
    with connection.cursor().copy("COPY things FROM STDIN") as copy:
        for number in range(1000):
            copy.write_row([number])


def _copy_out(connection: psycopg.Connection) -> None:
    with connection.cursor().copy("COPY (SELECT generate_series(1, 100000)) TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 100000


def _stream(connection: psycopg.Connection) -> None:
    rows = connection.cursor().stream("SELECT generate_series(1, 20000)")
    assert sum(1 for _ in rows) == 20000


def _transaction(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("SELECT 1")


def _rolled_back(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("SELECT 1")
        raise psycopg.Rollback


def _pipeline(connection: psycopg.Connection) -> None:
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [number]) for number in range(100)]
    assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(100)]


def _named_cursor(connection: psycopg.Connection) -> None:
    with connection.transaction(), connection.cursor("few") as cursor:
        cursor.execute("SELECT n FROM things")
        assert len(cursor.fetchmany(2)) == 2
        assert len(cursor.fetchmany(2)) == 2


def _without_autocommit(connection: psycopg.Connection) -> None:
    connection.autocommit = False
    connection.execute("SELECT 1")
    connection.execute("SELECT 1")
    connection.commit()
    connection.autocommit = True


def _failing(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")


def _prepared(connection: psycopg.Connection) -> None:
    for _ in range(7):
        connection.execute("SELECT n FROM things WHERE n = %s", [1])


POSTGRES: list[tuple[Callable[[psycopg.Connection], object], list[str]]] = [
    (lambda connection: connection.execute("SELECT 1").fetchall(), ["SELECT"]),
    (lambda connection: connection.execute("SELECT %s::text", ["x" * 9_000_000]), ["SELECT"]),
    (lambda connection: connection.execute("SELECT repeat('x', 9000000)"), ["SELECT"]),
    (lambda connection: connection.execute("SELECT 1; SELECT 2; SELECT 3"), ["SELECT"]),
    (lambda connection: connection.execute(b"/* a */ -- b\n (select 1)"), ["SELECT"]),
    (lambda connection: connection.execute(sql.SQL("SELECT {}").format("secret")), ["SELECT"]),
    (_many, ["INSERT"]),
    (_copy_in, ["COPY", "COPY"]),
    (_copy_out, ["COPY"]),
    (_stream, ["SELECT"]),
    (_transaction, ["BEGIN", "SELECT", "COMMIT"]),
    (_rolled_back, ["BEGIN", "SELECT", "ROLLBACK"]),
    (_pipeline, ["SELECT"]),
    (
        _named_cursor,
        ["BEGIN", "DECLARE", "DECLARE", "FETCH", "FETCH", "CLOSE", "COMMIT"],
    ),
    (_without_autocommit, ["BEGIN", "SELECT", "SELECT", "COMMIT"]),
    (_failing, ["SELECT"]),
    (_prepared, ["SELECT"] * 8),
]


@pytest.mark.parametrize(("work", "names"), POSTGRES)
def test_postgres_round_trips_are_counted(
    tracing: tuple[Stores, Trace],
    work: Callable[[psycopg.Connection], object],
    names: list[str],
) -> None:
    counted, trace = tracing
    work(counted.postgres)
    assert _names(trace) == names
    assert trace.round_trips == _counts(postgres=len(names))
    trace.clear()
    counted.postgres.execute("SELECT 1")  # no round trip is left over
    assert trace.round_trips == _counts(postgres=1)


@pytest.mark.verify
def test_each_round_trip_takes_at_least_the_delay_of_the_network(things: Stores) -> None:
    """Compared with a real delay, which every counted round trip has to include."""
    seconds = 0.02
    works = [*(work for work, _ in POSTGRES)]
    with proxied(things) as far, traced(far) as (counted, trace):
        far.proxies.set_round_trip(seconds)
        for work in works:
            trace.clear()
            start = time.perf_counter()
            work(counted.postgres)
            assert time.perf_counter() - start >= seconds * trace.round_trips["PostgreSQL"]
            for span in trace.spans:
                assert span.end_seconds - span.start_seconds >= seconds, (work, span)


def _update(database: pymongo.database.Database[dict[str, object]]) -> None:
    database.things.update_one({"_id": 1}, {"$set": {"seen": True}})


@pytest.mark.parametrize(
    ("work", "names"),
    [
        (lambda database: database.things.find_one({"_id": 1}), ["find"]),
        (lambda database: list(database.things.find()), ["find", "getMore"]),
        (
            lambda database: list(database.things.find(batch_size=100)),
            ["find", "getMore", "getMore"],
        ),
        (_update, ["update"]),
        (lambda database: database.things.insert_many([{} for _ in range(50)]), ["insert"]),
        (lambda database: list(database.things.aggregate([{"$limit": 3}])), ["aggregate"]),
        (lambda database: database.command("ping"), ["ping"]),
    ],
)
def test_mongo_commands_are_counted(
    tracing: tuple[Stores, Trace],
    work: Callable[[pymongo.database.Database[dict[str, object]]], object],
    names: list[str],
) -> None:
    counted, trace = tracing
    work(counted.mongo)
    assert _names(trace) == names
    assert trace.round_trips == _counts(mongo=len(names))


def test_an_unacknowledged_write_is_not_a_round_trip(tracing: tuple[Stores, Trace]) -> None:
    counted, trace = tracing
    concern = pymongo.WriteConcern(w=0)
    counted.mongo.get_collection("things", write_concern=concern).insert_one({})
    assert trace.round_trips == _counts()


def _pipelined(client: redis.Redis, count: int, *, transaction: bool) -> None:
    pipeline = client.pipeline(transaction=transaction)
    for _ in range(count):
        pipeline.get("thing:1")
    assert pipeline.execute() == ["1"] * count


def _script(client: redis.Redis) -> None:
    script = client.register_script("return redis.call('GET', KEYS[1])")
    for _ in range(2):
        assert script(keys=["thing:1"]) == "1"


def _watched(client: redis.Redis) -> None:
    def change(pipeline: redis.client.Pipeline) -> None:
        value = pipeline.get("thing:1")
        pipeline.multi()
        pipeline.set("thing:2", str(value))

    client.transaction(change, "thing:1")


def _subscribed(client: redis.Redis) -> None:
    with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe("news")
        assert subscription.get_message(timeout=60)
        client.publish("news", "1")
        assert subscription.get_message(timeout=60)


@pytest.mark.parametrize(
    ("work", "names"),
    [
        (lambda client: client.get("thing:1"), ["GET"]),
        (lambda client: client.mget(["thing:1", "thing:2"]), ["MGET"]),
        (lambda client: client.set("large", "x" * 9_000_000), ["SET"]),
        (lambda client: client.execute_command("SET thing:9", "secret"), ["SET"]),
        (lambda client: list(client.scan_iter(count=1000)), ["SCAN"]),
        (lambda client: _pipelined(client, 1000, transaction=False), ["pipeline"]),
        (lambda client: _pipelined(client, 1000, transaction=True), ["transaction"]),
        (lambda client: _pipelined(client, 0, transaction=False), []),
        (_watched, ["WATCH", "GET", "transaction"]),
        (_subscribed, ["SUBSCRIBE", "PUBLISH"]),
    ],
)
def test_redis_round_trips_are_counted(
    tracing: tuple[Stores, Trace], work: Callable[[redis.Redis], object], names: list[str]
) -> None:
    counted, trace = tracing
    work(counted.redis)
    assert _names(trace) == names
    assert trace.round_trips == _counts(redis=len(names))


def test_a_script_is_one_round_trip_once_it_is_loaded(
    tracing: tuple[Stores, Trace], shared: Stores
) -> None:
    counted, trace = tracing
    shared.redis.script_flush()
    _script(counted.redis)
    assert _names(trace) == ["EVALSHA", "SCRIPT", "EVALSHA", "EVALSHA"]


def test_round_trips_of_threads_are_counted_without_their_connections(
    tracing: tuple[Stores, Trace],
) -> None:
    """Eight threads open eight connections to MongoDB and to Redis meanwhile."""
    counted, trace = tracing
    gate = threading.Barrier(8)

    def send_requests() -> None:
        gate.wait()
        for number in range(25):
            counted.postgres.execute("SELECT 1 + 1")
            counted.mongo.things.find_one({"_id": number})
            counted.redis.get("thing:1")

    threads = [threading.Thread(target=send_requests) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One more when psycopg prepares the statement, because it is frequent.
    assert trace.round_trips == _counts(201, 200, 200)
    assert set(_names(trace)) == {"SELECT", "find", "GET"}


def test_connecting_is_not_counted(tracing: tuple[Stores, Trace]) -> None:
    counted, trace = tracing
    counted.redis.connection_pool.disconnect()
    assert counted.redis.get("thing:1") == "1"
    assert _names(trace) == ["GET"]


def test_spans_have_start_and_end_times(tracing: tuple[Stores, Trace]) -> None:
    counted, trace = tracing
    trace.clear()
    start = time.perf_counter()
    counted.postgres.execute("SELECT pg_sleep(0.05)")
    counted.mongo.things.find_one()
    counted.redis.get("thing:1")
    total = time.perf_counter() - start
    spans = trace.spans
    assert [span.store for span in spans] == ["PostgreSQL", "MongoDB", "Redis"]
    assert spans[0].end_seconds - spans[0].start_seconds >= 0.05
    times = [seconds for span in spans for seconds in (span.start_seconds, span.end_seconds)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] - times[0] <= total


def test_clear_removes_all_round_trips(tracing: tuple[Stores, Trace]) -> None:
    counted, trace = tracing
    counted.redis.get("thing:1")
    trace.clear()
    assert trace.round_trips == _counts()
    counted.redis.get("thing:1")
    assert trace.round_trips == _counts(redis=1)


def test_only_the_traced_stores_are_counted_and_no_driver_is_patched(shared: Stores) -> None:
    methods = [
        *(psycopg.Connection.wait, psycopg.Cursor.execute, psycopg.connect),
        *(redis.Redis.execute_command, redis.Connection.send_packed_command),
        redis.client.Pipeline.execute,
    ]
    classes = (type(shared.postgres), shared.redis.connection_pool.connection_class)
    with traced(shared) as (counted, trace):
        shared.postgres.execute("SELECT 1")
        shared.mongo.command("ping")
        shared.redis.ping()
        assert trace.round_trips == _counts()
        counted.redis.ping()
    assert trace.round_trips == _counts(redis=1)  # closing is not counted either
    assert methods == [
        *(psycopg.Connection.wait, psycopg.Cursor.execute, psycopg.connect),
        *(redis.Redis.execute_command, redis.Connection.send_packed_command),
        redis.client.Pipeline.execute,
    ]
    assert classes == (type(shared.postgres), shared.redis.connection_pool.connection_class)
    assert pymongo.monitoring._LISTENERS.command_listeners == []


def test_traced_stores_reach_the_same_databases(
    tracing: tuple[Stores, Trace], shared: Stores
) -> None:
    counted, _ = tracing
    assert counted.postgres.info.dbname == shared.postgres.info.dbname
    assert counted.mongo.name == shared.mongo.name
    assert counted.redis.get("thing:1") == shared.redis.get("thing:1") == "1"


def test_spans_do_not_contain_values(tracing: tuple[Stores, Trace]) -> None:
    counted, trace = tracing
    counted.postgres.execute("SELECT 'secret'")
    counted.postgres.execute("/* secret */ SELECT 1")
    counted.mongo.things.find_one({"_id": "secret"})
    counted.redis.set("secret", "secret")
    assert "secret" not in repr(trace.spans)
    assert trace.round_trips == _counts(2, 1, 1)


def test_count_commands_records_the_names_of_commands(shared: Stores) -> None:
    shared.mongo.things.drop()
    with count_commands(shared) as (database, names):
        assert names == []
        database.things.insert_one({})
        assert names == ["insert"]
        names.clear()
        list(database.things.find())
        assert names == ["find"]
