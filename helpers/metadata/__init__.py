"""Product metadata in MongoDB: validation, schema versions, filters, facets, reviews, plans."""

from helpers.metadata.collection_schema import prepare_metadata, validator
from helpers.metadata.facets import facets
from helpers.metadata.filters import metadata_filter
from helpers.metadata.mongo_plans import DocumentPlan, explain_find
from helpers.metadata.reviews import Review, add_review, prepare_reviews, review_update
from helpers.metadata.schema_versions import migrate, plan_change, read_current
from helpers.metadata.validation_errors import broken_rules

__all__ = [
    "DocumentPlan",
    "Review",
    "add_review",
    "broken_rules",
    "explain_find",
    "facets",
    "metadata_filter",
    "migrate",
    "plan_change",
    "prepare_metadata",
    "prepare_reviews",
    "read_current",
    "review_update",
    "validator",
]
