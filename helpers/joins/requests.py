"""What a strategy may ask of the stores, and how it asks: without a driver, without waiting.

A strategy is a generator. It yields groups of what it wants to know, all of which may be asked at
once, and is sent their answers in the same order. Who answers, and whether somebody waits or
awaits meanwhile, is the business of ``run`` and ``run_async``: so each strategy is written once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from helpers.stores import Document

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")

#: A row of ``products``: id, name, price as text.
Row = tuple[int, str, str]


@dataclass(frozen=True)
class Request(Generic[T]):
    """One question to one store, whose answer is a ``T``."""


@dataclass(frozen=True)
class SelectProducts(Request[list[Row]]):
    """Rows of PostgreSQL in order of id: of these ids, of this category, after this id, so many.

    What is ``None`` is not asked for.
    """

    ids: Sequence[int] | None = None
    category: str | None = None
    after: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class CountProducts(Request[int]):
    """How many rows PostgreSQL has of this category, after this id."""

    category: str | None = None
    after: int | None = None


@dataclass(frozen=True)
class FindMetadata(Request[list[Document]]):
    """Documents of MongoDB that meet ``condition``: of these products, or a page of them.

    For a list of ids there may come documents of other products too, where the server finds more
    of them faster. With ``limit``, they come in order of product, from the first after ``after``.
    """

    ids: Sequence[int] | None = None
    condition: Document = field(default_factory=dict)
    after: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class CountMetadata(Request[int]):
    """How many documents of MongoDB meet ``condition``, after this product."""

    condition: Document = field(default_factory=dict)
    after: int | None = None


@dataclass(frozen=True)
class CountCategories(Request[list[tuple[str, int]]]):
    """How many rows PostgreSQL has of each category, the most frequent first: of these ids."""

    ids: Sequence[int] | None = None


@dataclass(frozen=True)
class CountValues(Request[Document]):
    """How often each tag and each value of a specification occurs in documents of MongoDB.

    Counted are those that meet ``condition``, of these products. The answer has ``tags`` (pairs of
    ``_id`` and ``count``) and ``specifications``, where ``_id`` has the name and the value.
    """

    condition: Document = field(default_factory=dict)
    ids: Sequence[int] | None = None


@dataclass(frozen=True)
class FindIds(Request[list[int]]):
    """The products whose documents in MongoDB meet ``condition``."""

    condition: Document = field(default_factory=dict)


@dataclass(frozen=True)
class ReadStock(Request[list[bytes | None]]):
    """The counts that Redis has of these products, in their order; ``None`` where it has none."""

    ids: Sequence[int]


@dataclass(frozen=True)
class FillStock(Request[Mapping[int, int | None]]):
    """The counts that the ledger has of these products. Answered with none where nobody fills."""

    ids: Sequence[int]


#: Yields groups of requests, or of strategies that run beside one another; returns a ``T``.
Strategy = Generator[Sequence[Any], Sequence[Any], T]


def ask(request: Request[T]) -> Strategy[T]:
    """Ask one question, and go on with its answer."""
    (answer,) = yield [request]
    return answer  # type: ignore[no-any-return]


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
def ask_at_once(*asked: Any) -> Strategy[tuple[Any, ...]]:
    """Ask several questions that need not wait for one another, and go on with all answers.

    A strategy among them runs beside the others, step by step.
    """
    answers = yield asked
    return tuple(answers)
