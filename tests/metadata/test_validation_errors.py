"""The validator: generated products pass, and each invalid document fails with its broken rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from bson import Int64
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from helpers.catalog.catalog_file import read_catalog
from helpers.catalog.categories import CATEGORIES
from helpers.catalog.generator import products
from helpers.metadata.collection_schema import INDEXES, prepare_metadata
from helpers.metadata.schema_versions import upgraded
from helpers.metadata.validation_errors import broken_rules
from helpers.stores import Document, Stores
from tests.snapshots import empty_shop

LAPTOP: Document = {
    "product_id": 1,
    "schema_version": 2,
    "category": "laptop",
    "description": "High-performance laptop",
    "tags": ["electronics", "laptop"],
    "specifications": {"ram_gb": 16, "cpu": "Intel i7", "weight_kg": 1.3, "ports": ["USB-C"]},
    "recent_reviews": [{"customer_id": 7, "stars": 5, "text": "Fast"}],
    "rating": {"count": 1, "sum": 5, "average": 5.0},
}
SPECIFICATIONS: dict[str, Document] = {
    "laptop": LAPTOP["specifications"],
    "phone": {"storage_gb": 128, "camera_mp": 12},
    "tablet": {"screen_inch": 10.5, "battery_mah": 6000},
    "headphones": {"wireless": True, "driver_mm": 40},
    "book": {"author": "Ada Vogel", "pages": 300, "language": "en"},
    "shoe": {"sizes": [38, 39.5], "material": "mesh"},
    "lamp": {"bulb": {"socket": "E27", "watts": 9}, "dimmable": False},
    "game": {"players": {"min": 2, "max": 4}, "minutes": 30, "age": 8},
    "desk": {"legs": 4},
}


def _of(category: str) -> Document:
    return {
        "product_id": 1,
        "schema_version": 2,
        "category": category,
        "tags": [category],
        "specifications": copy.deepcopy(SPECIFICATIONS[category]),
    }


def _set(path: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *way, last = path.split(".")
        for name in way:
            document = document[name]
        document[last] = value

    return change


def _without(path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *way, last = path.split(".")
        for name in way:
            document = document[name]
        del document[last]

    return change


# A change of a valid document, and the field and rule that it then breaks.
BROKEN: dict[str, tuple[str, Callable[[Document], None], tuple[str, str]]] = {
    "no product_id": ("laptop", _without("product_id"), ("product_id", "required")),
    "product_id is a text": ("laptop", _set("product_id", "1"), ("product_id", "bsonType")),
    "product_id is a double": ("laptop", _set("product_id", 1.0), ("product_id", "bsonType")),
    "product_id is zero": ("laptop", _set("product_id", 0), ("product_id", "minimum")),
    "an unknown version": ("laptop", _set("schema_version", 3), ("schema_version", "enum")),
    "the version is a text": ("laptop", _set("schema_version", "2"), ("schema_version", "enum")),
    "no category": ("laptop", _without("category"), ("category", "required")),
    "category is a number": ("desk", _set("category", 5), ("category", "bsonType")),
    "category is empty": ("desk", _set("category", ""), ("category", "minLength")),
    "description is a number": ("laptop", _set("description", 5), ("description", "bsonType")),
    "no tags": ("laptop", _without("tags"), ("tags", "required")),
    "tags are one text": ("laptop", _set("tags", "laptop"), ("tags", "bsonType")),
    "a tag is a number": ("laptop", _set("tags", ["laptop", 5]), ("tags.1", "bsonType")),
    "a tag is empty": ("laptop", _set("tags", ["laptop", ""]), ("tags.1", "minLength")),
    "a tag twice": ("laptop", _set("tags", ["sale", "sale"]), ("tags", "uniqueItems")),
    "too many tags": ("laptop", _set("tags", [f"t{n}" for n in range(31)]), ("tags", "maxItems")),
    "no specifications": ("laptop", _without("specifications"), ("specifications", "required")),
    "specifications are a list": (
        *("laptop", _set("specifications", [{"k": "ram_gb", "v": 16}])),
        ("specifications", "bsonType"),
    ),
    "no memory": (
        *("laptop", _without("specifications.ram_gb")),
        ("specifications.ram_gb", "required"),
    ),
    "memory is a text": (
        *("laptop", _set("specifications.ram_gb", "16")),
        ("specifications.ram_gb", "bsonType"),
    ),
    "memory with its unit": (
        *("laptop", _set("specifications.ram_gb", "16GB")),
        ("specifications.ram_gb", "bsonType"),
    ),
    "no memory at all": (
        *("laptop", _set("specifications.ram_gb", 0)),
        ("specifications.ram_gb", "minimum"),
    ),
    "no processor": (
        *("laptop", _without("specifications.cpu")),
        ("specifications.cpu", "required"),
    ),
    "the processor is empty": (
        *("laptop", _set("specifications.cpu", "")),
        ("specifications.cpu", "minLength"),
    ),
    "an optional one is a text": (
        *("laptop", _set("specifications.screen_inch", "14 inch")),
        ("specifications.screen_inch", "bsonType"),
    ),
    "an unknown one is null": (
        *("laptop", _set("specifications.colour", None)),
        ("specifications.colour", "bsonType"),
    ),
    "no storage": (
        *("phone", _without("specifications.storage_gb")),
        ("specifications.storage_gb", "required"),
    ),
    "a flag is a text": (
        *("phone", _set("specifications.dual_sim", "yes")),
        ("specifications.dual_sim", "bsonType"),
    ),
    "the battery is null": (
        *("tablet", _set("specifications.battery_mah", None)),
        ("specifications.battery_mah", "bsonType"),
    ),
    "a flag is a number": (
        *("headphones", _set("specifications.wireless", 1)),
        ("specifications.wireless", "bsonType"),
    ),
    "half a page": ("book", _set("specifications.pages", 0.5), ("specifications.pages", "minimum")),
    "pages are a double": (
        *("book", _set("specifications.pages", 300.0)),
        ("specifications.pages", "bsonType"),
    ),
    "no such language": (
        *("book", _set("specifications.language", "English")),
        ("specifications.language", "pattern"),
    ),
    "no sizes": ("shoe", _set("specifications.sizes", []), ("specifications.sizes", "minItems")),
    "a size is a string": (
        *("shoe", _set("specifications.sizes", [38, "39"])),
        ("specifications.sizes.1", "bsonType"),
    ),
    "a size twice": (
        *("shoe", _set("specifications.sizes", [38, 38])),
        ("specifications.sizes", "uniqueItems"),
    ),
    "a bulb without socket": (
        *("lamp", _without("specifications.bulb.socket")),
        ("specifications.bulb.socket", "required"),
    ),
    "the watts are a string": (
        *("lamp", _set("specifications.bulb.watts", "9W")),
        ("specifications.bulb.watts", "bsonType"),
    ),
    "no players": (
        *("game", _set("specifications.players.min", 0)),
        ("specifications.players.min", "minimum"),
    ),
    "players are a number": (
        *("game", _set("specifications.players", 4)),
        ("specifications.players", "bsonType"),
    ),
    "null in another category": (
        *("desk", _set("specifications.legs", None)),
        ("specifications.legs", "bsonType"),
    ),
    "too many reviews": (
        *("laptop", _set("recent_reviews", LAPTOP["recent_reviews"] * 4)),
        ("recent_reviews", "maxItems"),
    ),
    "six stars": (
        *("laptop", _set("recent_reviews", [{"customer_id": 7, "stars": 6, "text": ""}])),
        ("recent_reviews.0.stars", "maximum"),
    ),
    "a rating without count": (
        *("laptop", _without("rating.count")),
        ("rating.count", "required"),
    ),
    "version 1 with tags of numbers": (
        *("laptop", lambda d: d.update(schema_version=1, tags=[1])),
        ("tags.0", "bsonType"),
    ),
}


@pytest.fixture
def prepared(stores: Stores) -> Stores:
    """An empty collection with its validator and its indexes."""
    return stores


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.verify)])
def test_every_generated_product_is_accepted_in_both_versions(prepared: Stores, count: int) -> None:
    collection = prepared.mongo.productmetas
    documents = [{"product_id": p.id, **(p.metadata or {})} for p in products(count)]
    assert {d["tags"][1] for d in documents} == set(CATEGORIES)
    collection.insert_many(copy.deepcopy(documents))
    collection.delete_many({})
    collection.insert_many([upgraded(document) for document in documents])
    assert collection.count_documents({"schema_version": 2}) == count


def test_a_valid_document_of_each_category_is_accepted(prepared: Stores) -> None:
    for number, category in enumerate(SPECIFICATIONS, start=1):
        prepared.mongo.productmetas.insert_one({**_of(category), "product_id": number})
    assert prepared.mongo.productmetas.count_documents({}) == len(SPECIFICATIONS)


@pytest.fixture(scope="module")
def read_only(shared: Stores) -> Stores:
    """A collection with its validator, shared by tests that only insert invalid documents."""
    return empty_shop(shared)


def test_there_are_enough_invalid_documents() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("name", BROKEN)
def test_each_invalid_document_fails_with_its_broken_rule(name: str, read_only: Stores) -> None:
    category, spoil, expected = BROKEN[name]
    document = copy.deepcopy(LAPTOP) if category == "laptop" else _of(category)
    spoil(document)
    with pytest.raises(WriteError) as caught:
        read_only.mongo.productmetas.insert_one(document)
    rules = broken_rules(caught.value)
    assert expected in [rule.key for rule in rules], rules
    # Other schemas of ``anyOf`` fail as well; few of their rules may be listed.
    assert {rule.field for rule in rules} == {expected[0]}, rules
    assert all(expected[0] in str(rule) for rule in rules)


def test_updates_are_validated_too(prepared: Stores) -> None:
    prepared.mongo.productmetas.insert_one(copy.deepcopy(LAPTOP))
    with pytest.raises(WriteError) as caught:
        prepared.mongo.productmetas.update_one(
            {"product_id": 1}, {"$set": {"specifications.ram_gb": "lots"}}
        )
    (rule,) = broken_rules(caught.value)
    assert str(rule) == "specifications.ram_gb is 'lots', and must be number"


def test_broken_rules_of_a_bulk_write_are_those_of_the_first_invalid_document(
    prepared: Stores,
) -> None:
    with pytest.raises(BulkWriteError) as caught:
        prepared.mongo.productmetas.insert_many([_of("desk"), {"product_id": "2"}])
    assert [rule.key for rule in broken_rules(caught.value)] == [("product_id", "bsonType")]


def test_another_error_has_no_broken_rules(prepared: Stores) -> None:
    prepared.mongo.productmetas.insert_one(_of("desk"))
    with pytest.raises(DuplicateKeyError) as caught:
        prepared.mongo.productmetas.insert_one(_of("desk"))
    assert broken_rules(caught.value) == []


def test_large_ids_are_accepted(prepared: Stores) -> None:
    prepared.mongo.productmetas.insert_one({**_of("desk"), "product_id": Int64(2**63 - 1)})


def test_any_valid_catalogue_file_passes_validation(prepared: Stores, tmp_path: Any) -> None:
    path = tmp_path / "catalogue.jsonl"
    path.write_text(
        '{"id": 1, "name": "A", "price": 1, "metadata": {"category": 5, "rating": "good", "x": '
        '{"y": null}, "tags": ["a", "a"], "specifications": {"ram": null, "ram_gb": "16"}}}\n'
        '{"id": 2, "name": "B", "price": 1, "metadata": {}}\n',
        "utf-8",
    )
    for product in read_catalog(path):
        prepared.mongo.productmetas.insert_one({"product_id": product.id, **product.metadata})  # type: ignore[dict-item]


def test_preparing_the_collection_again_changes_nothing(prepared: Stores) -> None:
    before = prepared.mongo.productmetas.index_information()
    prepare_metadata(prepared.mongo)
    assert prepared.mongo.productmetas.index_information() == before
    assert len(before) == 1 + len(INDEXES)


def test_an_existing_collection_gets_the_validator(stores: Stores) -> None:
    stores.mongo.productmetas.drop()
    stores.mongo.productmetas.insert_one({"product_id": "old"})
    prepare_metadata(stores.mongo)
    with pytest.raises(WriteError):
        stores.mongo.productmetas.insert_one({"product_id": "new"})
    assert stores.mongo.productmetas.count_documents({"product_id": "old"}) == 1
