"""What is asked of the shop: which products, and which page of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from helpers import validation
from helpers.catalog.model import ProductJSON
from helpers.errors import QueryError, StockError
from helpers.metadata.filters import metadata_filter
from helpers.stores import Document

#: The most products on a page, and the most ids that a query names.
MOST = 1000

_LONGEST = 200


@dataclass(frozen=True)
class Query:
    """A page of the products that meet all of these; whatever is left out is not asked for.

    ``category`` is PostgreSQL's, ``tags`` and ``specifications`` are MongoDB's (a specification is
    a value or a ``Between``), ``in_stock`` is Redis's: with it, only products of which units are
    known to be available. ``after`` is the last id of the page before, ``limit`` the most products
    on a page (1 to 1,000).

    The arguments may be anything that came from outside. Raises ``QueryError`` where one is not
    what it must be, ``MetadataError`` for a tag or a specification. Equal queries have equal
    answers, and equal hashes.
    """

    ids: Sequence[int] | None = None
    category: str | None = None
    tags: Sequence[str] = ()
    specifications: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)
    in_stock: bool = False
    after: int | None = None
    limit: int = 24
    # Texts tell 1, 1.0 and True apart, which Python holds for equal and MongoDB does not.
    _specifications: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(_ids(self.ids)))
        if self.category is not None:
            _check_text("category", self.category)
        metadata_filter(tags=self.tags, specifications=self.specifications)
        object.__setattr__(self, "tags", tuple(self.tags))
        kept = MappingProxyType(dict(self.specifications or {}))
        object.__setattr__(self, "specifications", kept)
        object.__setattr__(self, "_specifications", repr(sorted(kept.items(), key=_name)))
        if type(self.in_stock) is not bool:
            raise QueryError("in_stock", "is neither true nor false", "Give one of both")
        if self.after is not None:
            _check_whole("after", self.after, least=0, most=validation.LARGEST_ID)
        _check_whole("limit", self.limit, least=1, most=MOST)

    def condition(self) -> Document:
        """Return the condition for MongoDB; empty where tags and specifications do not matter."""
        return metadata_filter(tags=self.tags, specifications=self.specifications)


@dataclass(frozen=True)
class Choice:
    """Which store is asked first, and why."""

    first: str
    reason: str

    def __str__(self) -> str:
        return f"{self.first} first: {self.reason}"


@dataclass(frozen=True)
class Page:
    """One page of products, in order of id.

    ``next`` is what the next page is to be asked ``after``; ``None`` where this is the last one.
    ``choice`` is how it was found.
    """

    products: list[ProductJSON]
    next: int | None
    choice: Choice


def _ids(values: object) -> list[int]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise QueryError("ids", "is not a list", "Give a list of product ids")
    listed = list(values)
    if len(listed) > MOST:
        raise QueryError("ids", f"names more than {MOST}", "Ask for fewer at a time")
    try:
        return sorted(validation.product_ids(listed))
    except StockError as error:
        raise QueryError("ids", "has what is no product id", str(error)) from None


def _check_text(name: str, value: object) -> None:
    if type(value) is not str or not value or len(value) > _LONGEST:
        raise QueryError(name, f"is no text of 1 to {_LONGEST} characters", "Give one")
    if "\0" in value or not value.isprintable():
        raise QueryError(name, "has characters that cannot be printed", "Leave them out")


def _check_whole(name: str, value: object, *, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise QueryError(name, f"is {value!r:.60}", f"Give a whole number from {least} to {most}")


def _name(pair: tuple[str, object]) -> str:
    return pair[0]
