"""Values of BSON that JSON does not know, made plain where documents are decoded.

So the answer holds nothing but what JSON has, whoever writes it. What is no JSON is a text:

=====================  ============================================================
``datetime``           ISO 8601 in UTC, ``"2025-06-01T12:00:00.250Z"``; outside of the
                       years 1 to 9999 the milliseconds since 1970, ``"-99999999999999"``
``Decimal128``         its digits, as prices are: ``"12.50"``
``ObjectId``           its 24 hexadecimal digits
bytes                  base64; a UUID as a UUID is written
NaN, infinite numbers  ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` (JSON's writers drop them)
a regular expression   its pattern; JavaScript code its text
a ``Timestamp``        its time, as a ``datetime``; the smallest and largest key their names
a reference (DBRef)    an object, as it is stored
=====================  ============================================================

Whole numbers of 64 bits are numbers to the digit, although JavaScript reads those beyond 2**53
rounded. BSON has none above 64 bits but as ``Decimal128``. A text that is no UTF-8 is shown with
U+FFFD for what cannot be read.
"""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Callable, Iterable
from typing import Any

import bson
from bson import Binary, Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON

from helpers.stores import Document


def _moment(value: datetime.datetime) -> str:
    # The driver gives UTC without saying so. MongoDB keeps milliseconds.
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
    return _moment(value.as_datetime().replace(tzinfo=None))


def _reference(value: DBRef) -> Document:
    return {name: _plain(part) for name, part in value.as_doc().items()}


def _pattern(value: Regex[Any]) -> str:
    pattern = value.pattern
    return pattern.decode("utf-8", "replace") if isinstance(pattern, bytes) else str(pattern)


def _plain(value: Any) -> Any:
    """Return a value that the driver put together itself, made plain."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    convert = _CONVERSIONS.get(type(value))
    return value if convert is None else convert(value)


def _decoder(kind: type, convert: Callable[[Any], Any]) -> TypeDecoder:
    # The decoder calls the conversion itself: one call for each value instead of two.
    names = {"bson_type": kind, "transform_bson": staticmethod(convert)}
    decoder: TypeDecoder = type("Decoder", (TypeDecoder,), names)()
    return decoder


_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    datetime.datetime: _moment,
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

#: How documents are decoded for an answer in JSON.
JSON_VALUES: CodecOptions[Document] = CodecOptions(
    type_registry=TypeRegistry([_decoder(*one) for one in _CONVERSIONS.items()]),
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)

# The same, but a text that is no UTF-8 is an error: without a handler, texts are decoded faster.
_STRICT = JSON_VALUES.with_options(unicode_decode_error_handler="strict")


def decode_batches(batches: Iterable[Any]) -> list[Document]:
    """Return the documents of raw batches, as ``JSON_VALUES`` decodes them.

    A whole batch is decoded in C. The driver itself, where values are to be converted, decodes
    one document after the other: 20,000 took 36 ms more.
    """
    return [document for batch in batches for document in _decode(batch)]


def _decode(batch: bytes) -> list[Document]:
    try:
        return bson.decode_all(batch, _STRICT)
    except InvalidBSON:
        return bson.decode_all(batch, JSON_VALUES)
