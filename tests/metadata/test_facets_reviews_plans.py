"""Facets, reviews, and plans read from ``explain``."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymongo.errors import DuplicateKeyError

from helpers.catalog.generator import products
from helpers.errors import MetadataError
from helpers.metadata.facets import facets
from helpers.metadata.mongo_plans import DocumentPlan, explain_find, read_explain
from helpers.metadata.reviews import Review, add_review, prepare_reviews
from helpers.metadata.schema_versions import upgraded
from helpers.stores import Document, Stores
from helpers.stores.tracing import count_commands

COUNT = 150
DOCUMENTS = [upgraded({"product_id": p.id, **(p.metadata or {})}) for p in products(COUNT)]


@pytest.fixture
def filled(stores: Stores) -> list[Document]:
    """Fill the collection with documents of version 2, and return them."""
    prepare_reviews(stores.mongo)
    stores.mongo.productmetas.insert_many([dict(d) for d in DOCUMENTS])
    return DOCUMENTS


def test_facets_return_the_same_counts_as_a_loop(filled: list[Document], stores: Stores) -> None:
    counts_of = facets(stores.mongo.productmetas, specifications=["ram_gb", "sizes", "bulb.socket"])
    assert dict(counts_of["category"]) == Counter(d["category"] for d in filled)
    assert dict(counts_of["tags"]) == Counter(tag for d in filled for tag in d["tags"])
    sizes = Counter(size for d in filled for size in d["specifications"].get("sizes", []))
    assert dict(counts_of["sizes"]) == sizes
    bulbs = Counter(
        d["specifications"]["bulb"]["socket"] for d in filled if "bulb" in d["specifications"]
    )
    assert dict(counts_of["bulb_socket"]) == bulbs
    counts = [count for _, count in counts_of["tags"]]
    assert counts == sorted(counts, reverse=True)


def test_facets_of_a_filter_count_only_its_documents(
    filled: list[Document], stores: Stores
) -> None:
    counts_of = facets(stores.mongo.productmetas, {"category": "book"}, most=3)
    assert counts_of["category"] == [("book", sum(d["category"] == "book" for d in filled))]
    assert len(counts_of["tags"]) == 3
    assert facets(stores.mongo.productmetas, {"category": "none"})["tags"] == []


def test_facets_take_one_round_trip(filled: list[Document], stores: Stores) -> None:
    with count_commands(stores) as (database, commands):
        facets(database.productmetas, specifications=["ram_gb"])
        assert commands == ["aggregate"]


def test_the_document_of_a_product_has_its_rating_and_newest_reviews(
    filled: list[Document], stores: Stores
) -> None:
    for customer, stars in enumerate([5, 3, 4, 2], start=1):
        document = add_review(stores.mongo, 7, Review(customer, stars, f"text {customer}"))
    assert document["rating"] == {"count": 4, "sum": 14, "average": 3.5}
    assert [review["customer_id"] for review in document["recent_reviews"]] == [4, 3, 2]
    assert stores.mongo.reviews.count_documents({"product_id": 7}) == 4


def test_a_customer_reviews_a_product_once(filled: list[Document], stores: Stores) -> None:
    add_review(stores.mongo, 7, Review(1, 5, "good"))
    with pytest.raises(DuplicateKeyError):
        add_review(stores.mongo, 7, Review(1, 1, "bad"))
    document = stores.mongo.productmetas.find_one({"product_id": 7})
    assert document is not None
    assert document["rating"]["count"] == 1


def test_a_review_text_with_a_dollar_sign_is_stored_unchanged(
    filled: list[Document], stores: Stores
) -> None:
    for customer, text in enumerate(["$rating.sum", "$$ROOT", "$", "{$gt: 1}"], start=1):
        document = add_review(stores.mongo, 7, Review(customer, 5, text))
        assert document["recent_reviews"][0]["text"] == text


def test_an_invalid_review_raises_metadata_error(filled: list[Document], stores: Stores) -> None:
    for review in (
        Review(1, 0, ""),
        Review(1, 6, ""),
        Review(1, True, ""),
        Review(1, {"$gt": 0}, ""),  # type: ignore[arg-type]
        Review(1, 5, {"$gt": ""}),  # type: ignore[arg-type]
        Review({"$gt": 0}, 5, ""),  # type: ignore[arg-type]
    ):
        with pytest.raises(MetadataError):
            add_review(stores.mongo, 7, review)
        assert stores.mongo.reviews.count_documents({}) == 0, review


def test_a_review_of_a_product_without_a_document_raises_metadata_error(stores: Stores) -> None:
    with pytest.raises(MetadataError, match="999 has no document"):
        add_review(stores.mongo, 999, Review(1, 5, ""))
    assert stores.mongo.reviews.count_documents({}) == 0


def test_concurrent_reviews_are_all_counted(filled: list[Document], stores: Stores) -> None:
    with ThreadPoolExecutor(8) as pool:
        reviews = [Review(customer, 1 + customer % 5, "") for customer in range(40)]
        list(pool.map(lambda review: add_review(stores.mongo, 9, review), reviews))
    document = stores.mongo.productmetas.find_one({"product_id": 9})
    assert document is not None
    assert document["rating"] == {"count": 40, "sum": 120, "average": 3.0}
    assert len(document["recent_reviews"]) == 3


def test_queries_of_the_shop_examine_only_what_they_return(
    filled: list[Document], stores: Stores
) -> None:
    conditions: list[tuple[Document, str]] = [
        ({"product_id": 42}, "product_id_1"),
        ({"tags": "gift"}, "tags_1_product_id_1"),
        ({"tags": "gift", "product_id": {"$gt": 100}}, "tags_1_product_id_1"),
    ]
    for condition, index in conditions:
        plan = explain_find(stores.mongo.productmetas, condition)
        assert (plan.stage, plan.index) == ("IXSCAN", index), condition
        assert plan.returned > 0
        assert plan.examined_per_returned <= 1.2
        assert plan.returned == len(list(stores.mongo.productmetas.find(condition)))


def test_a_query_without_an_index_examines_every_document(
    filled: list[Document], stores: Stores
) -> None:
    plan = explain_find(stores.mongo.productmetas, {"specifications.ram_gb": 16})
    assert (plan.stage, plan.index, plan.keys_examined) == ("COLLSCAN", None, 0)
    assert plan.documents_examined == COUNT
    assert plan.row() == {
        "stage": "COLLSCAN",
        "index": "",
        "keys examined": 0,
        "documents examined": COUNT,
        "returned": sum(d["specifications"].get("ram_gb") == 16 for d in filled),
    }


_SCAN = {"stage": "IXSCAN", "indexName": "tags_1"}
_SHAPES = {
    "fetch": {"stage": "FETCH", "inputStage": _SCAN},
    "sorted and projected": {
        "stage": "PROJECTION_SIMPLE",
        "inputStage": {"stage": "SORT", "inputStage": {"stage": "FETCH", "inputStage": _SCAN}},
    },
    "the slot-based engine": {
        "queryPlan": {"stage": "FETCH", "inputStage": _SCAN},
        "slotBasedPlan": {"stages": "…"},
    },
    "a single key in 8.0": {"stage": "EXPRESS_IXSCAN", "indexName": "tags_1"},
    "a union": {
        "stage": "FETCH",
        "inputStage": {"stage": "OR", "inputStages": [_SCAN, _SCAN]},
    },
    "two shards": {
        "stage": "SHARD_MERGE",
        "shards": [{"shardName": name, "winningPlan": _SCAN} for name in "ab"],
    },
}


@pytest.mark.parametrize("name", _SHAPES)
def test_plans_of_all_mongodb_formats_are_read(name: str) -> None:
    output = {
        "queryPlanner": {"winningPlan": _SHAPES[name]},
        "executionStats": {"nReturned": 4, "totalKeysExamined": 6, "totalDocsExamined": 5},
    }
    plan = read_explain(output)
    assert plan == DocumentPlan("IXSCAN", "tags_1", 6, 5, 4)
    assert plan.examined_per_returned == 1.25
