"""Migrate product metadata from schema version 1 to 2: on read, or all documents in bulk.

Version 1 has measures as strings with a unit (``"ram": "16GB"``). Version 2 has a number under a
name with the unit (``"ram_gb": 16``), and fields for the document's category and version. All other
fields stay as they are.

The migration of a document is one atomic update whose filter has the values that were read. If the
document was changed meanwhile, the update does nothing, and the next read or run sees the new
values. So a migration may be interrupted, repeated, and run by several processes at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from helpers.catalog.categories import MEASURED, category_among
from helpers.errors import MetadataError
from helpers.metadata.collection_schema import CURRENT
from helpers.metadata.validation_errors import VALIDATION_FAILED, read_write_error
from helpers.stores import Document

#: The filter for documents of version 1. Null matches a missing field as well as a null.
VERSION_1: Document = {"schema_version": {"$in": [None, 1]}}

_MEASURE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)\s*", re.ASCII)
_BATCH = 1000
_READ = {"product_id": 1, "schema_version": 1, "category": 1, "tags": 1, "specifications": 1}
_WAY_OUT = "Correct the document, then migrate again"


@dataclass(frozen=True)
class Change:
    """The migration of one document: the filter, and the fields to set and to unset."""

    condition: Document
    set: Document
    unset: tuple[str, ...]

    def update(self) -> Document:
        """Return the update document, for ``update_one``."""
        unset = {"$unset": dict.fromkeys(self.unset, "")} if self.unset else {}
        return {"$set": self.set} | unset

    def apply(self, document: Document) -> Document:
        """Return a copy of ``document`` as the update leaves it."""
        changed = {**document, "specifications": dict(document.get("specifications", {}))}
        for path in self.unset:
            del changed["specifications"][_inside(path)]
        for path, value in self.set.items():
            if "." in path:
                changed["specifications"][_inside(path)] = value
            else:
                changed[path] = value
        return changed


@dataclass(frozen=True)
class Unmigrated:
    """A document that cannot be migrated, and the reason."""

    product_id: Any
    reason: str


@dataclass
class Migration:
    """How many documents a run has migrated, and which it could not."""

    migrated: int = 0
    unmigrated: list[Unmigrated] = field(default_factory=list)


def plan_change(document: Document) -> Change | None:
    """Return the change from version 1 to 2, or ``None`` if ``document`` is of version 2.

    Raises ``MetadataError`` if a measure cannot be read or the version is unknown.
    """
    version = document.get("schema_version")
    if version == CURRENT:
        return None
    if version not in (None, 1):
        raise MetadataError(
            "schema_version",
            f"is {version!r}, which is unknown",
            "Update the course, or the document's version",
        )
    condition: Document = {"_id": document["_id"]} if "_id" in document else {}
    condition |= VERSION_1
    measures: Document = {}
    unset = []
    specifications = _specifications(document)
    for was in sorted(MEASURED.keys() & specifications.keys()):
        new = MEASURED[was].name
        if new in specifications:
            raise MetadataError(
                f"specifications.{was}", f"exists as well as specifications.{new}", _WAY_OUT
            )
        measures[f"specifications.{new}"] = _number(was, specifications[was])
        unset.append(f"specifications.{was}")
        condition[f"specifications.{was}"] = specifications[was]
        condition[f"specifications.{new}"] = {"$exists": False}
    changes: Document = {"schema_version": CURRENT}
    tags = _tags(document)
    if "category" not in document:
        changes["category"] = category_among(tags)
        condition["category"] = {"$exists": False}
    if tags != document.get("tags"):
        changes["tags"] = tags
        condition["tags"] = document.get("tags", {"$exists": False})
    if not specifications and "specifications" not in document:
        changes["specifications"] = {}
        condition["specifications"] = {"$exists": False}
    return Change(condition, {**changes, **measures}, tuple(unset))


def upgraded(document: Document) -> Document:
    """Return ``document`` in version 2, unchanged if it is of version 2 already.

    Raises ``MetadataError`` as ``plan_change`` does.
    """
    change = plan_change(document)
    return document if change is None else change.apply(document)


def read_current(
    collection: Collection[Document], product_id: int, *, write_back: bool = True
) -> Document | None:
    """Return a product's document in version 2, or ``None`` if it has none.

    With ``write_back``, a document of version 1 is also migrated in the collection.

    Raises ``MetadataError`` as ``plan_change`` does, and ``pymongo.errors.WriteError`` if the
    migrated document fails validation.
    """
    document = collection.find_one({"product_id": product_id})
    if document is None:
        return None
    change = plan_change(document)
    if change is None:
        return document
    if write_back and not collection.update_one(change.condition, change.update()).matched_count:
        # The document was changed after we read it: read it again.
        return read_current(collection, product_id, write_back=False)
    return change.apply(document)


def migrate(
    collection: Collection[Document],
    *,
    batch: int = _BATCH,
    progress: Callable[[int], None] | None = None,
) -> Migration:
    """Migrate every document of version 1, in bulk writes of ``batch`` documents.

    Documents that cannot be migrated stay as they are, and are in ``unmigrated`` with the reason.
    ``progress`` is called after each bulk write with the number of documents migrated so far.

    Raises ``pymongo.errors.PyMongoError`` if the server fails; run it again to migrate the rest.
    """
    result = Migration()
    documents = collection.find(VERSION_1, _READ, batch_size=batch)
    while window := list(islice(documents, batch)):
        planned = list(_plan_all(window, result))
        _write(collection, planned, result)
        if progress is not None:
            progress(result.migrated)
    return result


def _plan_all(documents: list[Document], result: Migration) -> Iterator[tuple[Document, Change]]:
    for document in documents:
        try:
            change = plan_change(document)
        except MetadataError as error:
            reason = f"{error.field}: {error.reason}"
            result.unmigrated.append(Unmigrated(document.get("product_id"), reason))
        else:
            if change is not None:
                yield document, change


def _write(
    collection: Collection[Document], planned: list[tuple[Document, Change]], result: Migration
) -> None:
    if not planned:
        return
    updates = [UpdateOne(change.condition, change.update()) for _, change in planned]
    try:
        result.migrated += collection.bulk_write(updates, ordered=False).modified_count
    except BulkWriteError as error:
        result.migrated += error.details["nModified"]
        for write_error in error.details["writeErrors"]:
            if write_error["code"] != VALIDATION_FAILED:
                raise
            reason = "; ".join(str(rule) for rule in read_write_error(write_error))
            product_id = planned[write_error["index"]][0].get("product_id")
            result.unmigrated.append(Unmigrated(product_id, reason or write_error["errmsg"]))


def _specifications(document: Document) -> Document:
    specifications = document.get("specifications", {})
    if not isinstance(specifications, dict):
        raise MetadataError("specifications", "is not an object", _WAY_OUT)
    return specifications


def _tags(document: Document) -> list[str]:
    tags = document.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise MetadataError("tags", "is not a list of strings", _WAY_OUT)
    return list(dict.fromkeys(tags))


def _number(was: str, value: object) -> int | float:
    unit = MEASURED[was].unit
    found = _MEASURE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2].lower() != unit.lower():
        raise MetadataError(f"specifications.{was}", f"is {value!r}, and not a number of {unit}",
                            _WAY_OUT)  # fmt: skip
    return float(found[1]) if "." in found[1] else int(found[1])


def _inside(path: str) -> str:
    return path.removeprefix("specifications.")
