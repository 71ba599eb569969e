"""The strategies on stores in memory return the same result, whatever data is missing."""

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

ALL = (strategies.per_product, strategies.batched, strategies.at_once)
EACH = pytest.mark.parametrize("strategy", ALL)

IDS = st.integers(1, 12) | st.sampled_from([2**31, 2**53 - 1])
CATEGORIES = st.sampled_from(["lamp", "phone"])
TAGS = st.lists(st.sampled_from(["gift", "new", "sale"]), unique=True)
COUNTS = st.sampled_from(
    [b"0", b"7", b"-3", b"007", b"", b"many", b"1.5", b"\xff\xfe", b"9" * 400, "٣".encode()]
)
SHOPS = st.builds(
    lambda rows, documents, counts, ledger: MemoryStores(
        rows,
        [
            {"_id": product_id, "product_id": product_id, **rest}
            for product_id, rest in documents.items()
        ],
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
    """Return the expected result, product by product."""
    documents = {document["product_id"]: document for document in shop.documents}
    result: list[ProductJSON] = []
    for product_id, (name, price, _) in sorted(shop.rows.items()):
        if ids is not None and product_id not in ids:
            continue
        document = documents.get(product_id)
        metadata = document and {
            key: value for key, value in document.items() if key not in ("_id", "product_id")
        }
        stock = stock_text(shop.counts.get(product_id))
        if stock is None and (units := shop.ledger.get(product_id)) is not None:
            stock = str(max(units, 0))
        result.append(
            {"id": product_id, "name": name, "price": price, "metadata": metadata, "stock": stock}
        )
    return result


EXAMPLES = pytest.mark.parametrize("examples", [25, pytest.param(200, marks=pytest.mark.verify)])


@EXAMPLES
def test_all_strategies_return_the_same_result(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(
        given(SHOPS, st.none() | st.lists(IDS, unique=True))(_compare_strategies)
    )()


def _compare_strategies(shop: MemoryStores, ids: list[int] | None) -> None:
    expected = _expected(shop, ids)
    for strategy in ALL:
        assert execute(strategy(ids), shop.send) == expected
        assert execute(strategy(ids), shop.send, threads=True) == expected

    async def send(request: Any) -> Any:
        return shop.send(request)

    async def run_all() -> list[list[ProductJSON]]:
        return [await execute_async(strategy(ids), send) for strategy in ALL]

    assert asyncio.run(run_all()) == [expected] * len(ALL)


QUERIES = st.builds(
    Query,
    ids=st.none() | st.lists(IDS, unique=True),
    category=st.none() | CATEGORIES,
    tags=TAGS,
    in_stock=st.booleans(),
    limit=st.integers(1, 4),
)


@EXAMPLES
def test_all_pages_together_have_the_products_that_match_every_condition(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(given(SHOPS, QUERIES)(_compare_pages))()


def _compare_pages(shop: MemoryStores, query: Query) -> None:
    tags = {document["product_id"]: set(document["tags"]) for document in shop.documents}
    expected = [
        product
        for product in _expected(shop, query.ids)
        if query.category in (None, shop.rows[product["id"]][2])
        if not query.tags or tags.get(product["id"], set()) >= set(query.tags)
        if not query.in_stock or product["stock"] not in (None, "0")
    ]
    found: list[ProductJSON] = []
    after = None
    while True:
        page_query = Query(
            query.ids, query.category, query.tags, in_stock=query.in_stock, after=after,
            limit=query.limit,
        )  # fmt: skip
        page = execute(find_page(page_query), shop.send)
        found += page.products
        after = page.next
        if after is None:
            break
        assert len(page.products) == query.limit
    assert found == expected


def test_the_store_with_fewer_matches_is_queried_first() -> None:
    shop = MemoryStores(
        dict.fromkeys(range(1, 51), ("A", "1", "lamp")),
        [{"product_id": number, "tags": ["gift"]} for number in (7, 8, 60)],
    )
    page = execute(find_page(Query(category="lamp", tags=["gift"])), shop.send)
    assert str(page.join_order) == "MongoDB first: 50 rows in PostgreSQL, 3 documents in MongoDB"
    assert [product["id"] for product in page.products] == [7, 8]
    (request,) = [each for each in shop.requests if type(each).__name__ == "ReadStock"]
    assert request.ids == [7, 8, 60]  # type: ignore[attr-defined]
    del shop.rows
    shop.rows = {7: ("A", "1", "lamp"), 9: ("A", "1", "lamp")}
    page = execute(find_page(Query(category="lamp", tags=["gift"])), shop.send)
    assert str(page.join_order) == "PostgreSQL first: 2 rows in PostgreSQL, 3 documents in MongoDB"
    assert [product["id"] for product in page.products] == [7]


def test_pages_continue_after_the_last_id_despite_inserts_and_deletes() -> None:
    shop = MemoryStores(dict.fromkeys(range(10, 101, 10), ("A", "1", "lamp")))
    seen: list[int] = []
    after: int | None = None
    while True:
        page = execute(find_page(Query(after=after, limit=3)), shop.send)
        seen += [product["id"] for product in page.products]
        if page.next is None:
            break
        after = page.next
        shop.rows[after - 5] = shop.rows[after + 5] = ("new", "1", "lamp")
        del shop.rows[after]
    assert seen == sorted(set(seen))
    assert set(range(10, 101, 10)) <= set(seen)


@EACH
def test_two_documents_of_a_product_raise_an_error(strategy: Any) -> None:
    shop = MemoryStores({1: ("A", "1", "c")}, [{"product_id": 1}, {"product_id": 1}])
    with pytest.raises(MetadataError, match="two documents of product 1"):
        execute(strategy(None), shop.send)


@EACH
def test_documents_without_a_product_are_ignored(strategy: Any) -> None:
    shop = MemoryStores({1: ("A", "1", "c")}, [])
    shop.documents = [{"product_id": True}, {"product_id": "1"}, {"product_id": None}, {}]
    if strategy is not strategies.per_product:  # which finds documents by product
        (product,) = execute(strategy(None), shop.send)
        assert product["metadata"] is None


def test_only_missing_stock_counts_are_read_from_the_ledger_in_one_request() -> None:
    shop = MemoryStores(
        dict.fromkeys((1, 2, 3, 4), ("A", "1", "c")),
        counts={1: b"5", 2: b"lost", 4: b"0"},
        ledger={2: 8, 3: None},
    )
    result = execute(strategies.batched(), shop.send)
    assert [product["stock"] for product in result] == ["5", "8", None, "0"]
    assert shop.requests[-1].ids == [2, 3]  # type: ignore[attr-defined]
    assert shop.kinds() == ["SelectProducts", "FindMetadata", "ReadStock", "FillStock"]


def test_an_error_of_a_store_is_raised_and_closes_the_strategy() -> None:
    def fail(request: Any) -> Any:
        raise ConnectionError("gone")

    async def fail_async(request: Any) -> Any:
        raise ConnectionError("gone")

    for threads in (False, True):
        strategy = strategies.at_once()
        with pytest.raises(ConnectionError, match="gone"):
            execute(strategy, fail, threads=threads)
        assert strategy.gi_frame is None  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(execute_async(strategies.at_once([1]), fail_async))


@EACH
def test_a_cancelled_task_is_cancelled_even_if_the_driver_raises_another_error(
    strategy: Any,
) -> None:
    async def main() -> None:
        sent = asyncio.Event()

        async def send(request: Any) -> Any:
            sent.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError("operation cancelled") from None

        task = asyncio.create_task(execute_async(strategy([1]), send))
        await sent.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
