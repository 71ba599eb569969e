"""The number of round trips of each join is exact, and equal to that in its plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from helpers.errors import StoreName
from helpers.joins import Query, at_once, batched, explain_page, per_product
from helpers.joins.driver_adapters import _parts
from helpers.joins.requests import FindMetadata
from helpers.shop.schema import SHARDS
from helpers.stores import Stores
from helpers.stores.tracing import traced
from tests.joins.filling import ids_of, make_tables, put
from tests.joins.memory import MemoryStores
from tests.joins.shared_reads import read_page
from tests.joins.test_product_index import index_of


def _shop(count: int) -> MemoryStores:
    """Products of two categories, every fifth with a tag; every 20th is in stock."""
    return MemoryStores(
        {number: ("A", "1", "lamp" if number % 2 else "phone") for number in range(1, count + 1)},
        [
            {"product_id": number, "tags": ["new"] if number % 5 else ["new", "gift"]}
            for number in range(1, count + 1)
        ],
        {number: b"0" if number % 20 else b"3" for number in range(1, count + 1)},
    )


@pytest.fixture(scope="module")
def tables(shared: Stores) -> Iterator[Stores]:
    make_tables(shared)
    yield shared
    put(shared, MemoryStores())
    shared.mongo.productmetas.drop()


@pytest.fixture
def shop(tables: Stores) -> Stores:
    """200 products, for tests that only read."""
    if ids_of(batched(tables)) != list(range(1, 201)):
        put(tables, _shop(200))
    return tables


def _counts(postgres: int, mongo: int, redis: int) -> dict[StoreName, int]:
    return {"PostgreSQL": postgres, "MongoDB": mongo, "Redis": redis}


@pytest.mark.parametrize("count", [1, 500, pytest.param(5000, marks=pytest.mark.verify)])
def test_three_round_trips_for_any_number_of_products(tables: Stores, count: int) -> None:
    put(tables, _shop(count))
    ways = itertools.product((batched, at_once), (None, range(1, count + 1)))
    with traced(tables) as (counted, trace):
        for join, ids in ways:
            trace.clear()
            assert len(join(counted, ids)) == count
            assert trace.round_trips == _counts(1, 1, 1)


@pytest.mark.parametrize("ids", [None, [], [7, 8]])
def test_an_empty_shop_needs_no_further_requests(tables: Stores, ids: list[int] | None) -> None:
    put(tables, MemoryStores())
    with traced(tables) as (counted, trace):
        assert batched(counted, ids) == per_product(counted, ids) == []
        assert trace.round_trips == _counts(2, 0, 0)
        trace.clear()
        assert at_once(counted, ids) == []
        # The documents are requested before it is known that there are no rows.
        assert trace.round_trips == _counts(1, 1, 0)


@pytest.mark.parametrize("count", [1, 10, pytest.param(300, marks=pytest.mark.verify)])
def test_per_product_takes_one_round_trip_and_two_per_product(tables: Stores, count: int) -> None:
    put(tables, _shop(count))
    with traced(tables) as (counted, trace):
        for ids in (None, range(1, count + 1)):
            trace.clear()
            assert len(per_product(counted, ids)) == count
            assert trace.round_trips == _counts(1, count, count)


# A batch has one product more than the page, then twice as many each time: 6, 12, 24, 48, 96 for
# a page of 5, whose sixth product in stock is product 120; 25 and 50 for a page of 24.
PAGES = [
    pytest.param(Query(), (1, 1, 1), id="all"),
    pytest.param(Query(after=190), (1, 1, 1), id="the last page"),
    pytest.param(Query(ids=[5, 20, 999]), (1, 1, 1), id="ids"),
    pytest.param(Query(ids=[]), (0, 0, 0), id="no ids"),
    pytest.param(
        Query(ids=range(1, 31), category="lamp", tags=["gift"]), (1, 1, 1), id="ids, both"
    ),
    pytest.param(Query(category="lamp"), (1, 1, 1), id="category"),
    pytest.param(Query(category="none"), (1, 0, 0), id="no such category"),
    pytest.param(Query(tags=["gift"]), (1, 1, 1), id="tags"),
    pytest.param(Query(tags=["none"]), (0, 1, 0), id="no such tag"),
    pytest.param(Query(category="lamp", tags=["gift"]), (2, 2, 1), id="both, MongoDB first"),
    pytest.param(Query(category="lamp", tags=["gift"], limit=40), (2, 2, 1), id="both, one batch"),
    pytest.param(Query(category="lamp", tags=["new"], limit=100), (2, 2, 1), id="both, PG first"),
    pytest.param(Query(in_stock=True, limit=5), (2, 2, 2), id="in stock"),
    pytest.param(Query(tags=["new"], in_stock=True, limit=5), (2, 2, 2), id="tags, in stock"),
]


@pytest.mark.parametrize(("query", "expected"), PAGES)
def test_the_round_trips_of_a_page_are_those_in_its_plan(
    shop: Stores, query: Query, expected: tuple[int, int, int]
) -> None:
    with traced(shop) as (counted, trace):
        page = read_page(counted, query)
    assert trace.round_trips == _counts(*expected)
    plan = explain_page(shop, query)
    assert plan.round_trips == trace.round_trips
    assert plan.found == len(page.products)
    assert plan.join_order == page.join_order
    assert str(plan) == str(explain_page(shop, query))


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        (Query(ids=[5]), [1]),
        (Query(), [SHARDS]),
        (Query(category="lamp"), [SHARDS]),
        (Query(category="lamp", tags=["new"]), [SHARDS, SHARDS]),
        (Query(tags=["none"]), []),
    ],
)
def test_an_id_is_one_citus_task_and_a_condition_one_per_shard(
    shop: Stores, query: Query, tasks: list[int]
) -> None:
    steps = explain_page(shop, query).steps
    assert [step.tasks for step in steps if step.store == "PostgreSQL"] == tasks
    assert {step.tasks for step in steps if step.store != "PostgreSQL"} <= {None}


def test_a_plan_tells_which_requests_are_concurrent(shop: Stores) -> None:
    plan = explain_page(shop, Query(category="lamp", tags=["gift"], limit=4))
    assert [(step.wait, step.asked, step.keys, step.found) for step in plan.steps] == [
        (1, "SELECT count(*) by category", 0, 100),
        (1, "count by tags", 0, 40),
        (2, "find by tags limit 100", 0, 40),
        (3, "SELECT by category, ids", 40, 20),
        (3, "MGET", 40, 40),
    ]
    assert plan.waits == 3
    assert str(plan).endswith("5 round trips in 3 waits, 4 products found")
    # Explaining a page writes nothing: missing stock counts stay missing.
    assert shop.redis.exists("stock:999") == 0


def test_a_plan_with_an_index_looks_up_the_products_of_the_page(shop: Stores) -> None:
    index = index_of(shop)
    plan = explain_page(shop, Query(tags=["gift"], limit=4), index)
    assert plan.join_order.first == "index"
    assert [(step.wait, step.store, step.keys) for step in plan.steps] == [
        (1, "PostgreSQL", 5),
        (1, "MongoDB", 5),
        (1, "Redis", 5),
    ]
    assert explain_page(shop, Query(tags=["none"]), index).steps == ()


def test_a_server_that_is_slow_at_long_lists_gets_short_ones() -> None:
    ids = list(range(1, 250_000, 1000))
    (whole,) = _parts(FindMetadata(ids), slow_lists=False)
    assert whole[1] == {"product_id": {"$in": ids}}
    conditions = [part[1] for part in _parts(FindMetadata(ids, {"tags": "x"}), slow_lists=True)]
    assert [condition["tags"] for condition in conditions] == ["x"] * 3
    lists = [condition["product_id"]["$in"] for condition in conditions]
    assert [*itertools.chain(*lists)] == ids
    assert max(map(len, lists)) == 100
