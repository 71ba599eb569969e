"""The placement of tables, and the shards that queries read, with two and three workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conformance.databases import Connection, Database, rows
from tests.e2e.conformance.query_tasks import Task, shards, tasks
from tests.e2e.conformance.scenarios import DATA
from tests.e2e.conformance.shard_ranges import placements, ranges

pytestmark = pytest.mark.servers

# Three values of each key type, as SQL literals.
_VALUES = {
    "smallint": ("1", "7", "42"),
    "int": ("1", "7", "42"),
    "bigint": ("1", "7", "42"),
    "numeric": ("1", "7.5", "42"),
    "text": ("'a'", "'b'", "'zz'"),
    "varchar": ("'a'", "'b'", "'zz'"),
    "date": ("'2020-01-01'", "'2021-02-03'", "'1999-12-31'"),
    "timestamptz": ("'2020-01-01'", "'2021-02-03'", "'1999-12-31'"),
    "uuid": (
        "'4ba955f3-e409-6150-5d69-8c8b44480030'",
        "'00000000-0000-0000-0000-000000000000'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    ),
}
_INTEGERS = ("smallint", "int", "bigint")


@dataclass(frozen=True)
class Layout:
    """Table ``t`` and, colocated with it, ``o``: key type, shard count and number of workers."""

    database: Database
    key: str
    count: int
    workers: int
    connection: Connection

    def shard_of(self, value: str) -> int:
        """Return the shard of ``t`` for a value of the key."""
        query = f"SELECT get_shard_id_for_distribution_column('t', {value}::{self.key})"
        [(shard,)] = rows(self.connection, query)
        return int(shard)

    def shards(self, query: str) -> list[int]:
        """Return the shards that a query of ``t`` reads."""
        return shards(self.connection, query)


# Every shard count with one key type, some with several, one with all.
_CASES = [
    (key, count, workers)
    for keys, counts, numbers in (
        (("int",), (1, 5, 6, 8, 32), (2, 3)),
        (("bigint", "text", "uuid"), (5, 32), (2, 3)),
        (("smallint", "numeric", "varchar", "date", "timestamptz"), (6,), (3,)),
    )
    for key in keys
    for count in counts
    for workers in numbers
]


# Shard counts that divide the hashes evenly and unevenly, two and three workers, int and text.
_IN_MAKE_TEST = (("int", 5, 3), ("int", 8, 2), ("text", 32, 3))


@pytest.fixture(scope="module")
def databases(two_workers: Database, three_workers: Database) -> dict[int, Database]:
    """A database with two workers and one with three."""
    two_workers.empty()
    three_workers.empty()
    return {2: two_workers, 3: three_workers}


@pytest.fixture(
    scope="module",
    params=[
        case if case in _IN_MAKE_TEST else pytest.param(case, marks=pytest.mark.verify)
        for case in _CASES
    ],
    ids=lambda case: "{}-{}-{}".format(*case),
)
def layout(request: pytest.FixtureRequest, databases: dict[int, Database]) -> Iterator[Layout]:
    """The two tables of one case."""
    key, count, workers = request.param
    with databases[workers].connect() as connection:
        for command in (
            f"CREATE TABLE t (k {key} PRIMARY KEY, v text)",
            f"CREATE TABLE o (id int, k {key}, q int, PRIMARY KEY (k, id))",
            f"SELECT create_distributed_table('t', 'k', shard_count => {count})",
            "SELECT create_distributed_table('o', 'k', colocate_with => 't')",
        ):
            connection.execute(command.encode())
        try:
            yield Layout(databases[workers], key, count, workers, connection)
        finally:
            connection.execute("DROP TABLE o, t")


def test_shards_have_the_computed_ranges_names_and_nodes(layout: Layout) -> None:
    """The shards of a colocated table are on the same nodes."""
    ports = placements(layout.count, layout.database.ports[1 : layout.workers + 1])
    listed = rows(
        layout.connection,
        "SELECT table_name::text, shardid, shard_name, citus_table_type, colocation_id, nodename, "
        "nodeport FROM citus_shards ORDER BY shardid",
    )
    [group] = {row[4] for row in listed}
    first = listed[0][1]
    assert listed == [
        (table, shard, f"{table}_{shard}", "distributed", group, "127.0.0.1", port)
        for start, table in ((first, "t"), (first + layout.count, "o"))
        for shard, port in enumerate(ports, start)
    ]
    for table in ("t", "o"):
        found = rows(
            layout.connection,
            "SELECT shardminvalue::int, shardmaxvalue::int FROM pg_dist_shard "
            f"WHERE logicalrelid = '{table}'::regclass ORDER BY shardid",
        )
        assert found == ranges(layout.count)
    described = rows(
        layout.connection,
        "SELECT table_name::text, citus_table_type, distribution_column, colocation_id, "
        "shard_count FROM citus_tables ORDER BY 1",
    )
    assert described == [(table, "distributed", "k", group, layout.count) for table in ("o", "t")]


def test_a_query_reads_only_the_shards_of_its_keys(layout: Layout) -> None:
    """With ``=``, ``IN``, ``= ANY``, ``UPDATE`` and ``DELETE``, the tasks are the keys' shards."""
    values = _VALUES[layout.key]
    expected = [layout.shard_of(value) for value in values]
    one, listed = values[0], ", ".join(values)
    array = "ARRAY[" + ", ".join(f"{value}::{layout.key}" for value in values) + "]"
    for query in (
        f"SELECT * FROM t WHERE k = {one}",
        f"SELECT * FROM t WHERE v = 'x' AND k = {one}",
        f"UPDATE t SET v = 'z' WHERE k = {one}",
        f"DELETE FROM t WHERE k = {one}",
    ):
        assert layout.shards(query) == [expected[0]], query
    for query in (
        f"SELECT * FROM t WHERE k IN ({listed})",
        f"SELECT * FROM t WHERE k = ANY ({array})",
        f"SELECT * FROM t WHERE k = {values[0]} OR k = {values[1]} OR k = {values[2]}",
    ):
        assert layout.shards(query) == sorted(set(expected)), query
    for query in ("SELECT * FROM t", "SELECT * FROM t WHERE v = 'x'"):
        assert len(layout.shards(query)) == layout.count, query


@pytest.mark.parametrize("width", ["int2", "int4", "int8"])
def test_constants_of_any_integer_type_prune_shards(width: str, layout: Layout) -> None:
    """A constant of another integer type than the key's gives the same shard."""
    if layout.key not in _INTEGERS:
        width = layout.key
    one, other, _ = _VALUES[layout.key]
    expected = [layout.shard_of(one), layout.shard_of(other)]
    query = f"SELECT * FROM t WHERE k = {one}::{width}"
    assert layout.shards(query) == [expected[0]]
    query = f"SELECT * FROM t WHERE k = ANY (ARRAY[{one}, {other}]::{width}[])"
    assert layout.shards(query) == sorted(set(expected))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_prepared_statement_reads_the_shard_of_its_parameter(mode: str, layout: Layout) -> None:
    """With custom and generic plans, and parameters of any integer type."""
    one, other, absent = _VALUES[layout.key]
    widths = ("int2", "int4", "int8") if layout.key in _INTEGERS else (layout.key,)
    connection = layout.connection
    connection.execute("TRUNCATE t")
    connection.execute(f"INSERT INTO t VALUES ({one}, 'a'), ({other}, 'b')".encode())
    connection.execute(f"SET plan_cache_mode = {mode}".encode())
    for width in widths:
        connection.execute(f"PREPARE p ({width}) AS SELECT v FROM t WHERE k = $1".encode())
        answers = [rows(connection, f"EXECUTE p ({value})") for value in (one, other, absent)]
        assert answers == [[("a",)], [("b",)], []]
        assert layout.shards(f"EXECUTE p ({other})") == [layout.shard_of(other)]
        connection.execute("DEALLOCATE p")
    connection.execute("RESET plan_cache_mode")


def test_a_colocated_join_is_one_task_for_each_pair_of_shards(layout: Layout) -> None:
    """With a given key, the join is a single task."""

    def pair(shard: int) -> Task:
        return (("o", shard + layout.count), ("t", shard))

    first = min(layout.shards("SELECT * FROM t"))
    query = "SELECT t.k, sum(q) FROM t JOIN o ON o.k = t.k GROUP BY t.k"
    every = [pair(first + index) for index in range(layout.count)]
    assert tasks(layout.connection, query) == every
    value = _VALUES[layout.key][0]
    for query in (
        f"SELECT * FROM t JOIN o USING (k) WHERE t.k = {value}",
        f"SELECT * FROM t JOIN o ON o.k = t.k WHERE o.k = {value}",
    ):
        found = tasks(layout.connection, query)
        if layout.key == "varchar":  # two tasks on the teaching cluster: see differences.py
            found = [tuple(shard for task in found for shard in task)]
        assert found == [pair(layout.shard_of(value))], query


def test_the_shop_s_queries_have_the_recorded_tasks(database: Database) -> None:
    """Each query of ``task_lists.json`` reads the shards of Citus's recorded plan."""
    queries = json.loads((DATA / "task_lists.json").read_text("utf-8"))
    with database.connect() as connection:
        _make_shop(connection)
        firsts = dict(
            rows(
                connection,
                "SELECT table_name::text, min(shardid)::int FROM citus_shards GROUP BY 1",
            )
        )
        for query in queries:
            found = _indexes(tasks(connection, query["sql"]), firsts)
            assert found == _sorted(task["shards"] for task in query["tasks"]), query["sql"]


def _make_shop(connection: Connection) -> None:
    for create in (
        "CREATE TABLE products (id int PRIMARY KEY, name text, price numeric, category text)",
        "SELECT create_distributed_table('products', 'id', shard_count => 8)",
        "CREATE TABLE orders (id int, product_id int, quantity int, PRIMARY KEY (product_id, id))",
        "SELECT create_distributed_table('orders', 'product_id', colocate_with => 'products')",
        "CREATE TABLE categories (category text PRIMARY KEY, vat numeric)",
        "SELECT create_reference_table('categories')",
    ):
        connection.execute(create.encode())


def _indexes(found: list[Task], firsts: dict[str, int]) -> list[dict[str, int]]:
    return _sorted({table: shard - firsts[table] for table, shard in task} for task in found)


def _sorted(tasks_: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """Return the shards of distributed tables, without tasks that read only reference tables."""
    distributed = (
        {table: index for table, index in sorted(task.items()) if table != "categories"}
        for task in tasks_
    )
    return sorted(filter(None, distributed), key=repr)
