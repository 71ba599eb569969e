"""Reviews by the subset pattern: all in a collection of their own, the newest with the product.

The product's document also holds the rating, computed when a review is written, since it is read
far more often. Every change of a document is one atomic update.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from helpers.errors import MetadataError
from helpers.metadata.collection_schema import COLLECTION, RECENT_REVIEWS
from helpers.stores import Document

REVIEWS = "reviews"


@dataclass(frozen=True)
class Review:
    """What a customer thinks of a product; ``stars`` from 1 to 5."""

    customer_id: int
    stars: int
    text: str


def prepare_reviews(database: Database[Document]) -> None:
    """Create the index of ``reviews``: each customer reviews a product once."""
    keys = [("product_id", ASCENDING), ("customer_id", ASCENDING)]
    database[REVIEWS].create_index(keys, unique=True)


def add_review(database: Database[Document], product_id: int, review: Review) -> Document:
    """Record a review, and bring the product's newest reviews and its rating up to date.

    Returns the product's document. The review is recorded first: where the second step is cut
    off, ``recompute_ratings`` completes it.

    Raises ``MetadataError`` where the product has no document or the review is not one, and
    ``pymongo.errors.DuplicateKeyError`` where this customer has reviewed this product before.
    """
    _check(review)
    products = database[COLLECTION]
    if products.find_one({"product_id": product_id}, {"_id": 1}) is None:
        raise _unknown(product_id)
    database[REVIEWS].insert_one({"product_id": product_id, **asdict(review)})
    changed = products.find_one_and_update(
        {"product_id": product_id}, review_update(review), return_document=True
    )
    if changed is None:
        raise _unknown(product_id)
    return changed


def review_update(review: Review) -> list[Document]:
    """Return the update of a product's document: a pipeline, computed from what is there.

    ``$literal`` keeps the customer's text a text: in a pipeline, one that begins with a dollar
    sign would be read as the name of a field.
    """
    count = {"$add": [{"$ifNull": ["$rating.count", 0]}, 1]}
    total = {"$add": [{"$ifNull": ["$rating.sum", 0]}, {"$literal": review.stars}]}
    newest = [{"$literal": asdict(review)}]
    known = {"$ifNull": ["$recent_reviews", []]}
    return [
        {
            "$set": {
                "rating": {"count": count, "sum": total, "average": {"$divide": [total, count]}},
                "recent_reviews": {"$slice": [{"$concatArrays": [newest, known]}, RECENT_REVIEWS]},
            }
        }
    ]


def recompute_ratings(database: Database[Document]) -> int:
    """Bring every rating in line with the reviews; return how many documents that changed."""
    groups = database[REVIEWS].aggregate(
        [
            {"$sort": {"_id": -1}},
            {
                "$group": {
                    "_id": "$product_id",
                    "count": {"$sum": 1},
                    "sum": {"$sum": "$stars"},
                    "reviews": {
                        "$push": {"customer_id": "$customer_id", "stars": "$stars", "text": "$text"}
                    },
                }
            },
            {"$set": {"reviews": {"$slice": ["$reviews", RECENT_REVIEWS]}}},
        ]
    )
    updates = [
        UpdateOne(
            {"product_id": group["_id"]},
            {
                "$set": {
                    "rating": {
                        "count": group["count"],
                        "sum": group["sum"],
                        "average": group["sum"] / group["count"],
                    },
                    "recent_reviews": group["reviews"],
                }
            },
        )
        for group in groups
    ]
    if not updates:
        return 0
    return database[COLLECTION].bulk_write(updates, ordered=False).modified_count


def add_tags(collection: Collection[Document], product_id: int, tags: Iterable[str]) -> bool:
    """Add tags that the product does not have yet; return whether anything changed."""
    update = {"$addToSet": {"tags": {"$each": list(tags)}}}
    return collection.update_one({"product_id": product_id}, update).modified_count == 1


def remove_tags(collection: Collection[Document], product_id: int, tags: Iterable[str]) -> bool:
    """Remove tags from the product; return whether anything changed."""
    update = {"$pull": {"tags": {"$in": list(tags)}}}
    return collection.update_one({"product_id": product_id}, update).modified_count == 1


def newest_reviews(
    database: Database[Document], product_id: int, *, skip: int, size: int
) -> list[Document]:
    """Return a page of a product's reviews, the newest first (their ids begin with the time)."""
    cursor = database[REVIEWS].find({"product_id": product_id})
    return list(cursor.sort("_id", DESCENDING).skip(skip).limit(size))


def _check(review: Review) -> None:
    stars: Any = review.stars
    if type(stars) is not int or not 1 <= stars <= 5:
        raise MetadataError("stars", f"is {stars!r}", "Give 1, 2, 3, 4 or 5")
    if type(review.text) is not str or type(review.customer_id) is not int:
        raise MetadataError("review", "has a text or a customer that is none", "Give plain values")


def _unknown(product_id: int) -> MetadataError:
    return MetadataError(
        "product_id", f"{product_id} has no document in {COLLECTION}", "Load the product first"
    )
