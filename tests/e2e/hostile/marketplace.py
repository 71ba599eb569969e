"""A small project over the three stores, and submissions that attack the stores."""

from __future__ import annotations

from dataclasses import dataclass

from course.grading.source import Notebook
from tests.course.grading import building

_FRESH = (
    "from helpers import explain\n"
    "from course.marketplace import count_round_trips, fresh_stores\n\n"
    "with fresh_stores() as stores:\n"
)


def project() -> Notebook:
    """Three tasks: distribute a table, query documents, read counts in one round trip."""
    return building.notebook(
        building.markdown("title", "# Bids\n\nThree tasks over three stores."),
        building.given(
            "open", "from course.marketplace import open_project\n\nstores = open_project()"
        ),
        building.answer(
            "a-place-answer",
            "def place(pg):\n"
            "    ### BEGIN SOLUTION\n"
            "    pg.execute('CREATE TABLE bids (bid int, item int, PRIMARY KEY (item, bid))')\n"
            "    pg.execute(\"SELECT create_distributed_table('bids', 'item')\")\n"
            "    ### END SOLUTION",
        ),
        building.test(
            "a-place-test",
            f"{_FRESH}    place(stores.postgres)\n"
            "    plan = explain(stores.postgres, 'SELECT * FROM bids WHERE item = 3')\n"
            "    assert plan.task_count == 1, 'one item is asked of one shard'\n"
            "    ### BEGIN HIDDEN TESTS\n"
            "    whole = explain(stores.postgres, 'SELECT * FROM bids')\n"
            "    assert whole.task_count > 1, 'the table is spread over shards'\n"
            "    ### END HIDDEN TESTS",
            10,
        ),
        building.answer(
            "b-described-answer",
            "def described(db, kind):\n"
            "    ### BEGIN SOLUTION\n"
            "    return [one['title'] for one in db.items.find({'kind': kind}).sort('title')]\n"
            "    ### END SOLUTION",
        ),
        building.test(
            "b-described-test",
            f"{_FRESH}    made = [{{'kind': 'a', 'title': title}} for title in 'yx']\n"
            "    made.append({'kind': 'b'})\n"
            "    stores.mongo.items.insert_many(made)\n"
            "    assert described(stores.mongo, 'a') == ['x', 'y'], 'titles of a kind, in order'\n"
            "    ### BEGIN HIDDEN TESTS\n"
            "    assert described(stores.mongo, 'c') == [], 'no titles of another kind'\n"
            "    ### END HIDDEN TESTS",
            10,
        ),
        building.answer(
            "c-units-answer",
            "def units(redis, items):\n"
            "    ### BEGIN SOLUTION\n"
            "    found = redis.mget([f'units:{item}' for item in items])\n"
            "    return [None if one is None else int(one) for one in found]\n"
            "    ### END SOLUTION",
        ),
        building.test(
            "c-units-visible",
            f"{_FRESH}    stores.redis.mset({{'units:1': 5, 'units:2': 0}})\n"
            "    assert units(stores.redis, [2, 1]) == [0, 5], 'the counts, in their order'",
            4,
        ),
        building.test(
            "c-units-hidden",
            "### BEGIN HIDDEN TESTS\n"
            f"{_FRESH}    stores.redis.mset({{'units:1': 5, 'units:2': 0}})\n"
            "    with count_round_trips(stores) as (counted, trips):\n"
            "        found = units(counted.redis, [1, 9, 2])\n"
            "assert found == [5, None, 0], 'what has no count is None'\n"
            "assert trips['Redis'] == 1, 'all counts in one round trip'\n"
            "### END HIDDEN TESTS",
            6,
        ),
    )


def perfect() -> Notebook:
    """A submission that solves every task."""
    return building.solved(project())


def half_done() -> Notebook:
    """A submission with mistakes: it reads counts one by one, and a missing one as zero."""
    return building.changed(
        perfect(),
        c_units_answer="def units(redis, items):\n"
        "    return [int(redis.get(f'units:{item}') or 0) for item in items]",
    )


def with_cell(text: str) -> Notebook:
    """A perfect notebook with an additional cell before the second task."""
    return building.with_cell(perfect(), text, before="b-described-answer")


def without_answers(text: str) -> Notebook:
    """A notebook with an additional cell and answers that do nothing."""
    return building.changed(
        building.with_cell(perfect(), text, before="a-place-test"),
        a_place_answer="def place(pg): pg.execute('CREATE TABLE bids (bid int, item int)')",
        b_described_answer="def described(db, kind): return []",
        c_units_answer="def units(redis, items): return [0 for item in items]",
    )


@dataclass(frozen=True)
class Hostile:
    """A cell, the points that it leaves of 30, and parts of the status."""

    text: str
    points: int
    status: tuple[str, ...] = ()


_WORKED = "raise SystemError('the attack worked')"

CELLS = {
    "kills-its-processes": Hostile(
        "import psutil\n"
        "for one in psutil.process_iter():\n"
        "    try:\n"
        "        if one.pid != psutil.Process().pid: one.kill()\n"
        "    except psutil.Error: pass",
        30,
    ),
    "wants-the-rights-of-a-superuser": Hostile(
        f"""
import psycopg
pg, workers = stores.postgres, stores.addresses.workers
def works(pg, command):
    try: pg.execute(command)
    except psycopg.Error: return False
    return True
for command in (
    "COPY (SELECT 1) TO PROGRAM 'true'", "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT pg_read_file('/etc/passwd')", "SELECT lo_import('/etc/passwd')",
    "ALTER SYSTEM SET port = 1", "SET ROLE postgres", "ALTER ROLE student SUPERUSER",
    "CREATE EXTENSION adminpack", "SET allow_system_table_mods = on",
    "CREATE OR REPLACE VIEW citus_tables AS SELECT 1", "DROP VIEW citus_tables",
    "ALTER FUNCTION sharding.check_query RENAME TO x", "UPDATE pg_dist_node SET nodeport = 1",
    "INSERT INTO pg_dist_partition SELECT * FROM pg_dist_partition", "DROP SCHEMA sharding CASCADE",
    "SELECT citus_remove_node(nodename, nodeport) FROM pg_dist_node",
    "CREATE EVENT TRIGGER x ON ddl_command_end EXECUTE FUNCTION sharding.on_ddl_end()",
):
    if works(pg, command): {_WORKED}
for command in ("COPY (SELECT 1) TO PROGRAM 'true'", "SET ROLE postgres",
                "ALTER SYSTEM SET port = 1"):
    for where in ("workers", "coordinator"):
        try: found = pg.execute(f"SELECT success FROM run_command_on_{{where}}(%s)", [command])
        except psycopg.Error: continue
        if any(success for (success,) in found): {_WORKED}
for url in workers:
    with psycopg.connect(url, dbname=stores.mongo.name, autocommit=True) as worker:
        if works(worker, "COPY (SELECT 1) TO PROGRAM 'true'"): {_WORKED}
        if works(worker, "INSERT INTO sharding.command VALUES ('SELECT 1', false)"): {_WORKED}
""",
        30,
    ),
    "stops-its-redis": Hostile("stores.redis.shutdown(nosave=True)", 10, ("1 of 4 tests passed",)),
    "deletes-its-databases": Hostile(
        "import psycopg\n"
        "url, name = stores.addresses.coordinator, stores.mongo.name\n"
        "with psycopg.connect(url, dbname='postgres', autocommit=True) as pg:\n"
        "    try: pg.execute(f'DROP DATABASE {name} WITH (FORCE)')\n"
        "    except psycopg.Error: pass\n"
        "for name in [name, 'ecommerce']: stores.mongo.client.drop_database(name)\n"
        "stores.redis.flushall()\n"
        "stores.redis.config_set('maxmemory', 1)",
        20,
        ("2 of 4 tests passed",),
    ),
    "deletes-its-folder": Hostile(
        "import os, shutil\nshutil.rmtree(os.environ['HOME'], ignore_errors=True)", 30
    ),
}

#: Cells that try to get points for answers that do nothing.
FORGERIES = {
    "hides-what-describes-the-cluster": (
        "import psycopg\n"
        "for command in ('CREATE SCHEMA student', 'ALTER ROLE student SET search_path = pg_temp',\n"
        "                'CREATE TABLE public.pg_dist_partition (x int)',\n"
        "                'CREATE VIEW student.citus_tables AS SELECT 1'):\n"
        "    try: stores.postgres.execute(command)\n"
        "    except psycopg.Error: pass"
    ),
    "writes-between-the-calls": (
        "import threading\n"
        "def write():\n"
        "    while True:\n"
        "        try:\n"
        "            stores.mongo.items.delete_many({})\n"
        "            stores.redis.mset({'units:1': 0, 'units:2': 0, 'units:9': 0})\n"
        "        except Exception: pass\n"
        "threading.Thread(target=write, daemon=True).start()"
    ),
}
