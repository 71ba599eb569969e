"""The requests that a strategy sends to the stores, as values: no driver, no waiting.

A strategy is a generator. It yields groups of requests that may run concurrently, and receives
their results in the same order. ``executor`` runs strategies, blocking or in an event loop, so that
each strategy is written once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, overload

from helpers.errors import StoreName
from helpers.stores import Document

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")

#: A row of ``products``: id, name, and price as a string.
Row = tuple[int, str, str]


@dataclass(frozen=True)
class Request(Generic[T]):
    """One request to ``store``, whose result is a ``T``. ``name`` is what a trace calls it."""

    store: ClassVar[StoreName]
    name: ClassVar[str]

    def __init_subclass__(cls, *, store: StoreName, name: str) -> None:
        cls.store, cls.name = store, name


@dataclass(frozen=True)
class SelectProducts(Request[list[Row]], store="PostgreSQL", name="SELECT"):
    """Select rows from PostgreSQL, ordered by id. A filter that is ``None`` does not apply.

    ``after`` is an exclusive lower bound on the id, ``last`` an inclusive upper bound.
    """

    ids: Sequence[int] | None = None
    category: str | None = None
    after: int | None = None
    limit: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class CountProducts(Request[int], store="PostgreSQL", name="count"):
    """Count the rows in PostgreSQL with this category and an id above ``after``."""

    category: str | None = None
    after: int | None = None


@dataclass(frozen=True)
class FindMetadata(Request[list[Document]], store="MongoDB", name="find"):
    """Find documents in MongoDB that match ``condition``, for given products or for a page.

    With ``ids``, the result may include documents of other products, if the server finds a range
    faster than a list. With ``limit``, documents are ordered by product id and start after
    ``after``.
    """

    ids: Sequence[int] | None = None
    condition: Document = field(default_factory=dict)
    after: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class CountMetadata(Request[int], store="MongoDB", name="count"):
    """Count the documents in MongoDB that match ``condition`` with a product id above ``after``."""

    condition: Document = field(default_factory=dict)
    after: int | None = None


@dataclass(frozen=True)
class CountCategories(Request[list[tuple[str, int]]], store="PostgreSQL", name="count"):
    """Count the rows in PostgreSQL per category, most frequent first, optionally of these ids."""

    ids: Sequence[int] | None = None


@dataclass(frozen=True)
class CountValues(Request[Document], store="MongoDB", name="aggregate"):
    """Count in MongoDB how often each tag and each specification value occurs.

    Only documents that match ``condition`` are counted, optionally of these products. The result
    has ``tags`` (pairs of ``_id`` and ``count``) and ``specifications``, whose ``_id`` holds the
    name and the value.
    """

    condition: Document = field(default_factory=dict)
    ids: Sequence[int] | None = None


@dataclass(frozen=True)
class FindIds(Request[list[int]], store="MongoDB", name="find"):
    """Find the ids of the products whose documents in MongoDB match ``condition``."""

    condition: Document = field(default_factory=dict)


@dataclass(frozen=True)
class ReadStock(Request[list[bytes | None]], store="Redis", name="MGET"):
    """Read the stock counts of these products from Redis, in order; ``None`` for a missing key."""

    ids: Sequence[int]


@dataclass(frozen=True)
class FillStock(Request[Mapping[int, int | None]], store="PostgreSQL", name="ledger"):
    """Read the stock counts of these products from the ledger; empty if there is no ledger."""

    ids: Sequence[int]


#: Yields groups of requests and of strategies to run concurrently; returns a ``T``.
Strategy = Generator[Sequence[Any], Sequence[Any], T]


def ask(request: Request[T]) -> Strategy[T]:
    """Send one request and return its result."""
    (result,) = yield [request]
    return result  # type: ignore[no-any-return]


@overload
def ask_at_once(
    first: Request[A] | Strategy[A], second: Request[B] | Strategy[B], /
) -> Strategy[tuple[A, B]]: ...
@overload
def ask_at_once(
    first: Request[A] | Strategy[A],
    second: Request[B] | Strategy[B],
    third: Request[C] | Strategy[C],
    /,
) -> Strategy[tuple[A, B, C]]: ...
def ask_at_once(*group: Any) -> Strategy[tuple[Any, ...]]:
    """Send several requests concurrently and return all results.

    A strategy in the group runs step by step, concurrently with the other members.
    """
    results = yield group
    return tuple(results)
