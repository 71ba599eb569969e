"""Filters from untrusted input: values are accepted, operators never are."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Regex
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.catalog.generator import products
from helpers.errors import MetadataError
from helpers.metadata.filters import Between, metadata_filter
from helpers.metadata.schema_versions import upgraded
from helpers.stores import Stores

INJECTED: list[Any] = [
    {"$gt": ""},
    {"$ne": None},
    {"$where": "true"},
    {"$regex": ".*"},
    {"$exists": True},
    {"a": {"$gt": ""}},
    [{"$gt": ""}],
    [],
    None,
    b"laptop",
    Regex(".*"),
    type("Sly", (str,), {})("laptop"),
    float("nan"),
    float("inf"),
    2**64,
    "",
    "x" * 201,
    "\ud800",
]


@pytest.mark.parametrize("value", INJECTED, ids=lambda value: repr(value)[:20])
def test_a_value_that_is_not_plain_raises_metadata_error(value: Any) -> None:
    with pytest.raises(MetadataError):
        metadata_filter(specifications={"ram_gb": value})
    with pytest.raises(MetadataError):
        metadata_filter(tags=[value])
    if value is not None:
        with pytest.raises(MetadataError):
            metadata_filter(category=value)
        with pytest.raises(MetadataError):
            metadata_filter(after=value)


@pytest.mark.parametrize("tags", ["gift", {"$gt": ""}, {"gift"}, 5, None, ["a"] * 21])
def test_tags_that_are_not_a_list_raise_metadata_error(tags: Any) -> None:
    with pytest.raises(MetadataError, match="tags"):
        metadata_filter(tags=tags)


@pytest.mark.parametrize(
    "name",
    [
        *("$where", "$or", "ram.$gt", "a.b.$c", "a$", "", ".", "a..b", "a.", ".a", "a.b.c.d.e"),
        *("a\0", "ram_gb\n", "a\ud800", "a\u200b", "_a", " a", "x" * 201, 5),
    ],
)
def test_an_invalid_specification_name_raises_metadata_error(name: Any) -> None:
    with pytest.raises(MetadataError, match="specifications"):
        metadata_filter(specifications={name: 1})


@pytest.mark.parametrize(
    "name", ["A", "a b", "RAM (GB)", "Größe", "重量", "3d", "bulb.Socket type", "x" * 200]
)
def test_a_printable_specification_name_is_accepted(name: str) -> None:
    assert metadata_filter(specifications={name: 1}) == {f"specifications.{name}": 1}


@pytest.mark.parametrize(
    "between", [Between(), Between({"$gt": ""}), Between(None, "9"), Between(True), Between(1e999)]  # type: ignore[arg-type]
)  # fmt: skip
def test_a_range_without_numbers_raises_metadata_error(between: Between) -> None:
    with pytest.raises(MetadataError, match="ram_gb"):
        metadata_filter(specifications={"ram_gb": between})


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6)
    | st.sampled_from(["$gt", "$where"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=4) | st.sampled_from(["$gt", "$ne", "$where"]), inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    category=_json,
    tags=_json,
    specifications=st.dictionaries(st.text(max_size=4) | st.just("ram_gb"), _json) | _json,
    after=_json,
)
def test_no_operator_in_the_input_reaches_a_filter(
    category: Any, tags: Any, specifications: Any, after: Any
) -> None:
    try:
        condition = metadata_filter(
            category=category, tags=tags, specifications=specifications, after=after
        )
    except MetadataError:
        return
    for name, value in condition.items():
        assert not name.startswith("$")
        assert ".$" not in name
        if isinstance(value, dict):
            assert (name, set(value)) in (("tags", {"$all"}), ("product_id", {"$gt"}))
            assert all(isinstance(part, str | int | list) for part in value.values())


def test_a_string_that_looks_like_an_operator_is_a_value(stores: Stores) -> None:
    stores.mongo.productmetas.insert_one({"product_id": 1, "tags": ["$gt"]})
    assert stores.mongo.productmetas.count_documents(metadata_filter(tags=["$gt"])) == 1
    assert stores.mongo.productmetas.count_documents(metadata_filter(tags=["$ne"])) == 0


def test_filters_find_the_same_documents_as_a_loop(stores: Stores) -> None:
    documents = [upgraded({"product_id": p.id, **(p.metadata or {})}) for p in products(200)]
    collection = stores.mongo.productmetas
    collection.insert_many([dict(d) for d in documents])

    def ids(**arguments: Any) -> list[int]:
        found = collection.find(metadata_filter(**arguments)).sort("product_id")
        return [document["product_id"] for document in found]

    def loop(keep: Any) -> list[int]:
        return [d["product_id"] for d in documents if keep(d)]

    assert ids() == [d["product_id"] for d in documents]
    assert ids(tags=["gift"]) == loop(lambda d: "gift" in d["tags"])
    assert ids(tags=["gift", "book"]) == loop(lambda d: {"gift", "book"} <= set(d["tags"]))
    assert ids(category="lamp", specifications={"bulb.socket": "E27"}) == loop(
        lambda d: d["category"] == "lamp" and d["specifications"]["bulb"]["socket"] == "E27"
    )
    assert ids(specifications={"ram_gb": Between(16, 32)}) == loop(
        lambda d: 16 <= d["specifications"].get("ram_gb", 0) <= 32
    )
    assert ids(specifications={"dimmable": True}, after=100) == loop(
        lambda d: d["specifications"].get("dimmable") is True and d["product_id"] > 100
    )


def test_pages_have_no_gaps(stores: Stores) -> None:
    collection = stores.mongo.productmetas
    collection.insert_many([{"product_id": n, "tags": ["t"]} for n in range(1, 31)])
    seen: list[int] = []

    def page() -> list[int]:
        condition = metadata_filter(tags=["t"], after=seen[-1] if seen else None)
        found = collection.find(condition).sort("product_id").limit(7)
        return [document["product_id"] for document in found]

    while numbers := page():
        seen += numbers
    assert seen == list(range(1, 31))
