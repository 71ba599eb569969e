"""A teacher's own catalogue: a JSON Lines file, one product per line in the API's own shape.

Each line is an object with ``id``, ``name``, ``price``, ``category``, ``metadata`` (or null) and
``stock`` (or null). Every line is checked before any is loaded, and every problem is reported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
from bson.errors import BSONError

from helpers.catalog.categories import UNCATEGORISED
from helpers.catalog.model import Product
from helpers.errors import CatalogError, CourseError, Problem

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LARGEST_ID = 2**63 - 1
_LARGEST_STOCK = 2**63 - 1
_LARGEST_PRICE = Decimal(10) ** 15
_MOST_DECIMALS = 10
_DEEPEST = 90  # MongoDB stores 100 levels, some of which are ours
_LARGEST_DOCUMENT = 16 * 1024 * 1024 - 1024  # MongoDB stores 16 MiB, some of which are ours
_RESERVED = ("_id", "product_id", "schema_version")


def read_catalog(path: Path) -> list[Product]:
    """Read and check a catalogue file.

    Raises ``CatalogError`` with every problem of every line, or ``CourseError`` when the file
    itself cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CourseError(
            f"The catalogue {path} cannot be read: {(error.strerror or str(error)).lower()}. "
            "Check its name and its permissions."
        ) from None
    products: list[Product] = []
    problems: list[Problem] = []
    seen: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        checks = _Checks(number)
        product = checks.product(line)
        if checks.identifier in seen:
            checks.wrong("id", f"{checks.identifier} is on line {seen[checks.identifier]} already")
        elif checks.identifier is not None:
            seen[checks.identifier] = number
        problems += checks.problems
        products += [product] if product else []
    if problems:
        raise CatalogError(path.name, problems)
    return products


class _Checks:
    """The checks of one line. They collect every problem instead of stopping at the first."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.identifier: int | None = None
        self.problems: list[Problem] = []

    def wrong(self, field: str, reason: str) -> None:
        self.problems.append(Problem(self.line, field, reason))

    def product(self, line: bytes) -> Product | None:
        """Return the line's product, or ``None`` when the line is no product at all."""
        record = self._record(line)
        if record is None:
            return None
        self.identifier = self._identifier(record)
        return Product(
            self.identifier or 0,
            self._text(record, "name", default=""),
            self._price(record),
            self._text(record, "category", default=UNCATEGORISED),
            self._metadata(record),
            self._stock(record),
        )

    def _record(self, line: bytes) -> dict[str, Any] | None:
        try:
            # A file from a spreadsheet may begin with a byte order mark.
            text = line.decode("utf-8-sig" if self.line == 1 else "utf-8")
            record = json.loads(text, parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            self.wrong("line", f"is not UTF-8 text (byte {error.start + 1})")
        except json.JSONDecodeError as error:
            self.wrong("line", f"is not JSON: {error.msg} at column {error.colno}")
        except (ValueError, RecursionError) as error:
            self.wrong("line", f"is not JSON that can be stored: {error}")
        else:
            if isinstance(record, dict):
                return record
            self.wrong("line", "is not a JSON object")
        return None

    def _identifier(self, record: dict[str, Any]) -> int | None:
        value = record.get("id")
        if value is None:
            self.wrong("id", "is missing")
        elif not _is_integer(value) or not 1 <= value <= _LARGEST_ID:
            self.wrong("id", f"must be a whole number from 1 to {_LARGEST_ID}, not {_shown(value)}")
        else:
            return int(value)
        return None

    def _text(self, record: dict[str, Any], field: str, *, default: str) -> str:
        value = record.get(field)
        if value is None and default:
            return default
        if value is None or value == "":
            self.wrong(field, "is missing" if value is None else "is empty")
        elif not isinstance(value, str):
            self.wrong(field, f"must be a text, not {_shown(value)}")
        elif reason := _unstorable(value):
            self.wrong(field, reason)
        else:
            return value
        return default

    def _price(self, record: dict[str, Any]) -> Decimal:
        value = record.get("price")
        price = Decimal(0)
        if value is None:
            self.wrong("price", "is missing")
        elif isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
            self.wrong("price", f"must be a number, not {_shown(value)}")
        else:
            # The text of a float is the number as it was written: 9.99, not 9.9900000000000002.
            price = Decimal(str(value))
            if not abs(price) < _LARGEST_PRICE:
                self.wrong("price", f"must be below {_LARGEST_PRICE}, not {_shown(value)}")
            elif price < 0:
                self.wrong("price", f"must not be negative, but is {_shown(value)}")
            elif _decimals(price) > _MOST_DECIMALS:
                self.wrong("price", f"must have {_MOST_DECIMALS} decimals or fewer")
        return price or Decimal(0)  # and not -0

    def _stock(self, record: dict[str, Any]) -> int | None:
        value = record.get("stock")
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit():
            value = int(value) if len(value) < 30 else math.inf
        if not _is_integer(value) or not 0 <= value <= _LARGEST_STOCK:
            shown = _shown(record["stock"])
            self.wrong("stock", f"must be a whole number, 0 or more, not {shown}")
            return None
        return int(value)

    def _metadata(self, record: dict[str, Any]) -> dict[str, Any] | None:
        value = record.get("metadata")
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong("metadata", f"must be an object or null, not {_shown(value)}")
            return None
        for key in _RESERVED:
            if key in value:
                self.wrong(f"metadata.{key}", "is a name that the shop keeps for itself")
        self._metadata_shape(value)
        reasons = list(_unstorable_parts(value, "metadata", 1))
        for field, reason in reasons:
            self.wrong(field, reason)
        if not reasons:
            try:
                size = len(bson.encode(value))
            except (BSONError, OverflowError, ValueError) as error:
                self.wrong("metadata", f"cannot be stored: {error}")
            else:
                if size > _LARGEST_DOCUMENT:
                    self.wrong("metadata", f"is too large to store ({size} bytes)")
        return value

    def _metadata_shape(self, metadata: dict[str, Any]) -> None:
        description = metadata.get("description", "")
        if not isinstance(description, str):
            self.wrong("metadata.description", f"must be a text, not {_shown(description)}")
        tags = metadata.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            self.wrong("metadata.tags", "must be a list of texts")
        specifications = metadata.get("specifications", {})
        if not isinstance(specifications, dict):
            self.wrong("metadata.specifications", "must be an object")


def _unstorable_parts(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield path and reason of each part of a metadata value that MongoDB does not store."""
    if depth > _DEEPEST:
        yield path, f"is nested more than {_DEEPEST} levels deep"
    elif isinstance(value, dict):
        for key, part in value.items():
            inside = f"{path}.{_printable(key)}"
            if reason := _unstorable_name(key):
                yield inside, reason
            yield from _unstorable_parts(part, inside, depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _unstorable_parts(part, f"{path}.{index}", depth + 1)
    elif reason := _unstorable_scalar(value):
        yield path, reason


def _unstorable_name(name: str) -> str | None:
    if name.startswith("$"):
        return "is a name that begins with $, which MongoDB keeps for its operators"
    reason = _unstorable(name)
    return reason and f"is a name that {reason}"


def _unstorable_scalar(value: object) -> str | None:
    if isinstance(value, str):
        return _unstorable(value.replace("\0", ""))  # MongoDB allows a NUL in a text, not in a name
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is beyond 64 bits"
    return None


def _unstorable(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair"
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _decimals(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _shown(value: object) -> str:
    """Return a value as the file has it, cut short and fit for a terminal."""
    text = _printable(json.dumps(value))
    return text if len(text) <= 40 else f"{text[:37]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
