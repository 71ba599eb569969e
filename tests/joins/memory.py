"""Three stores in memory, for strategies to ask: what each has, and what it was asked."""

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
    """``rows`` by id (name, price, category), documents, counts by id, and counts of the ledger."""

    rows: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    counts: dict[int, bytes] = field(default_factory=dict)
    ledger: dict[int, int | None] = field(default_factory=dict)
    asked: list[Request[Any]] = field(default_factory=list)

    def answer(self, request: Request[Any]) -> Any:
        """Answer as the stores do. Documents meet a condition by their tags alone."""
        self.asked.append(request)
        match request:
            case SelectProducts():
                found = [
                    (one, *self.rows[one][:2])
                    for one in sorted(self.rows)
                    if request.ids is None or one in request.ids
                    if request.category in (None, self.rows[one][2])
                    if request.after is None or one > request.after
                ]
                return found[: request.limit]
            case CountProducts():
                return len(self.answer(SelectProducts(None, request.category, request.after)))
            case FindMetadata():
                return self._find(request)
            case CountMetadata():
                return len(self._find(FindMetadata(None, request.condition, request.after)))
            case ReadStock():
                return [self.counts.get(one) for one in request.ids]
            case FillStock():
                return {one: self.ledger.get(one) for one in request.ids}
        raise AssertionError(request)

    def _find(self, request: FindMetadata) -> list[Document]:
        found = [
            dict(document)
            for document in self.documents
            if _meets(document, request.condition)
            if request.ids is None or document["product_id"] in request.ids
            if request.after is None or document["product_id"] > request.after
        ]
        if request.limit is None:
            return found
        return sorted(found, key=lambda one: int(one["product_id"]))[: request.limit]

    def kinds(self) -> list[str]:
        """Return the kinds of requests, in the order in which they were asked."""
        return [type(request).__name__ for request in self.asked]


def _meets(document: Document, condition: Document) -> bool:
    wanted: Any = condition.get("tags")
    if wanted is None:
        return True
    tags: Sequence[str] = document.get("tags", ())
    return all(tag in tags for tag in (wanted["$all"] if isinstance(wanted, dict) else [wanted]))
