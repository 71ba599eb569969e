"""Decode BSON, and assemble rows, documents and stock counts into the products that the API shows.

Documents are decoded into values that JSON has, whatever they contain:

=====================  ============================================================
``datetime``           ISO 8601 in UTC, ``"2025-06-01T12:00:00.250Z"``; outside of the
                       years 1 to 9999 the milliseconds since 1970, ``"-99999999999999"``
``Decimal128``         its digits, as for prices: ``"12.50"``
``ObjectId``           its 24 hexadecimal digits
bytes                  base64; a UUID in its usual notation
NaN, infinite numbers  ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` (JSON has no such numbers)
a regular expression   its pattern; JavaScript code its source
a ``Timestamp``        its time, as a ``datetime``; ``MinKey`` and ``MaxKey`` their names
a reference (DBRef)    an object, as it is stored
=====================  ============================================================

64-bit integers keep all digits, although JavaScript rounds those beyond 2**53. Larger integers
exist in BSON only as ``Decimal128``. In a string that is not valid UTF-8, U+FFFD replaces the
invalid bytes.
"""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import bson
import orjson
from bson import Binary, Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON

from helpers.catalog.model import Metadata, ProductJSON
from helpers.errors import MetadataError
from helpers.joins.requests import FillStock, Row, Strategy, ask
from helpers.metadata.document_ids import product_id_of
from helpers.stores import Document

_ZERO = ord("0")


def assemble(
    rows: Sequence[Row], documents: Iterable[Document], counts: Sequence[bytes | None]
) -> Strategy[list[ProductJSON]]:
    """Return a product for each row, in order. ``counts`` has one stock count per row.

    Documents without a row are ignored; the others become metadata and lose the fields that are
    not shown. Missing stock counts are read from the ledger.

    Raises ``MetadataError`` if a product has two documents.
    """
    products = yield from with_stock(rows, counts)
    return add_metadata(products, documents)


def with_stock(rows: Sequence[Row], counts: Sequence[bytes | None]) -> Strategy[list[ProductJSON]]:
    """Return a product for each row, with its stock but without metadata."""
    stocks = yield from fill_stock([row[0] for row in rows], counts)
    return [
        {"id": product_id, "name": name, "price": price, "metadata": None, "stock": stock}
        for (product_id, name, price), stock in zip(rows, stocks, strict=True)
    ]


def add_metadata(products: list[ProductJSON], documents: Iterable[Document]) -> list[ProductJSON]:
    """Add the metadata to the products and return them; ignore documents of other products.

    Raises ``MetadataError`` if a product has two documents.
    """
    by_id: dict[float, ProductJSON] = {product["id"]: product for product in products}
    for document in documents:
        product_id = product_id_of(document)
        product = by_id.get(product_id) if product_id is not None else None
        if product_id is None or product is None:
            continue
        if product["metadata"] is not None:
            raise MetadataError(
                "productmetas",
                f"has two documents of product {int(product_id)}",
                "Delete one of them, and make the unique index on product_id",
            )
        product["metadata"] = to_metadata(document)
    return products


def to_metadata(document: Document) -> Metadata:
    """Remove from a document what the API does not show, and return it.

    Documents of schema version 2 repeat the category, which the API takes from PostgreSQL.
    """
    document.pop("_id", None)
    document.pop("product_id", None)
    if "schema_version" in document:
        del document["schema_version"]
        document.pop("category", None)
    return document


def fill_stock(ids: Sequence[int], counts: Sequence[bytes | None]) -> Strategy[list[str | None]]:
    """Return the stock to show for each product, reading missing stock counts from the ledger."""
    stocks = [
        # The usual count, as it is; anything else takes the slower path.
        count.decode() if count and count.isdigit() and count[0] != _ZERO else stock_text(count)
        for count in counts
    ]
    missing = [product_id for product_id, stock in zip(ids, stocks, strict=True) if stock is None]
    if not missing:
        return stocks
    filled = yield from ask(FillStock(missing))
    return [
        _units_text(filled.get(product_id)) if stock is None else stock
        for product_id, stock in zip(ids, stocks, strict=True)
    ]


def stock_text(count: bytes | None) -> str | None:
    """Return a stock count of Redis as the API shows it; ``None`` if it is not a whole number.

    A negative count means that more units are reserved than on hand, so none is available: "0".
    """
    if count is None:
        return None
    digits = count.removeprefix(b"-")
    if not digits.isdigit():
        return None
    if digits != count:
        return "0"
    return digits.lstrip(b"0").decode() or "0"


def _units_text(units: int | None) -> str | None:
    return None if units is None else str(max(units, 0))


def products_json(products: Sequence[ProductJSON]) -> bytes:
    """Return products as the original's JSON, in UTF-8."""
    return orjson.dumps(products)


# BSON.


def _iso_time(value: datetime.datetime) -> str:
    # The driver returns naive datetimes in UTC. MongoDB stores milliseconds.
    has_fraction = value.microsecond != 0
    return value.isoformat(timespec="milliseconds" if has_fraction else "seconds") + "Z"


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _binary(value: Binary) -> str:
    if value.subtype == UUID_SUBTYPE and len(value) == 16:
        return str(value.as_uuid())
    return _base64(value)


def _timestamp(value: Timestamp) -> str:
    return _iso_time(value.as_datetime().replace(tzinfo=None))


def _reference(value: DBRef) -> Document:
    return {name: _to_json(part) for name, part in value.as_doc().items()}


def _pattern(value: Regex[Any]) -> str:
    pattern = value.pattern
    return pattern.decode("utf-8", "replace") if isinstance(pattern, bytes) else str(pattern)


def _to_json(value: Any) -> Any:
    """Convert a value inside a DBRef, which the driver builds without the decoders below."""
    if isinstance(value, dict):
        return {name: _to_json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_to_json(part) for part in value]
    convert = _CONVERSIONS.get(type(value))
    return value if convert is None else convert(value)


def _decoder(kind: type, convert: Callable[[Any], Any]) -> TypeDecoder:
    # The conversion is the decoder's method itself: one call per value instead of two.
    names = {"bson_type": kind, "transform_bson": staticmethod(convert)}
    decoder: TypeDecoder = type("Decoder", (TypeDecoder,), names)()
    return decoder


# What is not JSON, and how it is written.
_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    datetime.datetime: _iso_time,
    DatetimeMS: lambda value: str(int(value)),
    Decimal128: str,
    ObjectId: ObjectId.__str__,
    bytes: _base64,
    Binary: _binary,
    float: _number,
    Regex: _pattern,
    Code: lambda value: "".join(value),
    Timestamp: _timestamp,
    MinKey: lambda _: "MinKey",
    MaxKey: lambda _: "MaxKey",
    DBRef: _reference,
}

#: Decodes documents into values that JSON has.
JSON_VALUES: CodecOptions[Document] = CodecOptions(
    type_registry=TypeRegistry([_decoder(kind, convert) for kind, convert in _CONVERSIONS.items()]),
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)

# The same, but invalid UTF-8 is an error: strings are decoded faster without an error handler.
_STRICT = JSON_VALUES.with_options(unicode_decode_error_handler="strict")


def decode_batches(batches: Iterable[Any]) -> list[Document]:
    """Decode raw batches into documents whose values JSON has (see the module's table).

    A whole batch is decoded in C. The driver's own cursor, given converters, decodes document by
    document: 20,000 took 36 ms more.
    """
    return [document for batch in batches for document in _decode(batch)]


def _decode(batch: bytes) -> list[Document]:
    try:
        return bson.decode_all(batch, _STRICT)
    except InvalidBSON:
        return bson.decode_all(batch, JSON_VALUES)
