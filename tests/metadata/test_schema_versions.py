"""The migration: it keeps the meaning, is idempotent, and can be interrupted and resumed."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.catalog.categories import CATEGORIES, MEASURED
from helpers.catalog.generator import products
from helpers.errors import MetadataError
from helpers.joins import batched, per_product
from helpers.metadata import schema_versions
from helpers.metadata.schema_versions import (
    Unmigrated,
    migrate,
    plan_change,
    read_current,
    upgraded,
)
from helpers.shop.seeding import seed
from helpers.stores import Document, Stores


def _fill(stores: Stores, count: int) -> list[Document]:
    documents = [{"product_id": p.id, **(p.metadata or {})} for p in products(count)]
    stores.mongo.productmetas.insert_many(copy.deepcopy(documents))
    return documents


def _meaning(document: Document) -> Document:
    """Return a document's content in a form that is the same for both versions."""
    content = {k: v for k, v in document.items() if k not in ("_id", "schema_version", "category")}
    content["tags"] = list(dict.fromkeys(content.get("tags", [])))
    specifications: Document = {}
    by_new_name = {spec.name: spec for spec in MEASURED.values()}
    for name, value in content.pop("specifications", {}).items():
        if name in MEASURED:
            unit = MEASURED[name].unit
            number = value.strip()[: -len(unit)].strip()
            specifications[name] = (Decimal(number), unit)
        elif name in by_new_name and document.get("schema_version") == 2:
            spec = by_new_name[name]
            specifications[spec.was] = (Decimal(str(value)), spec.unit)
        else:
            specifications[name] = value
    return {**content, "specifications": specifications}


PRODUCTS = list(products(200))

_numbers = st.one_of(
    st.integers(1, 10**12 - 1).map(str),
    st.decimals(Decimal("0.1"), 10**6, places=2).map(str),
)
_names = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
_other_names = _names.filter(
    lambda name: (
        name not in MEASURED and name not in {s.name for c in CATEGORIES.values()
                                              for s in c.specifications}
    )
)  # fmt: skip
_values = st.one_of(
    st.text(max_size=8),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)


@st.composite
def _measures(draw: st.DrawFn) -> Document:
    names = draw(st.sets(st.sampled_from(sorted(MEASURED)), max_size=4))
    space = st.sampled_from(["", " ", "  "])
    return {name: f"{draw(_numbers)}{draw(space)}{MEASURED[name].unit}" for name in sorted(names)}


@st.composite
def _version_1(draw: st.DrawFn) -> Document:
    """A valid document of version 1, of a known category or of none."""
    document: Document = {"product_id": draw(st.integers(1, 2**63 - 1))}
    document["tags"] = draw(
        st.lists(_names.filter(lambda name: name not in CATEGORIES), max_size=5)
    )
    if draw(st.booleans()):
        document["description"] = draw(st.text(max_size=20))
    if draw(st.booleans()):
        document["schema_version"] = 1
    known = draw(_measures())
    if draw(st.booleans()):
        # Of a known category, with its required specifications and others.
        generated = PRODUCTS[draw(st.integers(0, len(PRODUCTS) - 1))]
        known = dict((generated.metadata or {})["specifications"])
        document["tags"].insert(0, generated.category)
    document["specifications"] = known | draw(st.dictionaries(_other_names, _values, max_size=4))
    own = {"product_id", "tags", "description", "specifications", "category", "rating"}
    return document | draw(
        st.dictionaries(_other_names.filter(lambda name: name not in own), _values, max_size=2)
    )


@pytest.mark.parametrize("examples", [15, pytest.param(100, marks=pytest.mark.verify)])
def test_migration_keeps_the_meaning_of_any_document(stores: Stores, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.lists(_version_1(), min_size=1, max_size=4, unique_by=lambda d: d["product_id"]))
    def check(documents: list[Document]) -> None:
        _assert_meaning_is_kept(documents, stores)

    check()


def _assert_meaning_is_kept(documents: list[Document], stores: Stores) -> None:
    collection = stores.mongo.productmetas
    collection.delete_many({})
    collection.insert_many(copy.deepcopy(documents))
    stored = {d["product_id"]: d for d in collection.find({}, {"_id": 0})}
    assert stored == {d["product_id"]: d for d in documents}
    result = migrate(collection, batch=2)
    # No tag is empty, because names have a letter: so all documents can be migrated.
    assert (result.migrated, result.unmigrated) == (len(documents), [])
    after = {d["product_id"]: d for d in collection.find({}, {"_id": 0})}
    for product_id, document in stored.items():
        assert after[product_id] == upgraded(document)
        assert _meaning(after[product_id]) == _meaning(document)
    assert migrate(collection).migrated == 0
    assert {d["product_id"]: d for d in collection.find({}, {"_id": 0})} == after


def test_migration_keeps_the_meaning_of_generated_products() -> None:
    for product in products(1000):
        document = {"product_id": product.id, **(product.metadata or {})}
        new = upgraded(document)
        assert (new["schema_version"], new["category"]) == (2, product.category)
        assert _meaning(new) == _meaning(document)
        assert upgraded(new) is new


def test_measures_of_the_original_products_become_numbers() -> None:
    (laptop, phone, tablet) = [upgraded(dict(p.metadata or {})) for p in products(3)]
    assert laptop["specifications"] == {"cpu": "Intel i7", "ram_gb": 16}
    assert phone["specifications"] == {"camera_mp": 12, "storage_gb": 128}
    assert tablet["specifications"] == {"battery_mah": 6000, "screen_inch": 10}


class InterruptedMigrationError(Exception):
    """Any error between two batches of a migration."""


def test_an_interrupted_migration_is_completed_by_the_next(stores: Stores) -> None:
    documents = _fill(stores, 60)

    def interrupt(done: int) -> None:
        if done >= 20:
            raise InterruptedMigrationError

    collection = stores.mongo.productmetas
    with pytest.raises(InterruptedMigrationError):
        migrate(collection, batch=10, progress=interrupt)
    done = collection.count_documents({"schema_version": 2})
    assert 20 <= done < 60
    assert migrate(collection).migrated == 60 - done
    stored = {d["product_id"]: d for d in collection.find({}, {"_id": 0})}
    assert stored == {d["product_id"]: upgraded(d) for d in documents}


@pytest.mark.verify
def test_a_killed_migration_is_completed_by_the_next(
    stores: Stores, shop_environ: dict[str, str]
) -> None:
    documents = _fill(stores, 300)
    program = (
        "import sys\n"
        "from helpers.metadata.schema_versions import migrate\n"
        "from helpers.shop import open_shop\n"
        "def tell(done):\n"
        "    print(done, flush=True)\n"
        "    if done >= 100: sys.stdin.read()\n"
        "with open_shop() as shop:\n"
        "    migrate(shop.mongo.productmetas, batch=20, progress=tell)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **shop_environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 100:
                process.kill()
                break
    collection = stores.mongo.productmetas
    done = collection.count_documents({"schema_version": 2})
    assert 100 <= done < 300
    assert migrate(collection).migrated == 300 - done
    stored = {d["product_id"]: d for d in collection.find({}, {"_id": 0})}
    assert stored == {d["product_id"]: upgraded(d) for d in documents}


def test_reading_migrates_one_document_and_writes_it_back(stores: Stores) -> None:
    _fill(stores, 5)
    collection = stores.mongo.productmetas
    first = read_current(collection, 1)
    assert first is not None
    assert first["specifications"] == {"cpu": "Intel i7", "ram_gb": 16}
    assert collection.find_one({"product_id": 1}) == first
    assert collection.count_documents({"schema_version": 2}) == 1
    assert read_current(collection, 1) == first
    assert read_current(collection, 999) is None


def test_reading_without_writing_back_leaves_the_collection(stores: Stores) -> None:
    _fill(stores, 3)
    document = read_current(stores.mongo.productmetas, 2, write_back=False)
    assert document is not None
    assert document["schema_version"] == 2
    assert stores.mongo.productmetas.count_documents({"schema_version": 2}) == 0


def test_a_change_between_reading_and_writing_is_not_lost(stores: Stores) -> None:
    _fill(stores, 1)
    collection = stores.mongo.productmetas
    document = collection.find_one({"product_id": 1})
    assert document is not None
    change = plan_change(document)
    assert change is not None
    collection.update_one({"product_id": 1}, {"$set": {"specifications.ram": "32GB"}})
    assert collection.update_one(change.condition, change.update()).matched_count == 0
    current = read_current(collection, 1)
    assert current is not None
    assert current["specifications"]["ram_gb"] == 32
    # A concurrent change of a field that the migration does not touch is kept.
    collection.replace_one({"product_id": 1}, document)
    collection.update_one({"product_id": 1}, {"$set": {"description": "new"}})
    assert collection.update_one(change.condition, change.update()).modified_count == 1
    (after,) = collection.find({}, {"_id": 0})
    assert (after["description"], after["specifications"]["ram_gb"]) == ("new", 16)


def test_a_change_during_a_migration_on_read_is_not_lost(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change happens between the read and the write of the migration."""
    _fill(stores, 1)
    collection = stores.mongo.productmetas
    changes = iter([{"$set": {"specifications.ram": "32GB"}}])

    def plan_late(document: Document) -> Any:
        for change in changes:
            collection.update_one({"product_id": 1}, change)
        return plan_change(document)

    monkeypatch.setattr(schema_versions, "plan_change", plan_late)
    current = read_current(collection, 1)
    assert current is not None
    assert current["specifications"]["ram_gb"] == 32
    stored = collection.find_one({"product_id": 1})
    assert stored is not None
    assert stored["specifications"]["ram"] == "32GB"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"specifications": {"ram": "lots"}}, "specifications.ram: is 'lots'"),
        ({"specifications": {"ram": 16}}, "specifications.ram: is 16"),
        ({"specifications": {"ram": "16"}}, "specifications.ram: is '16'"),
        ({"specifications": {"ram": "16MB"}}, "specifications.ram: is '16MB'"),
        (
            {"specifications": {"ram": "16GB", "ram_gb": 16}},
            "exists as well as specifications.ram_gb",
        ),
        ({"tags": ["laptop"], "specifications": {"ram": "16GB"}}, "cpu is missing"),
        ({"specifications": {"colour": None}}, "specifications.colour is None"),
        ({"category": 5}, "category is 5"),
    ],
)
def test_a_document_that_cannot_be_migrated_stays_and_is_reported(
    broken: Document, reason: str, stores: Stores
) -> None:
    collection = stores.mongo.productmetas
    collection.insert_many([{"product_id": 1, **broken}, {"product_id": 2, "tags": []}])
    before = collection.find_one({"product_id": 1})
    result = migrate(collection)
    assert result.migrated == 1
    (left,) = result.unmigrated
    assert isinstance(left, Unmigrated)
    assert left.product_id == 1
    assert reason in left.reason
    assert collection.find_one({"product_id": 1}) == before


def test_an_unknown_version_raises_metadata_error() -> None:
    with pytest.raises(MetadataError, match="schema_version: is 3"):
        upgraded({"product_id": 1, "schema_version": 3})


def test_products_show_neither_version_nor_category_of_metadata(stores: Stores) -> None:
    seed(stores, 5)
    before = batched(stores)
    assert migrate(stores.mongo.productmetas).migrated == 5
    for join in (batched, per_product):
        products_now: list[Any] = join(stores)
        for old, new in zip(before, products_now, strict=True):
            assert set(new["metadata"]) == set(old["metadata"] or {})
    assert seed(stores, 5).metadata == 5
    assert batched(stores) == before
