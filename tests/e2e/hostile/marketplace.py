"""A small project over the three stores, and submissions that attack the stores."""

from __future__ import annotations

from dataclasses import dataclass

from course.grading.source import Notebook
from tests.course.grading import building


def project() -> Notebook:
    """Three tasks: distribute a table, query documents, read counts in one round trip."""
    return building.notebook(
        building.markdown("title", "# Bids\n\nThree tasks over three stores."),
        building.given(
            "open",
            "from helpers import explain, open_lesson, traced\n\nstores = open_lesson('07_bids')",
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
            "stores.postgres.execute('DROP TABLE IF EXISTS bids')\n"
            "place(stores.postgres)\n"
            "plan = explain(stores.postgres, 'SELECT * FROM bids WHERE item = 3')\n"
            "assert plan.task_count == 1, 'one item is asked of one shard'\n"
            "### BEGIN HIDDEN TESTS\n"
            "whole = explain(stores.postgres, 'SELECT * FROM bids')\n"
            "assert whole.task_count > 1, 'the table is spread over shards'\n"
            "### END HIDDEN TESTS",
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
            "stores.mongo.items.drop()\n"
            "made = [{'kind': 'a', 'title': 'y'}, {'kind': 'a', 'title': 'x'}, {'kind': 'b'}]\n"
            "stores.mongo.items.insert_many(made)\n"
            "assert described(stores.mongo, 'a') == ['x', 'y'], 'titles of one kind, in order'\n"
            "### BEGIN HIDDEN TESTS\n"
            "assert described(stores.mongo, 'c') == [], 'no titles of a kind that is not there'\n"
            "### END HIDDEN TESTS",
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
            "stores.redis.mset({'units:1': 5, 'units:2': 0})\n"
            "assert units(stores.redis, [2, 1]) == [0, 5], 'the counts, in the order asked for'",
            4,
        ),
        building.test(
            "c-units-hidden",
            "### BEGIN HIDDEN TESTS\n"
            "stores.redis.mset({'units:1': 5, 'units:2': 0})\n"
            "with traced(stores) as (counted, trace):\n"
            "    found = units(counted.redis, [1, 9, 2])\n"
            "    trips = trace.round_trips['Redis']\n"
            "assert found == [5, None, 0], 'what has no count is None'\n"
            "assert trips == 1, 'all counts in one round trip'\n"
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


@dataclass(frozen=True)
class Hostile:
    """A cell, the points that it leaves of 30, and parts of the status."""

    text: str
    points: int
    status: tuple[str, ...]


CELLS = {
    "kills-its-servers": Hostile(
        "import psutil\n"
        "for one in psutil.process_iter():\n"
        "    try:\n"
        "        if one.pid != psutil.Process().pid: one.kill()\n"
        "    except psutil.Error: pass",
        10,
        ("1 of 4 tests passed; b-described-test: ",),
    ),
    "reaches-through-postgres-and-stops-its-redis": Hostile(
        "import psycopg\n"
        "try:\n"
        "    stores.postgres.execute(\n"
        "        \"COPY (SELECT 1) TO PROGRAM 'cat > /etc/course-was-here'\"\n"
        "    )\n"
        "except psycopg.errors.ExternalRoutineException:\n"
        "    stores.redis.shutdown(nosave=True)",
        20,
        ("2 of 4 tests passed; c-units-visible: ",),
    ),
    "deletes-its-databases": Hostile(
        "import psycopg\n"
        "url = stores.addresses.coordinator\n"
        "with psycopg.connect(url, dbname='postgres', autocommit=True) as pg:\n"
        "    pg.execute('DROP DATABASE lesson_07_bids WITH (FORCE)')\n"
        "    pg.execute('ALTER SYSTEM SET port = 1')\n"
        "for name in ['lesson_07_bids', 'ecommerce']: stores.mongo.client.drop_database(name)\n"
        "stores.redis.flushall()\n"
        "stores.redis.config_set('maxmemory', 1)",
        20,
        ("2 of 4 tests passed; c-units-visible: OutOfMemoryError was raised",),
    ),
    "deletes-its-folder": Hostile(
        "import os, shutil\nshutil.rmtree(os.environ['HOME'], ignore_errors=True)",
        14,
        ("2 of 4 tests passed; b-described-test: ",),
    ),
}
