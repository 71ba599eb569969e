"""The index finds what the stores find, and its counts are exact after any changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.joins import Query, count_categories, count_values, run
from helpers.joins.pages import Page, find_page
from helpers.joins.product_index import ProductIndex
from helpers.metadata.filters import Between
from helpers.stores import Document, Stores
from tests.joins import test_page_facets
from tests.joins.conftest import Both
from tests.joins.filling import put
from tests.joins.memory import MemoryStores
from tests.joins.shared_reads import read_page
from tests.joins.test_pages import KINDS, SHOP

SEARCHES = {kind: query for kind, query in KINDS.items() if query.condition()}


def index_of(stores: Stores) -> ProductIndex:
    """Return an index of all documents and rows."""
    index = ProductIndex()
    for document in stores.mongo.productmetas.find():
        index.put_document(document)
    index.replace_categories(stores.postgres.execute("SELECT id, category FROM products"))
    return index


def _walk(stores: Stores, query: Query, index: ProductIndex | None) -> Iterator[Page]:
    while True:
        page = run(stores, find_page(query, index))
        yield page
        if page.next is None:
            return
        query = replace(query, after=page.next)


def test_pages_from_the_index_are_those_from_the_stores(both: Both) -> None:
    put(both.blocking, SHOP)
    index = index_of(both.blocking)
    for query in SEARCHES.values():
        for limit in (7, 100):
            found = list(_walk(both.blocking, replace(query, limit=limit), index))
            expected = list(_walk(both.blocking, replace(query, limit=limit), None))
            assert [page.products for page in found] == [page.products for page in expected]
            if query.ids is None:
                assert found[0].join_order.first == "index"
    page = run(both.blocking, find_page(Query(category="lamp"), index))
    assert page.join_order.first == "PostgreSQL", "that has an index itself"


def test_a_page_reads_only_its_products() -> None:
    shop = MemoryStores(
        dict.fromkeys(range(1, 2001), ("A", "1", "lamp")),
        [
            {"_id": number, "product_id": number, "tags": ["gift"] if number % 2 else []}
            for number in range(1, 2001)
        ],
        dict.fromkeys(range(1, 2001), b"5"),
    )
    index = ProductIndex()
    for document in shop.documents:
        index.put_document(document)
    index.replace_categories((number, row[2]) for number, row in shop.rows.items())
    strategy = find_page(Query(category="lamp", tags=["gift"], after=999, limit=24), index)
    group = next(strategy)
    assert [len(request.ids) for request in group] == [25, 25, 25]
    with pytest.raises(StopIteration) as end:
        strategy.send([shop.send(request) for request in group])
    assert [product["id"] for product in end.value.value.products] == list(range(1001, 1049, 2))


@pytest.mark.parametrize("name", test_page_facets.QUERIES)
def test_facets_are_those_from_the_stores(both: Both, name: str) -> None:
    odd = [document for document in test_page_facets.ODD if document["product_id"] != 33]
    put(both.blocking, MemoryStores(test_page_facets.ROWS, test_page_facets.DOCUMENTS + odd))
    index, query = index_of(both.blocking), test_page_facets.QUERIES[name]
    for find in (None, "A", "1", "nothing"):
        assert index.count_categories(query, find) == run(
            both.blocking, count_categories(query, find)
        )
        assert index.count_values(query, find) == run(both.blocking, count_values(query, find))


def test_numbers_are_compared_as_mongodb_compares_them(both: Both) -> None:
    values: list[Any] = [
        *(16, 16.0, Int64(16), Decimal128("16.0"), "16", True, 1, [16, 32], [[16]], {"a": 16}),
        *(2**53, 2**53 + 1, float(2**53), [5, 50], None, float("nan")),
    ]
    documents: list[Document] = [
        {"product_id": number, "specifications": {"x": value, "y": [{"z": value}]}}
        for number, value in enumerate(values, start=1)
    ]
    rows = dict.fromkeys(range(1, len(values) + 1), ("A", "1", "lamp"))
    put(both.blocking, MemoryStores(rows, documents))
    index = index_of(both.blocking)
    conditions: list[Any] = [16, 16.0, "16", True, 1, 2**53, 2**53 + 1, Between(8, 32)]
    conditions += [Between(low=2**53), Between(high=5)]
    for name in ("x", "x.a", "y.z"):
        for condition in conditions:
            query = Query(specifications={name: condition}, limit=100)
            expected = read_page(both.blocking, query).products
            assert run(both.blocking, find_page(query, index)).products == expected, query


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SEARCHES])
def test_an_index_that_is_out_of_date_only_bounds_what_is_read(both: Both, kind: str) -> None:
    put(both.blocking, SHOP)
    ids = random.Random(3).sample(range(1, 500), 60)
    index = ProductIndex()
    index.replace_categories((number, "lamp" if number % 2 else "phone") for number in ids)
    for limit in (3, 100):
        query = replace(KINDS[kind], limit=limit)
        found = [page.products for page in _walk(both.blocking, query, index)]
        expected = [page.products for page in _walk(both.blocking, query, None)]
        assert list(chain(*found)) == list(chain(*expected))
        assert all(len(products) == limit for products in found[:-1])
    request = next(find_page(Query(limit=9), index))[0]
    assert request.last == sorted(ids)[9]


VALUES = st.one_of(
    st.sampled_from([1, 2.0, "a", "b", True, None]),
    st.lists(st.sampled_from([1, "a"]), max_size=2),
    st.just({"socket": "E27"}),
)
DOCUMENTS = st.fixed_dictionaries(
    {"_id": st.integers(1, 5), "is_odd": st.booleans()},
    optional={
        "tags": st.one_of(st.lists(st.sampled_from(["x", "y", 1])), st.just("x"), st.none()),
        "specifications": st.dictionaries(st.sampled_from(["ram", "Ram", "bulb"]), VALUES),
    },
)
QUERIES = [
    Query(),
    Query(category="lamp"),
    Query(tags=["x"]),
    Query(category="lamp", tags=["x"], specifications={"ram": Between(low=1)}),
    Query(specifications={"bulb.socket": "E27"}),
]


@given(st.lists(st.one_of(DOCUMENTS, st.integers(1, 5)), max_size=20), st.randoms())
@settings(max_examples=60, deadline=None)
def test_changes_leave_what_an_index_of_the_rest_has(
    steps: list[Document | int], draw: random.Random
) -> None:
    """A step is a document to put, or the ``_id`` of one to remove."""
    index, rest, categories = ProductIndex(), dict[int, Document](), dict[int, str | None]()
    for step in steps:
        if isinstance(step, int):
            index.remove_document(step)
            rest.pop(step, None)
        else:
            document = {**step, "product_id": 4.5 if step["is_odd"] else step["_id"]}
            index.put_document(document)
            rest[step["_id"]] = document
        changed = {draw.randrange(1, 5): draw.choice(["lamp", "phone", None])}
        index.put_categories(changed)
        categories |= changed
    fresh = ProductIndex()
    for document in rest.values():
        fresh.put_document(document)
    rows = {number: name for number, name in categories.items() if name is not None}
    fresh.replace_categories(rows.items())
    assert len(index) == len(fresh)
    assert index.category_checksums() == fresh.category_checksums()
    for query in QUERIES:
        assert index.count_categories(query) == fresh.count_categories(query)
        found, expected = index.count_values(query), fresh.count_values(query)
        assert (found.tags, found.specifications) == (expected.tags, expected.specifications)
        assert index.page(query, None, 100) == fresh.page(query, None, 100)


def test_the_most_frequent_values_are_counted_whatever_else_there_is() -> None:
    index = ProductIndex()
    for number in range(1, 3001):
        specifications = {"colour": "red" if number % 3 else "blue", "serial": f"n{number}"}
        index.put_document(
            {"_id": ObjectId(), "product_id": number, "specifications": specifications}
        )
    index.replace_categories(
        (number, "lamp" if number > 2990 else "desk") for number in range(1, 3001)
    )
    found = index.count_values(Query()).specifications
    assert found["colour"] == [("red", 2000), ("blue", 1000)]
    assert found["serial"][:2] == [("n1", 1), ("n10", 1)]
    assert len(found["serial"]) == 30
    assert index.count_values(Query(category="lamp")).specifications["colour"] == [
        ("red", 6),
        ("blue", 4),
    ]
