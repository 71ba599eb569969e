"""A query accepts untrusted values, or rejects them with an explanation."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.errors import CourseError, MetadataError, QueryError
from helpers.joins import Query
from helpers.metadata.filters import Between


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ids": "12"}, "ids"),
        ({"ids": 12}, "ids"),
        ({"ids": [1, True]}, "ids"),
        ({"ids": [0]}, "ids"),
        ({"ids": [2**63]}, "ids"),
        ({"ids": ["1"]}, "ids"),
        ({"ids": [{"$gt": 0}]}, "ids"),
        ({"ids": range(1, 1002)}, "ids"),
        ({"category": ""}, "category"),
        ({"category": {"$ne": None}}, "category"),
        ({"category": "a\0"}, "category"),
        ({"category": "\ud800"}, "category"),
        ({"in_stock": "yes"}, "in_stock"),
        ({"in_stock": 1}, "in_stock"),
        ({"after": -1}, "after"),
        ({"after": True}, "after"),
        ({"after": {"$gt": 0}}, "after"),
        ({"after": 2**63}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": 10.0}, "limit"),
    ],
)
def test_an_invalid_value_raises_an_error_that_names_its_field(
    wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(QueryError) as refused:
        Query(**wrong)
    assert refused.value.field == field
    assert str(refused.value).startswith(field)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": "gift"},
        {"tags": [{"$ne": 1}]},
        {"specifications": {"$where": "1"}},
        {"specifications": {"ram_gb": {"$gt": 1}}},
        {"specifications": [1]},
    ],
)
def test_operators_in_tags_and_specifications_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(MetadataError):
        Query(**wrong)


def test_ids_are_sorted_without_duplicates() -> None:
    assert Query(ids=[3, 1, 3]).ids == (1, 3)
    assert issubclass(QueryError, CourseError)


def test_queries_are_equal_only_if_all_conditions_are() -> None:
    assert Query(specifications={"a": 1, "b": "x"}) == Query(specifications={"b": "x", "a": 1})
    different: list[Any] = [1, True, "1", 1.5, Between(1, 2), Between(1, None)]
    assert len({Query(specifications={"a": value}) for value in different}) == len(different)
    assert len({Query(), Query(limit=5), Query(after=5), Query(ids=[]), Query(tags=["a"])}) == 5
    kept = {"a": 1}
    query = Query(specifications=kept)
    kept["a"] = 2
    assert query.condition() == {"specifications.a": 1}
