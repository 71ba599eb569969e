"""Reviews by the subset pattern: all of them in a collection, the newest in the product's document.

The product's document also has the rating. It is computed when a review is written, because it is
read far more often. Every change of a document is one atomic update.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pymongo import ASCENDING
from pymongo.database import Database

from helpers.errors import MetadataError
from helpers.metadata.collection_schema import COLLECTION, RECENT_REVIEWS
from helpers.stores import Document

REVIEWS = "reviews"


@dataclass(frozen=True)
class Review:
    """A customer's review of a product, with 1 to 5 ``stars``."""

    customer_id: int
    stars: int
    text: str


def prepare_reviews(database: Database[Document]) -> None:
    """Create the unique index of ``reviews``: each customer reviews a product once."""
    keys = [("product_id", ASCENDING), ("customer_id", ASCENDING)]
    database[REVIEWS].create_index(keys, unique=True)


def add_review(database: Database[Document], product_id: int, review: Review) -> Document:
    """Insert a review, and update the newest reviews and the rating in the product's document.

    Returns the product's document. These are two writes: if the second fails, the rating lacks
    this review.

    Raises ``MetadataError`` if the product has no document or the review is invalid, and
    ``pymongo.errors.DuplicateKeyError`` if this customer has already reviewed this product.
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
    """Return the update of a product's document: a pipeline that uses the document's values.

    ``$literal`` protects the customer's text: in a pipeline, a string that starts with a dollar
    sign is the name of a field.
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


def _check(review: Review) -> None:
    stars: Any = review.stars
    if type(stars) is not int or not 1 <= stars <= 5:
        raise MetadataError("stars", f"is {stars!r}", "Give 1, 2, 3, 4 or 5")
    if type(review.text) is not str or type(review.customer_id) is not int:
        raise MetadataError("review", "has an invalid text or customer", "Give plain values")


def _unknown(product_id: int) -> MetadataError:
    return MetadataError(
        "product_id", f"{product_id} has no document in {COLLECTION}", "Load the product first"
    )
