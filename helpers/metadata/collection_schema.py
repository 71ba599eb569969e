"""The collection ``productmetas``: its validator and its indexes.

A document of schema version 1 has the format of the original system and of a catalogue file:
strings such as ``"16GB"``, and any other fields. A document of version 2 has its version, its
category and that category's specifications, with numbers instead of strings. The validator accepts
both versions, so the collection can be migrated while it is in use.
"""

from __future__ import annotations

from pymongo import ASCENDING, IndexModel
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure

from helpers.catalog.categories import CATEGORIES, WHOLE, Category, Rule
from helpers.stores import Document

COLLECTION = "productmetas"

#: The current schema version; documents without a version are of version 1.
CURRENT = 2

#: How many reviews a product's document embeds; all reviews are in the collection ``reviews``.
RECENT_REVIEWS = 3

_MOST_TAGS = 30
_EXISTS = 48  # MongoDB's error code NamespaceExists

#: One index for each query of the shop: the document of a product, and a page of documents with a
#: tag. Every write updates every index, so there are no others.
INDEXES = (
    IndexModel([("product_id", ASCENDING)], unique=True),
    IndexModel([("tags", ASCENDING), ("product_id", ASCENDING)]),
)

# The types of a specification that the category does not define. A missing value is not null.
_ANY_VALUE: Rule = {"bsonType": ["string", "number", "bool", "array", "object"]}

_REVIEW: Rule = {
    "bsonType": "object",
    "required": ["customer_id", "stars", "text"],
    "properties": {
        "customer_id": {"bsonType": WHOLE},
        "stars": {"bsonType": WHOLE, "minimum": 1, "maximum": 5},
        "text": {"bsonType": "string", "maxLength": 2000},
    },
}
_RATING: Rule = {
    "bsonType": "object",
    "required": ["count", "sum", "average"],
    "properties": {
        "count": {"bsonType": WHOLE, "minimum": 0},
        "sum": {"bsonType": WHOLE, "minimum": 0},
        "average": {"bsonType": "number", "minimum": 1, "maximum": 5},
    },
}


def validator() -> Rule:
    """Return the validator of ``productmetas``: a ``$jsonSchema`` made from the categories."""
    return {
        "$jsonSchema": {
            "bsonType": "object",
            "required": ["product_id"],
            "properties": {
                "product_id": {"bsonType": WHOLE, "minimum": 1},
                "description": {"bsonType": "string"},
                "tags": {"bsonType": "array", "items": {"bsonType": "string"}},
                "specifications": {"bsonType": "object"},
            },
            "anyOf": [
                {"properties": {"schema_version": {"enum": [1]}}},
                _version_2(),
            ],
        }
    }


def prepare_metadata(database: Database[Document]) -> None:
    """Create ``productmetas``, its validator and its indexes, if they do not exist.

    Existing documents stay as they are, and are validated when they are updated.

    Raises ``pymongo.errors.OperationFailure`` if two documents have the same ``product_id``.
    """
    rule = validator()
    if COLLECTION not in database.list_collection_names():
        try:
            database.create_collection(COLLECTION, validator=rule)
        except CollectionInvalid:
            pass  # another process has created it
        except OperationFailure as error:
            if error.code != _EXISTS:
                raise
    if database[COLLECTION].options().get("validator") != rule:
        database.command("collMod", COLLECTION, validator=rule)
    database[COLLECTION].create_indexes(list(INDEXES))


def _version_2() -> Rule:
    return {
        "required": ["schema_version", "category", "tags", "specifications"],
        "properties": {
            "schema_version": {"enum": [CURRENT]},
            "category": {"bsonType": "string", "minLength": 1},
            "tags": {
                "uniqueItems": True,
                "maxItems": _MOST_TAGS,
                "items": {"bsonType": "string", "minLength": 1},
            },
            "recent_reviews": {"bsonType": "array", "maxItems": RECENT_REVIEWS, "items": _REVIEW},
            "rating": _RATING,
        },
        "anyOf": [
            *(_of_category(name, category) for name, category in CATEGORIES.items()),
            {
                "properties": {
                    "category": {"not": {"enum": list(CATEGORIES)}},
                    "specifications": {"additionalProperties": _ANY_VALUE},
                }
            },
        ],
    }


def _of_category(name: str, category: Category) -> Rule:
    return {
        "properties": {
            "category": {"enum": [name]},
            "specifications": {
                "required": [spec.name for spec in category.specifications if spec.required],
                "properties": {spec.name: spec.rule for spec in category.specifications},
                "additionalProperties": _ANY_VALUE,
            },
        }
    }
