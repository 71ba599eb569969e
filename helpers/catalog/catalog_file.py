"""Import a teacher's own catalogue: products in a JSON Lines file or in one JSON document.

Each product is an object as ``GET /api/products`` returns it, with ``id``, ``name``, ``price``,
``category`` (or null), ``metadata`` (or null) and ``stock`` (or null). A file has one product per
line, or is a JSON array of products, or an object that has it as ``products``. It may be compressed
by gzip. All products are validated before any is loaded, and every problem is reported.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import re
import shlex
import zlib
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

from helpers.catalog.categories import UNCATEGORISED, label_problem, specification_name_problem
from helpers.catalog.model import Product
from helpers.errors import CatalogError, CatalogProblem, CourseError
from helpers.validation import LARGEST_EXACT, LARGEST_ID, MOST_UNITS, printable

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
_LARGEST_PRICE = 10**15
_LONGEST_NAME = 500  # an index of PostgreSQL has room for 2,704 bytes
_MAX_DEPTH = 90  # MongoDB stores 100 levels; the shop adds some
_MAX_BYTES = 16 * 1024 * 1024 - 16 * 1024  # MongoDB stores 16 MiB; the shop adds some fields
_SHOP_FIELDS = ("_id", "product_id", "schema_version")
_SPECIFICATIONS = "metadata.specifications"
_GZIP = b"\x1f\x8b"


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


def _label(value: object) -> object:
    if isinstance(value, str) and (problem := label_problem(value)):
        raise ValueError(problem)
    return value


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        raise ValueError("should be a valid number")
    number = Decimal(str(value))
    return number or number.copy_abs()  # no -0


def _integer(value: object) -> object:
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value


_Label = Annotated[str, BeforeValidator(_label)]


class _Record(BaseModel):
    """One product of the file, without its nulls."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: Annotated[int, Field(ge=1, le=LARGEST_ID)]
    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME), BeforeValidator(_storable)]
    price: Annotated[
        Decimal, BeforeValidator(_decimal), Field(ge=0, lt=_LARGEST_PRICE, decimal_places=10)
    ]
    category: _Label = UNCATEGORISED
    metadata: dict[str, Any] | None = None
    stock: Annotated[int, BeforeValidator(_integer), Field(ge=0, le=MOST_UNITS)] | None = None


class _Metadata(BaseModel):
    """The fields of a document that the shop uses; it may have others."""

    model_config = ConfigDict(strict=True)

    description: str = ""
    tags: list[_Label] = []
    specifications: dict[str, Any] = {}


def read_catalog(path: Path) -> list[Product]:
    """Read and validate a catalogue file.

    Raises ``CatalogError`` with every problem of every product, or ``CourseError`` if the file
    cannot be read, is in another format, or has no products.
    """
    content = _read(path)
    records = _document(content)
    unit = "line" if records is None else "product"
    numbered = _lines(path, content) if records is None else list(enumerate(records, start=1))
    if not numbered:
        raise CourseError(f"The catalogue {path} has no products: write one on each line.")
    products: list[Product] = []
    problems: list[CatalogProblem] = []
    number_of_id: dict[int, int] = {}
    for number, value in numbered:
        found: list[tuple[str, str]] = []
        if isinstance(value, ValueError):
            found = [(unit, str(value))]
        elif not isinstance(value, dict):
            found = [(unit, "is not a JSON object")]
        else:
            record = {field: part for field, part in value.items() if part is not None}
            found = list(_problems(record))
            if all(field != "id" for field, _ in found):
                first = number_of_id.setdefault(record["id"], number)
                if first != number:
                    found.append(("id", f"{record['id']} is on {unit} {first} already"))
            if not found:
                products.append(_product(record))
        problems += [CatalogProblem(number, field, reason, unit) for field, reason in found]
    if problems:
        raise CatalogError(path.name, problems)
    return products


def _read(path: Path) -> bytes:
    """Return the file's content, decompressed, and in UTF-8 if it is in UTF-16 or UTF-32."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(
            f"The catalogue {path} cannot be read: {(error.strerror or str(error)).lower()}. "
            "Check its name and its permissions."
        ) from None
    try:
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        encoding = json.detect_encoding(content)
        if not encoding.startswith("utf-8"):
            content = content.decode(encoding).encode()
    except (OSError, EOFError, zlib.error):
        raise CourseError(
            f"The catalogue {path} is compressed by gzip, but damaged: compress it again."
        ) from None
    except UnicodeDecodeError:
        raise _not_text(path) from None
    return content.removeprefix(codecs.BOM_UTF8)


def _document(content: bytes) -> list[Any] | None:
    """Return the products of a single JSON document, or ``None`` if the file has lines."""
    try:
        document = _parse(content)
    except ValueError:
        return None
    products = document.get("products") if isinstance(document, dict) else document
    if isinstance(products, list):
        return products
    is_spread = isinstance(document, dict) and b"\n" in content.strip()
    return [document] if is_spread else None


def _lines(path: Path, content: bytes) -> list[tuple[int, Any]]:
    """Return number and value of each line that is not empty; a ``ValueError`` if it is not JSON.

    Raises ``CourseError`` if no line is a JSON object, so that the file is in another format.
    """
    numbered: list[tuple[int, Any]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                numbered.append((number, _parse(line)))
            except ValueError as error:
                numbered.append((number, error))
    values = [value for _, value in numbered]
    # In another format, a line may be a number or a string by chance.
    if any(isinstance(value, ValueError) for value in values) and not any(
        isinstance(value, dict) for value in values
    ):
        raise _other_format(path, content)
    return numbered


def _other_format(path: Path, content: bytes) -> CourseError:
    """Return the error for a file that is not JSON, with the command that converts it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _not_text(path)
    converted = shlex.quote(f"{path.stem}.jsonl")
    if text.lstrip()[:1] in ("{", "["):
        try:
            _parse(content)
        except ValueError as error:
            way_out = "Correct it there."
            if "Extra data" in str(error):  # after the first of several objects
                way_out = f"Write each object on one line: jq -c . {shlex.quote(str(path))}"
                way_out += f" > {converted}"
            return CourseError(f"The catalogue {path} {error}. {way_out}")
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    program = (
        "import csv, json; [print(json.dumps(row | {'id': int(row['id'])})) for row in "
        f"csv.DictReader(open({str(path)!r}, encoding='utf-8-sig'), delimiter={delimiter!r})]"
    )
    return CourseError(
        f"The catalogue {path} is not JSON. If it is CSV with the columns id, name, price, "
        f"category and stock, convert it: python -c {shlex.quote(program)} > {converted}"
    )


def _not_text(path: Path) -> CourseError:
    return CourseError(
        f"The catalogue {path} is not text in UTF-8: convert it, for example with `iconv -f latin1 "
        "-t utf-8`, or decompress it."
    )


def _parse(text: bytes) -> Any:
    """Return the JSON value of a text. Raises ``ValueError`` with a reason."""
    try:
        return json.loads(text.decode(), parse_float=Decimal, parse_constant=_reject_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"is not JSON: {error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise ValueError("is not JSON that can be stored: it is nested too deep") from None
    except ValueError as error:
        reason = "a number has too many digits" if "digits" in str(error) else str(error)
        raise ValueError(f"is not JSON that can be stored: {reason}") from None


def _with_floats(value: Any) -> Any:
    """Return a value with floats in place of decimals: only prices keep all digits."""
    if isinstance(value, dict):
        return {name: _with_floats(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_floats(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def _product(record: dict[str, Any]) -> Product:
    found = _Record.model_validate(record)
    metadata = _with_floats(found.metadata)
    return Product(found.id, found.name, found.price, found.category, metadata, found.stock)


def _problems(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the field and the reason of each problem of a product."""
    yield from _invalid_fields(_Record, record)
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
            yield printable(".".join(map(str, details["loc"]))), _reason(details)


def _reason(details: ErrorDetails) -> str:
    """Return Pydantic's message as a predicate of the field, with the value if that helps."""
    if details["type"] == "missing":
        return "is missing"
    if details["type"] == "extra_forbidden":
        return "is not a field of a product: move it into metadata, or remove it"
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
            size = len(bson.encode(_with_floats(metadata)))
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
        name_problem = specification_name_problem if path == _SPECIFICATIONS else _text_problem
        for name, part in value.items():
            part_path = f"{path}.{printable(name)}"
            if name.startswith("$"):
                yield part_path, "is a name that starts with $, which MongoDB reserves"
            elif reason := name_problem(name):
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
    if isinstance(value, int) and abs(value) > LARGEST_EXACT:
        return f"is beyond {LARGEST_EXACT}, so JavaScript would round it: write it as a string"
    if isinstance(value, Decimal) and not math.isfinite(float(value)):
        return "is too large for a number"
    return None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _shown(value: object) -> str:
    """Return a value as the file has it, shortened and safe for a terminal."""
    text = printable(json.dumps(value, default=float))
    return text if len(text) <= 40 else f"{text[:37]}…"
