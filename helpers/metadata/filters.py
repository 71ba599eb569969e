"""Build MongoDB filters from untrusted input, without query injection.

A JSON body may contain ``{"$gt": ""}`` instead of a string. A program that passes it on runs a
different query than the one it was written for. So only plain values and names of a known format
are accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.catalog.categories import MAX_LABEL_LENGTH, specification_name_problem
from helpers.errors import MetadataError
from helpers.stores import Document

_LARGEST = 2**63 - 1
_MOST = 20
_MOST_LEVELS = 4
_WAY_OUT = "Give a text, a number, or true or false"


@dataclass(frozen=True)
class Between:
    """A range of numbers, both ends included; ``None`` means no limit."""

    low: float | None = None
    high: float | None = None


def metadata_filter(
    *,
    category: object = None,
    tags: object = (),
    specifications: object = None,
    after: object = None,
) -> Document:
    """Return the filter for documents that match all given arguments.

    ``specifications`` maps names (``"ram_gb"``, ``"bulb.socket"``) to a value or a ``Between``;
    ``after`` is the last ``product_id`` of the previous page. The arguments may be untrusted.

    Raises ``MetadataError`` for anything that is not a plain value.
    """
    condition: Document = {}
    if category is not None:
        condition["category"] = _text("category", category)
    if texts := _tags(tags):
        condition["tags"] = texts[0] if len(texts) == 1 else {"$all": texts}
    for name, value in _specifications(specifications):
        condition[f"specifications.{name}"] = value
    if after is not None:
        condition["product_id"] = {"$gt": _whole("after", after)}
    return condition


def is_filter(**conditions: Any) -> bool:
    """Return whether ``metadata_filter`` accepts these arguments."""
    try:
        metadata_filter(**conditions)
    except MetadataError:
        return False
    return True


def _tags(tags: object) -> list[str]:
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise MetadataError("tags", "is not a list", "Give a list of strings")
    if len(tags) > _MOST:
        raise MetadataError("tags", f"has more than {_MOST}", "Ask for fewer at a time")
    return [_text(f"tags.{index}", tag) for index, tag in enumerate(tags)]


def _specifications(specifications: object) -> list[tuple[str, object]]:
    if specifications is None:
        return []
    if not isinstance(specifications, Mapping):
        raise MetadataError("specifications", "is not an object", "Give names and values")
    if len(specifications) > _MOST:
        raise MetadataError("specifications", f"has more than {_MOST}", "Ask for fewer at a time")
    conditions: list[tuple[str, object]] = []
    for name, value in specifications.items():
        if not isinstance(name, str) or not _is_name(name):
            raise MetadataError(
                "specifications",
                f"has the name {str(name)[:40]!r}, which no specification has",
                "Names start with a letter or a digit, with a dot between levels",
            )
        conditions.append((name, _condition(f"specifications.{name}", value)))
    return conditions


def _is_name(name: str) -> bool:
    levels = name.split(".")
    return len(levels) <= _MOST_LEVELS and not any(map(specification_name_problem, levels))


def _condition(field: str, value: object) -> object:
    if isinstance(value, Between):
        ends = {"$gte": value.low, "$lte": value.high}
        kept = {sign: _number(field, end) for sign, end in ends.items() if end is not None}
        if not kept:
            raise MetadataError(field, "is a range without ends", "Give one of its ends, or both")
        return kept
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(field, value)
    return _text(field, value)


def _text(field: str, value: object) -> str:
    # Not a subclass: that might be encoded as a different BSON type.
    if type(value) is not str:
        raise MetadataError(field, f"is a {type(value).__name__}, and not a plain value", _WAY_OUT)
    if not value or len(value) > MAX_LABEL_LENGTH:
        raise MetadataError(field, f"is empty or longer than {MAX_LABEL_LENGTH}", _WAY_OUT)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MetadataError(field, "has half of a surrogate pair", _WAY_OUT) from None
    return value


def _number(field: str, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(field, f"is a {type(value).__name__}, and not a number", _WAY_OUT)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise MetadataError(field, "is not a number that can be stored", _WAY_OUT)
    return value


def _whole(field: str, value: object) -> int:
    number = _number(field, value)
    if not isinstance(number, int):
        raise MetadataError(field, "is not a whole number", "Give the last product_id")
    return number
