"""Read query plans recorded from genuine Citus, and plans of the tests' cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from helpers.citus.query_plans import QueryPlan, explain, read_plan
from helpers.citus.shards import shards_of
from helpers.shop.seeding import seed
from helpers.stores import Stores
from tests.snapshots import empty_shop

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "explain_plans.json").read_text("utf-8")
)
COUNT = 50
NAMES = {
    ("127.0.0.1", 5520): "coordinator",
    ("127.0.0.1", 5521): "worker 1",
    ("127.0.0.1", 5522): "worker 2",
}


def _recorded(name: str, how: str = "all_tasks") -> QueryPlan:
    text = json.dumps(RECORDED[name][how])
    for number in (1, 2):
        text = text.replace(f"PORT{number}", f"552{number}")
    return read_plan(json.loads(text), NAMES, {})


@pytest.mark.parametrize(
    ("name", "tasks", "joins_on_workers"),
    [
        ("router", 1, None),
        ("in_list", 3, None),
        ("any_array", 3, None),
        ("fan_out", 8, None),
        ("colocated_join", 8, True),
        ("colocated_router_join", 1, True),
        ("reference_join", 8, True),
        ("reference_only", 1, None),
        ("update_router", 1, None),
        ("update_all", 8, None),
    ],
)
def test_reads_recorded_plans_of_genuine_citus(
    name: str, tasks: int, joins_on_workers: bool | None
) -> None:
    plan = _recorded(name)
    assert plan.task_count == len(plan.tasks) == tasks
    assert plan.joins_on_workers is joins_on_workers
    assert plan.refused is None
    assert all(task.shards for task in plan.tasks)
    assert set(plan.nodes) <= set(NAMES.values())


def test_reads_shards_and_nodes_of_a_recorded_join() -> None:
    plan = _recorded("colocated_router_join")
    assert plan.shards == (102916, 102924)
    assert plan.nodes == ("worker 1",)
    assert plan.rows() == [{"node": "worker 1", "shards": "102916, 102924"}]


def test_reads_the_task_count_if_the_plan_shows_one_task() -> None:
    plan = _recorded("fan_out", "default")
    assert (plan.task_count, len(plan.tasks)) == (8, 1)


def test_a_repartition_join_does_not_stay_on_the_workers() -> None:
    plan = _recorded("repartition_join", "default")
    assert (plan.task_count, plan.tasks, plan.joins_on_workers) == (12, (), False)


@pytest.fixture(scope="module")
def shop(shared: Stores) -> Stores:
    """A seeded shop that the tests of this module only read."""
    seed(empty_shop(shared), COUNT)
    return shared


JOIN = "SELECT count(*) FROM products p JOIN orders o ON o.product_id = p.id"


@pytest.mark.parametrize(
    ("query", "tasks", "joins_on_workers"),
    [
        ("SELECT * FROM products WHERE id = 42", 1, None),
        ("SELECT * FROM products WHERE id = 42::smallint", 1, None),
        ("SELECT * FROM products WHERE id IN (1, 2, 3)", 3, None),
        ("SELECT * FROM products WHERE id = ANY ('{1, 2, 3}')", 3, None),
        ("SELECT * FROM products WHERE category = 'book'", 8, None),
        ("SELECT count(*) FROM orders", 8, None),
        ("SELECT * FROM categories", 1, None),
        ("UPDATE products SET price = 1 WHERE id = 7", 1, None),
        ("UPDATE products SET price = price", 8, None),
        ("DELETE FROM orders WHERE product_id = 7", 1, None),
        (f"{JOIN} WHERE p.id = 7", 1, True),
        (JOIN.replace("count(*)", "p.id, count(*)") + " GROUP BY p.id", 8, True),
    ],
)
def test_reads_plans_of_the_tests_cluster(
    query: str, tasks: int, joins_on_workers: bool | None, shop: Stores
) -> None:
    """The numbers are the same on genuine Citus and on the teaching cluster."""
    plan = explain(shop.postgres, query)
    assert (plan.task_count, plan.joins_on_workers) == (tasks, joins_on_workers)
    assert len(plan.tasks) == tasks


def test_parameters_are_bound(shop: Stores) -> None:
    single = explain(shop.postgres, "SELECT * FROM products WHERE id = %s", [42])
    several = explain(shop.postgres, "SELECT * FROM products WHERE id = ANY(%s)", [[1, 2, 3, 1]])
    assert (single.task_count, several.task_count) == (1, 3)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_prepared_statement_reads_one_shard(mode: str, shop: Stores) -> None:
    connection = shop.postgres
    connection.execute("PREPARE by_id (bigint) AS SELECT * FROM products WHERE id = $1")
    try:
        connection.execute(f"SET plan_cache_mode = {mode}")
        expected = explain(connection, "SELECT * FROM products WHERE id = 42").shards
        plan = explain(connection, "EXECUTE by_id (42)")
        assert (plan.task_count, plan.shards) == (1, expected)
    finally:
        connection.execute("DEALLOCATE by_id")
        connection.execute("RESET plan_cache_mode")


def test_the_task_is_on_the_shard_that_has_the_row(shop: Stores) -> None:
    shards = {shard.id: shard for shard in shards_of(shop.postgres, "products")}
    for key in range(1, 30):
        row = shop.postgres.execute(
            "SELECT get_shard_id_for_distribution_column('products', %s::bigint)", [key]
        ).fetchone()
        assert row is not None
        plan = explain(shop.postgres, "SELECT * FROM products WHERE id = %s", [key])
        assert plan.shards == row
        assert plan.nodes == (shards[row[0]].node,)


def test_a_join_on_another_column_does_not_stay_on_the_workers(shop: Stores) -> None:
    plan = explain(
        shop.postgres, "SELECT count(*) FROM orders o JOIN products p ON p.id = o.customer_id"
    )
    assert plan.joins_on_workers is False
    assert plan.refused is None or "repartitioning" in plan.refused


def test_explain_does_not_execute_the_query(shop: Stores) -> None:
    explain(shop.postgres, "DELETE FROM products")
    assert shop.postgres.execute("SELECT count(*) FROM products").fetchone() == (COUNT,)


def test_explain_raises_the_error_of_an_invalid_query(shop: Stores) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        explain(shop.postgres, "SELECT * FROM nowhere")
    assert shop.postgres.execute("SELECT 1").fetchone() == (1,)


def test_shards_are_listed_with_ranges_nodes_and_rows(shop: Stores) -> None:
    shards = shards_of(shop.postgres, "products")
    assert [shard.index for shard in shards] == list(range(8))
    assert sum(shard.rows for shard in shards) == COUNT
    assert {shard.node for shard in shards} == {"worker 1", "worker 2"}
    assert [shard.node for shard in shards_of(shop.postgres, "orders")] == [
        shard.node for shard in shards
    ]
    assert shards_of(shop.postgres, "categories") == []
