"""Stores in memory that strategies can query, and that record the requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.joins.requests import (
    CountMetadata,
    CountProducts,
    FillStock,
    FindMetadata,
    ReadStock,
    Request,
    SelectProducts,
)
from helpers.stores import Document


@dataclass
class MemoryStores:
    """Rows by id (name, price, category), documents, and stock counts in Redis and the ledger."""

    rows: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    counts: dict[int, bytes] = field(default_factory=dict)
    ledger: dict[int, int | None] = field(default_factory=dict)
    requests: list[Request[Any]] = field(default_factory=list)

    def send(self, request: Request[Any]) -> Any:
        """Return what the stores would. Only tags of a condition are matched."""
        self.requests.append(request)
        match request:
            case SelectProducts():
                found = [
                    (product_id, *self.rows[product_id][:2])
                    for product_id in sorted(self.rows)
                    if request.ids is None or product_id in request.ids
                    if request.category in (None, self.rows[product_id][2])
                    if request.after is None or product_id > request.after
                ]
                return found[: request.limit]
            case CountProducts():
                return len(self.send(SelectProducts(None, request.category, request.after)))
            case FindMetadata():
                return self._find(request)
            case CountMetadata():
                return len(self._find(FindMetadata(None, request.condition, request.after)))
            case ReadStock():
                return [self.counts.get(product_id) for product_id in request.ids]
            case FillStock():
                return {product_id: self.ledger.get(product_id) for product_id in request.ids}
        raise AssertionError(request)

    def _find(self, request: FindMetadata) -> list[Document]:
        found = [
            dict(document)
            for document in self.documents
            if _matches(document, request.condition)
            if request.ids is None or document["product_id"] in request.ids
            if request.after is None or document["product_id"] > request.after
        ]
        if request.limit is None:
            return found
        return sorted(found, key=lambda document: int(document["product_id"]))[: request.limit]

    def kinds(self) -> list[str]:
        """Return the class names of the requests, in the order in which they were sent."""
        return [type(request).__name__ for request in self.requests]


def _matches(document: Document, condition: Document) -> bool:
    required: Any = condition.get("tags")
    if required is None:
        return True
    tags: Sequence[str] = document.get("tags", ())
    return all(
        tag in tags for tag in (required["$all"] if isinstance(required, dict) else [required])
    )
