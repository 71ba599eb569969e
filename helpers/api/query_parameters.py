"""What stands behind the question mark, made into a query: strictly, so that no filter is lost.

A parameter that is misspelt would otherwise be left out without a word, and everything shown in
place of what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from helpers import validation
from helpers.api.cursors import decode
from helpers.errors import MetadataError, QueryError, StockError
from helpers.joins import Query
from helpers.metadata.filters import Between

#: The header with the client's own name for an order.
KEY_HEADER = "Idempotency-Key"

_PREFIX = "spec."
_PAGE = frozenset({"ids", "category", "tag", "in_stock", "limit", "cursor"})
_FACETS = frozenset({"category", "tag"})
_MOST = 100

_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?", re.ASCII)
_FLAGS = {"true": True, "false": False}

Pairs = list[tuple[str, str]]


def read_pairs(query_string: bytes) -> Pairs:
    """Return names and values. Raises ``QueryError`` where they are no UTF-8, or too many."""
    try:
        return parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST,
        )
    except UnicodeError:
        raise QueryError(
            "the query", "is no UTF-8, percent-encoded", "Encode it, as encodeURIComponent does"
        ) from None
    except ValueError:
        raise QueryError("the query", f"has more than {_MOST} parameters", "Give fewer") from None


def page_query(pairs: Pairs) -> Query:
    """Return the query of a page of products. Raises ``QueryError`` for whatever is wrong."""
    return _query(pairs, _PAGE)


def facets_query(pairs: Pairs) -> Query:
    """Return the query whose products are to be counted. Raises ``QueryError``."""
    return _query(pairs, _FACETS)


def no_query(pairs: Pairs) -> None:
    """Raise ``QueryError`` where there is any parameter."""
    for name, _ in pairs:
        raise _unknown(name, ())


def order_key(values: Sequence[str]) -> str | None:
    """Return the key for an order, of the values of the header; ``None`` where there is none.

    Raises ``QueryError`` where it is given more than once, or is no key.
    """
    if not values:
        return None
    if len(values) > 1:
        raise QueryError(KEY_HEADER, "is given more than once", "Give it once")
    try:
        return validation.token(values[0])
    except StockError:
        raise QueryError(
            KEY_HEADER,
            f"is {values[0][:70]!r}, which is no key",
            "Give up to 64 letters, digits, hyphens or underscores",
        ) from None


def path_id(text: str) -> int | None:
    """Return the id in a path; ``None`` where it can be no product's and no order's."""
    number = int(text) if _WHOLE.fullmatch(text) else 0
    return number if 0 < number < 2**63 else None


def _query(pairs: Pairs, known: frozenset[str]) -> Query:
    tags: list[str] = []
    specifications: dict[str, Any] = {}
    others: dict[str, str] = {}
    for name, value in pairs:
        if name == "tag":
            tags.append(value)
            continue
        specification = name.removeprefix(_PREFIX)
        if specification == name and name not in known:
            raise _unknown(name, known)
        if name in others or specification in specifications:
            raise QueryError(name[:60], "is given more than once", "Give it once")
        if specification != name:
            specifications[specification] = specification_value(name, value)
        else:
            others[name] = value
    try:
        return Query(
            category=others.get("category"),
            tags=tags,
            specifications=specifications,
            **_parsed(others),
        )
    except MetadataError as error:
        name = error.field.replace("specifications", "spec").replace("tags", "tag")
        raise QueryError(name, error.reason, error.way_out) from None


def _parsed(others: dict[str, str]) -> dict[str, Any]:
    """Return those arguments of a query that are no texts."""
    found: dict[str, Any] = {}
    if "ids" in others:
        found["ids"] = [_whole("ids", text) for text in others["ids"].split(",") if others["ids"]]
    if "limit" in others:
        found["limit"] = _whole("limit", others["limit"])
    if "cursor" in others:
        found["after"] = decode(others["cursor"])
    if "in_stock" in others:
        if others["in_stock"] not in _FLAGS:
            raise QueryError("in_stock", "is neither true nor false", "Give one of both")
        found["in_stock"] = _FLAGS[others["in_stock"]]
    return found


def specification_value(name: str, text: str) -> object:
    """Return what ``spec.<name>=text`` asks for.

    A number, ``true`` or ``false``; a range of numbers, ``8..32``, whose ends may be left out; all
    else is a text, and what stands in quotation marks is one in any case. Raises ``QueryError``.
    """
    if text in _FLAGS:
        return _FLAGS[text]
    if _NUMBER.fullmatch(text):
        return _number(text)
    low, dots, high = text.partition("..")
    if dots and (low or high) and all(_NUMBER.fullmatch(end) for end in (low, high) if end):
        return Between(*(_number(end) if end else None for end in (low, high)))
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise QueryError(name[:60], "has no value", "Give one, or leave it out")
    return text


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise QueryError(name, f"has {text[:40]!r}, which is no whole number", "Give digits alone")
    return int(text)


def _unknown(name: str, known: Iterable[str]) -> QueryError:
    names = [*sorted(known), f"{_PREFIX}<name>"] if known else []
    way_out = f"Known are {', '.join(names)}" if names else "There is none here"
    return QueryError("the query", f"has the unknown parameter {name[:40]!r}", way_out)
