"""BSON values that JSON does not have are converted, and none is lost."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.catalog.model import ProductJSON
from helpers.joins import products_json
from helpers.joins.assembly import JSON_VALUES

NOON = datetime.datetime(2025, 6, 1, 12, 0, tzinfo=datetime.UTC)
ID = ObjectId("0123456789abcdef01234567")
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (NOON, "2025-06-01T12:00:00Z"),
        (NOON.replace(microsecond=250_000), "2025-06-01T12:00:00.250Z"),
        (DatetimeMS(-99999999999999), "-99999999999999"),
        (Decimal128("12.50"), "12.50"),
        (Decimal128("NaN"), "NaN"),
        (ID, "0123456789abcdef01234567"),
        (b"\x00\xff", "AP8="),
        (Binary(b"\x00\xff", 128), "AP8="),
        (Binary.from_uuid(UUID, UuidRepresentation.STANDARD), str(UUID)),
        (Binary(b"short", 4), "c2hvcnQ="),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (1.5, 1.5),
        (Int64(2**63 - 1), 2**63 - 1),
        (-(2**63), -(2**63)),
        (Regex("^a.*", "i"), "^a.*"),
        (Code("f()"), "f()"),
        (Code("f()", {"a": 1}), "f()"),
        (Timestamp(0, 1), "1970-01-01T00:00:00Z"),
        (MinKey(), "MinKey"),
        (MaxKey(), "MaxKey"),
        (DBRef("c", ID), {"$ref": "c", "$id": str(ID)}),
        (
            {"deep": [ID, {"x": math.nan}, None, True]},
            {"deep": [str(ID), {"x": "NaN"}, None, True]},
        ),
        ("Çok iyi \U0001f600\x00", "Çok iyi \U0001f600\x00"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_value_is_converted_to_json(stored: Any, shown: Any) -> None:
    decoded = bson.decode(bson.encode({"value": stored}), JSON_VALUES)
    assert decoded == {"value": shown}
    assert _through_json(decoded) == {"value": shown}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text().filter(lambda name: "\0" not in name), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_encoding_as_json_preserves_every_decoded_value(value: Any) -> None:
    decoded = bson.decode(bson.encode({"value": value}), JSON_VALUES)
    assert _through_json(decoded) == decoded


def test_invalid_utf8_is_replaced() -> None:
    broken = bson.encode({"value": "ab"}).replace(b"ab\x00", b"\xffb\x00")
    assert bson.decode(broken, JSON_VALUES) == {"value": "�b"}


def _through_json(metadata: Any) -> Any:
    product: ProductJSON = {
        "id": 1, "name": "A", "price": "1", "metadata": metadata, "stock": None,
    }  # fmt: skip
    (read,) = json.loads(products_json([product]))
    return read["metadata"]
