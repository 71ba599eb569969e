"""Read the ``product_id`` of documents: MongoDB may store values of any type there."""

from __future__ import annotations

from collections.abc import Iterable

from bson import Int64

from helpers.stores import Document

_NUMBERS = {int, Int64, float}


def product_id_of(document: Document) -> int | float | None:
    """Return a document's ``product_id`` if it is a number, otherwise ``None``.

    Other types are excluded because ``True`` equals 1, and because a list is not hashable.
    """
    found = document.get("product_id")
    return found if type(found) in _NUMBERS else None


def product_ids_of(documents: Iterable[Document]) -> list[int]:
    """Return the integers among the documents' product ids, each once and sorted."""
    numbers = map(product_id_of, documents)
    return sorted({int(n) for n in numbers if n is not None and n == int(n)})
