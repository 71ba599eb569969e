"""Facets count the products that the join returns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from helpers.joins import (
    Query,
    count_categories,
    count_values,
    run,
    run_async,
)
from helpers.metadata.filters import Between
from tests.joins.conftest import Both
from tests.joins.filling import put
from tests.joins.memory import MemoryStores

ROWS = {
    number: (f"Product {number}", "1.50", "lamp" if number % 3 else "phone")
    for number in range(1, 31)
}
DOCUMENTS: list[dict[str, Any]] = [
    {
        "product_id": number,
        "tags": ["new", *(["gift"] if number % 2 else [])],
        "specifications": {
            "watts": number % 4,
            "colours": ["red", "blue"][: number % 3],
            "bulb": {"socket": "E27"},
            "dimmable": number % 5 == 0,
        },
    }
    for number in range(1, 31)
]
# Documents that a validator would reject.
ODD: list[dict[str, Any]] = [
    {"product_id": 31, "tags": "gift", "specifications": [{"watts": 1}]},
    {"product_id": 32, "tags": None, "specifications": "none"},
    {"product_id": 33, "tags": [1, None, {"a": 1}], "specifications": {"watts": float("nan")}},
    {"product_id": 34},
]


def _values(query: Query, both: Both) -> tuple[dict[Any, int], dict[str, dict[Any, int]]]:
    found = run(both.blocking, count_values(query))
    assert both.runner.run(run_async(both.awaited, count_values(query))) == found
    return dict(found.tags), {name: dict(of) for name, of in found.specifications.items()}


def _categories(query: Query, both: Both) -> list[tuple[Any, int]]:
    found = run(both.blocking, count_categories(query))
    assert both.runner.run(run_async(both.awaited, count_categories(query))) == found
    return found


QUERIES = {
    "all": Query(),
    "category": Query(category="phone"),
    "tag": Query(tags=["gift"]),
    "category and tags": Query(category="lamp", tags=["gift", "new"]),
    "specification": Query(specifications={"watts": Between(2, 3)}),
    "none": Query(category="book"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_facets_count_the_products_that_match_the_conditions(both: Both, name: str) -> None:
    put(both.blocking, MemoryStores(rows=ROWS, documents=DOCUMENTS))
    query = QUERIES[name]
    met = [
        document
        for document in DOCUMENTS
        if set(query.tags) <= set(document["tags"])
        if not query.specifications or document["specifications"]["watts"] in (2, 3)
    ]
    categories = Counter(ROWS[document["product_id"]][2] for document in met)
    assert dict(_categories(query, both)) == dict(categories)

    counted = [
        document for document in met if query.category in (None, ROWS[document["product_id"]][2])
    ]
    tags, specifications = _values(query, both)
    assert tags == Counter(tag for document in counted for tag in document["tags"])
    for specification in ("watts", "dimmable"):
        assert specifications.get(specification, {}) == Counter(
            document["specifications"][specification] for document in counted
        )
    colours = Counter(
        colour for document in counted for colour in document["specifications"]["colours"]
    )
    assert specifications.get("colours", {}) == colours
    assert "bulb" not in specifications


def test_documents_of_any_shape_are_accepted(both: Both) -> None:
    put(both.blocking, MemoryStores(rows=ROWS, documents=[*DOCUMENTS[:2], *ODD]))
    tags, specifications = _values(Query(), both)
    assert tags == {"new": 2, "gift": 2}, (
        "a string counts as a list of one; other values are not tags"
    )
    assert specifications["watts"] == {1: 1, 2: 1, "NaN": 1}


def test_at_most_30_values_are_counted_most_frequent_first(both: Both) -> None:
    documents = [
        {"product_id": number, "tags": [f"tag {n:02}" for n in range(number)], "specifications": {}}
        for number in range(1, 41)
    ]
    put(both.blocking, MemoryStores(documents=documents))
    found = run(both.blocking, count_values(Query()))
    assert found.tags == [(f"tag {n:02}", 40 - n) for n in range(30)]


def test_categories_are_ordered_by_frequency(both: Both) -> None:
    put(both.blocking, MemoryStores(rows=ROWS, documents=DOCUMENTS))
    assert _categories(Query(), both) == [("lamp", 20), ("phone", 10)]
