"""Import a teacher's own catalogue: a JSON Lines file, one product per line.

Each line is an object as ``GET /api/products`` returns it, with ``id``, ``name``, ``price``,
``category`` (or null), ``metadata`` (or null) and ``stock`` (or null). All lines are validated
before any is loaded, and every problem is reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import bson
from bson.errors import BSONError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails

from helpers.catalog.categories import UNCATEGORISED, category_problem
from helpers.catalog.model import Product
from helpers.errors import CatalogError, CatalogProblem, CourseError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_LARGEST_BIGINT = 2**63 - 1
_LARGEST_PRICE = 10**15
_MAX_DEPTH = 90  # MongoDB stores 100 levels; the shop adds some
_MAX_BYTES = 16 * 1024 * 1024 - 1024  # MongoDB stores 16 MiB; the shop adds some fields
_SHOP_FIELDS = ("_id", "product_id", "schema_version")


def _text_problem(text: str) -> str | None:
    """Return why a database cannot store this text, or ``None`` if it can."""
    if "\0" in text:
        return "has a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair"
    return None


def _storable(value: object) -> object:
    if isinstance(value, str) and (problem := _text_problem(value)):
        raise ValueError(problem)
    return value


def _category(value: object) -> object:
    if isinstance(value, str) and (problem := category_problem(value)):
        raise ValueError(problem)
    return value


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        raise ValueError("should be a valid number")
    # ``str`` of a float is the number as the file has it: 9.99, not 9.9900000000000002.
    return Decimal(str(value)) or Decimal(0)  # no -0


def _integer(value: object) -> object:
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value


_Text = Annotated[str, Field(min_length=1), BeforeValidator(_storable)]


class _Line(BaseModel):
    """One line of the file, without its nulls."""

    model_config = ConfigDict(strict=True)

    id: Annotated[int, Field(ge=1, le=_LARGEST_BIGINT)]
    name: _Text
    price: Annotated[
        Decimal, BeforeValidator(_decimal), Field(ge=0, lt=_LARGEST_PRICE, decimal_places=10)
    ]
    category: Annotated[str, BeforeValidator(_category)] = UNCATEGORISED
    metadata: dict[str, Any] | None = None
    stock: Annotated[int, BeforeValidator(_integer), Field(ge=0, le=_LARGEST_BIGINT)] | None = None


class _Metadata(BaseModel):
    """The fields of a document that the shop uses; it may have others."""

    model_config = ConfigDict(strict=True)

    description: str = ""
    tags: list[str] = []
    specifications: dict[str, Any] = {}


def read_catalog(path: Path) -> list[Product]:
    """Read and validate a catalogue file.

    Raises ``CatalogError`` with every problem of every line, or ``CourseError`` if the file cannot
    be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CourseError(
            f"The catalogue {path} cannot be read: {(error.strerror or str(error)).lower()}. "
            "Check its name and its permissions."
        ) from None
    products: list[Product] = []
    problems: list[CatalogProblem] = []
    line_of_id: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found: list[tuple[str, str]] = []
        try:
            record = _parse(line, is_first=number == 1)
        except ValueError as error:
            found = [("line", str(error))]
        else:
            found = list(_problems(record))
            if all(field != "id" for field, _ in found):
                first = line_of_id.setdefault(record["id"], number)
                if first != number:
                    found.append(("id", f"{record['id']} is on line {first} already"))
            if not found:
                products.append(_product(record))
        problems += [CatalogProblem(number, field, reason) for field, reason in found]
    if problems:
        raise CatalogError(path.name, problems)
    return products


def _parse(line: bytes, *, is_first: bool) -> dict[str, Any]:
    """Return a line's JSON object without its nulls. Raises ``ValueError`` with a reason."""
    try:
        # A file exported from a spreadsheet may start with a byte order mark.
        text = line.decode("utf-8-sig" if is_first else "utf-8")
        record = json.loads(text, parse_constant=_reject_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON that can be stored: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")
    return {field: value for field, value in record.items() if value is not None}


def _product(record: dict[str, Any]) -> Product:
    line = _Line.model_validate(record)
    return Product(line.id, line.name, line.price, line.category, line.metadata, line.stock)


def _problems(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the field and the reason of each problem of a line."""
    yield from _invalid_fields(_Line, record)
    metadata = record.get("metadata")
    if isinstance(metadata, dict):
        for field, reason in _invalid_fields(_Metadata, metadata):
            yield f"metadata.{field}", reason
        yield from _metadata_problems(metadata)


def _invalid_fields(model: type[BaseModel], value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        for details in error.errors():
            yield ".".join(map(str, details["loc"])), _reason(details)


def _reason(details: ErrorDetails) -> str:
    """Return Pydantic's message as a predicate of the field, with the value if that helps."""
    if details["type"] == "missing":
        return "is missing"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if message.startswith("should be"):
        message += f", not {_shown(details['input'])}"
    return message[0].lower() + message[1:]


def _metadata_problems(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each part of a document that cannot be stored."""
    for field in _SHOP_FIELDS:
        if field in metadata:
            yield f"metadata.{field}", "is a name that the shop reserves"
    problems = list(_unstorable_parts(metadata, "metadata", 1))
    yield from problems
    if not problems:
        try:
            size = len(bson.encode(metadata))
        except (BSONError, OverflowError, ValueError) as error:
            yield "metadata", f"cannot be stored: {error}"
        else:
            if size > _MAX_BYTES:
                yield "metadata", f"is too large to store ({size} bytes)"


def _unstorable_parts(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each part of a value that MongoDB cannot store."""
    if depth > _MAX_DEPTH:
        yield path, f"is nested more than {_MAX_DEPTH} levels deep"
    elif isinstance(value, dict):
        for name, part in value.items():
            part_path = f"{path}.{_printable(name)}"
            if name.startswith("$"):
                yield part_path, "is a name that starts with $, which MongoDB reserves"
            elif reason := _text_problem(name):
                yield part_path, f"is a name that {reason}"
            yield from _unstorable_parts(part, part_path, depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _unstorable_parts(part, f"{path}.{index}", depth + 1)
    elif reason := _scalar_problem(value):
        yield path, reason


def _scalar_problem(value: object) -> str | None:
    if isinstance(value, str):
        return _text_problem(value.replace("\0", ""))  # MongoDB rejects a NUL only in a name
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is beyond 64 bits"
    return None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _shown(value: object) -> str:
    """Return a value as the file has it, shortened and safe for a terminal."""
    text = _printable(json.dumps(value))
    return text if len(text) <= 40 else f"{text[:37]}…"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
