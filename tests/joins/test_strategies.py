"""The strategies alone, against stores in memory: the same answer, whatever is where."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.catalog.model import ProductJSON
from helpers.errors import MetadataError
from helpers.joins import Query, strategies
from helpers.joins.assembly import stock_text
from helpers.joins.executor import execute, execute_async
from helpers.joins.pages import find_page
from tests.joins.memory import MemoryStores

ALL = (strategies.per_product, strategies.batched, strategies.rows_first, strategies.at_once)
EACH = pytest.mark.parametrize("strategy", ALL)

IDS = st.integers(1, 12) | st.sampled_from([2**31, 2**53 + 1, 2**63 - 1])
CATEGORIES = st.sampled_from(["lamp", "phone"])
TAGS = st.lists(st.sampled_from(["gift", "new", "sale"]), unique=True)
COUNTS = st.sampled_from(
    [b"0", b"7", b"-3", b"007", b"", b"many", b"1.5", b"\xff\xfe", b"9" * 400, "٣".encode()]
)
SHOPS = st.builds(
    lambda rows, documents, counts, ledger: MemoryStores(
        rows,
        [{"_id": one, "product_id": one, **rest} for one, rest in documents.items()],
        counts,
        ledger,
    ),
    rows=st.dictionaries(IDS, st.tuples(st.text(max_size=5), st.just("1"), CATEGORIES)),
    documents=st.dictionaries(
        IDS, st.fixed_dictionaries({"tags": TAGS}, optional={"x": st.none() | st.text()})
    ),
    counts=st.dictionaries(IDS, COUNTS),
    ledger=st.dictionaries(IDS, st.integers(-5, 10**12) | st.none()),
)


def _expected(shop: MemoryStores, ids: Sequence[int] | None = None) -> list[ProductJSON]:
    """Return the answer, written down product by product."""
    documents = {one["product_id"]: one for one in shop.documents}
    answer: list[ProductJSON] = []
    for one, (name, price, _) in sorted(shop.rows.items()):
        if ids is not None and one not in ids:
            continue
        document = documents.get(one)
        metadata = document and {
            key: value for key, value in document.items() if key not in ("_id", "product_id")
        }
        stock = stock_text(shop.counts.get(one))
        if stock is None and (units := shop.ledger.get(one)) is not None:
            stock = str(max(units, 0))
        answer.append(
            {"id": one, "name": name, "price": price, "metadata": metadata, "stock": stock}
        )
    return answer


EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(200, marks=pytest.mark.verify)])


@EXAMPLES
def test_every_strategy_gives_the_same_answer(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(
        given(SHOPS, st.none() | st.lists(IDS, unique=True))(_compare_strategies)
    )()


def _compare_strategies(shop: MemoryStores, ids: list[int] | None) -> None:
    expected = _expected(shop, ids)
    for strategy in ALL:
        assert execute(strategy(ids), shop.answer) == expected
        assert execute(strategy(ids), shop.answer, threads=True) == expected

    async def answer(request: Any) -> Any:
        return shop.answer(request)

    async def all_awaited() -> list[list[ProductJSON]]:
        return [await execute_async(strategy(ids), answer) for strategy in ALL]

    assert asyncio.run(all_awaited()) == [expected] * len(ALL)


QUERIES = st.builds(
    Query,
    ids=st.none() | st.lists(IDS, unique=True),
    category=st.none() | CATEGORIES,
    tags=TAGS,
    in_stock=st.booleans(),
    limit=st.integers(1, 4),
)


@EXAMPLES
def test_pages_together_are_what_meets_every_condition(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(given(SHOPS, QUERIES)(_compare_pages))()


def _compare_pages(shop: MemoryStores, query: Query) -> None:
    tags = {one["product_id"]: set(one["tags"]) for one in shop.documents}
    expected = [
        one
        for one in _expected(shop, query.ids)
        if query.category in (None, shop.rows[one["id"]][2])
        if not query.tags or tags.get(one["id"], set()) >= set(query.tags)
        if not query.in_stock or one["stock"] not in (None, "0")
    ]
    found: list[ProductJSON] = []
    after = None
    while True:
        asked = Query(
            query.ids, query.category, query.tags, in_stock=query.in_stock, after=after,
            limit=query.limit,
        )  # fmt: skip
        page = execute(find_page(asked), shop.answer)
        found += page.products
        after = page.next
        if after is None:
            break
        assert len(page.products) == query.limit
    assert found == expected


def test_the_store_with_fewer_goes_first_and_the_other_is_asked_for_these_alone() -> None:
    shop = MemoryStores(
        dict.fromkeys(range(1, 51), ("A", "1", "lamp")),
        [{"product_id": one, "tags": ["gift"]} for one in (7, 8, 60)],
    )
    page = execute(find_page(Query(category="lamp", tags=["gift"])), shop.answer)
    assert str(page.join_order) == "MongoDB first: 50 rows in PostgreSQL, 3 documents in MongoDB"
    assert [one["id"] for one in page.products] == [7, 8]
    (asked,) = [one for one in shop.asked if type(one).__name__ == "ReadStock"]
    assert asked.ids == [7, 8, 60]  # type: ignore[attr-defined]
    del shop.rows
    shop.rows = {7: ("A", "1", "lamp"), 9: ("A", "1", "lamp")}
    page = execute(find_page(Query(category="lamp", tags=["gift"])), shop.answer)
    assert str(page.join_order) == "PostgreSQL first: 2 rows in PostgreSQL, 3 documents in MongoDB"
    assert [one["id"] for one in page.products] == [7]


def test_pages_go_on_where_they_ended_whatever_is_added_or_deleted_meanwhile() -> None:
    shop = MemoryStores(dict.fromkeys(range(10, 101, 10), ("A", "1", "lamp")))
    seen: list[int] = []
    after: int | None = None
    while True:
        page = execute(find_page(Query(after=after, limit=3)), shop.answer)
        seen += [one["id"] for one in page.products]
        if page.next is None:
            break
        after = page.next
        shop.rows[after - 5] = shop.rows[after + 5] = ("new", "1", "lamp")
        del shop.rows[after]
    assert seen == sorted(set(seen))
    assert set(range(10, 101, 10)) <= set(seen)


@EACH
def test_two_documents_of_a_product_are_refused(strategy: Any) -> None:
    shop = MemoryStores({1: ("A", "1", "c")}, [{"product_id": 1}, {"product_id": 1}])
    with pytest.raises(MetadataError, match="two documents of product 1"):
        execute(strategy(None), shop.answer)


@EACH
def test_documents_of_no_product_are_passed_over(strategy: Any) -> None:
    shop = MemoryStores({1: ("A", "1", "c")}, [])
    shop.documents = [{"product_id": True}, {"product_id": "1"}, {"product_id": None}, {}]
    if strategy is not strategies.per_product:  # it asks for its product's alone
        (product,) = execute(strategy(None), shop.answer)
        assert product["metadata"] is None


def test_the_ledger_is_asked_once_and_for_missing_counts_alone() -> None:
    shop = MemoryStores(
        dict.fromkeys((1, 2, 3, 4), ("A", "1", "c")),
        counts={1: b"5", 2: b"lost", 4: b"0"},
        ledger={2: 8, 3: None},
    )
    answer = execute(strategies.batched(), shop.answer)
    assert [one["stock"] for one in answer] == ["5", "8", None, "0"]
    assert shop.asked[-1].ids == [2, 3]  # type: ignore[attr-defined]
    assert shop.kinds() == ["SelectProducts", "FindMetadata", "ReadStock", "FillStock"]


def test_an_error_of_a_store_comes_out_as_it_is_and_ends_the_strategy() -> None:
    def fail(request: Any) -> Any:
        raise ConnectionError("gone")

    async def fail_awaited(request: Any) -> Any:
        raise ConnectionError("gone")

    for threads in (False, True):
        strategy = strategies.at_once()
        with pytest.raises(ConnectionError, match="gone"):
            execute(strategy, fail, threads=threads)
        assert strategy.gi_frame is None  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(execute_async(strategies.at_once([1]), fail_awaited))


@EACH
def test_who_is_cancelled_is_cancelled_although_a_driver_raises_an_error_of_its_own(
    strategy: Any,
) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def answer(request: Any) -> Any:
            asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError("operation cancelled") from None

        task = asyncio.create_task(execute_async(strategy([1]), answer))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
