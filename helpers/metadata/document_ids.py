"""Whose a document is: MongoDB takes anything for a ``product_id``, and not all of it is one."""

from __future__ import annotations

from collections.abc import Iterable

from bson import Int64

from helpers.stores import Document

_NUMBERS = {int, Int64, float}


def product_id_of(document: Document) -> int | float | None:
    """Return the number of the product that a document belongs to; ``None`` where it says none.

    What is no number is no product's: True would be taken for product 1, and a list has no hash.
    """
    found = document.get("product_id")
    return found if type(found) in _NUMBERS else None


def product_ids_of(documents: Iterable[Document]) -> list[int]:
    """Return the products that documents belong to, each once and in order of id."""
    numbers = map(product_id_of, documents)
    return sorted({int(one) for one in numbers if one is not None and one == int(one)})
