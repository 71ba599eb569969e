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
from helpers.joins.pages import find_page
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


def test_every_facet_that_is_offered_can_be_used_as_a_filter(both: Both) -> None:
    long_text = "x" * 201
    rows = {1: ("A", "1", "Home\u00a0& Garden"), 2: ("B", "1", long_text), 3: ("C", "1", "a\nb")}
    good = {"Größe (cm)": 12.5, "tiny": 1e-7, "largest": 2**53 - 1, "text": "a\nb"}
    bad = {"": 1, "_a": 1, "a.b": 1, "a\u200b": 1, "long": long_text, "none": "", long_text: 1}
    tags = ["Café & Bar", "", long_text]
    documents = [{"product_id": 1, "tags": tags, "specifications": good | bad}]
    put(both.blocking, MemoryStores(rows=rows, documents=documents))
    assert _categories(Query(), both) == [("Home\u00a0& Garden", 1)]
    found_tags, found = _values(Query(), both)
    assert found_tags == {"Café & Bar": 1}
    assert found.keys() == good.keys()
    queries = [Query(category="Home\u00a0& Garden"), Query(tags=["Café & Bar"])]
    queries += [
        Query(specifications={name: value}) for name, values in found.items() for value in values
    ]
    for query in queries:
        assert [product["id"] for product in run(both.blocking, find_page(query)).products] == [1]
