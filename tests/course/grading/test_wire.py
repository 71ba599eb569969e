"""What may pass between the grader and the student's process."""

from __future__ import annotations

import json
import socket
import struct
from collections import OrderedDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg.errors
import pymongo.errors
import pytest
import redis
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from course.grading import wire
from helpers.errors import CatalogDownError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
)
KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(KEYS, inner) | st.sets(st.integers())
    ),
    max_leaves=12,
)


def _exactly(value: object) -> object:
    """Return ``value`` with the types of all its parts, which ``==`` does not compare."""
    if isinstance(value, dict):
        return [(_exactly(key), _exactly(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [_exactly(item) for item in value]
    return type(value), value


def _sent(value: object) -> Any:
    return wire.decode(json.loads(json.dumps(wire.encode(value))))


@given(VALUES)
def test_plain_values_arrive_unchanged(value: object) -> None:
    assert _exactly(_sent(value)) == _exactly(value)


class _Yes(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


_Pair = namedtuple("_Pair", "a b")  # noqa: PYI024


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (_Yes(3), 3),
        (Int64(5), 5),
        (np.int64(7), 7),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (_Pair(1, 2), (1, 2)),
        (bytearray(b"x"), b"x"),
        (
            datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 1, 1, tzinfo=UTC),
        ),
    ],
)
def test_subclasses_arrive_as_the_built_in_type(value: object, expected: object) -> None:
    found = _sent(value)
    assert _exactly(found) == _exactly(expected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "a value of type object"),
        ([lambda: 1], "a value of type function"),
        ({"a": {1: open}}, "a value of type builtin_function_or_method"),
        (type("\x1b[31mX" * 100, (), {})(), "a value of type"),
        (10**4000, "more than 1000 digits"),
    ],
)
def test_other_values_are_refused_by_type(value: object, reason: str) -> None:
    with pytest.raises(wire.WireError, match=reason) as raised:
        wire.encode(value)
    assert len(str(raised.value)) < 200
    assert str(raised.value).isprintable()


def test_values_nested_too_deeply_are_refused() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.encode(value)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.decode(json.loads('{"list": [' * 100 + "null" + "]}" * 100))


@pytest.mark.parametrize(
    "reply",
    [
        "text",
        3,
        [1],
        {},
        {"int": 3, "str": "x"},
        {"int": "three"},
        {"int": "9" * 2000},
        {"str": 3},
        {"decimal": ["1"]},
        {"float": "fast"},
        {"bytes": "€"},
        {"date": "today"},
        {"timedelta": "1"},
        {"timedelta": "999999999999 0 0"},
        {"dict": [[1]]},
        {"dict": [[{"list": []}, None]]},
        {"set": [{"dict": []}]},
        {"set": [{"int": str(number)} for number in range(20_000)]},
        {"eval": "1"},
        {"handle": {"kind": "postgres"}},
    ],
)
def test_malformed_values_are_refused(reply: object) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(reply)


def _received(data: bytes) -> dict[str, Any]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return wire.receive(ours)


def test_frames_arrive_in_order_however_they_are_split() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in range(3):
            wire.send(theirs, {"number": number, "text": "x" * 10_000})
        assert [wire.receive(ours)["number"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (struct.pack("!I", 2**31), wire.WireError),
        (struct.pack("!I", 3) + b"[1]", wire.WireError),
        (struct.pack("!I", 3) + b"\xff\xfe\xfd", wire.WireError),
        (struct.pack("!I", 200_000) + b"[" * 200_000, wire.WireError),
        (struct.pack("!I", 30) + b"{}", EOFError),
        (b"", EOFError),
    ],
)
def test_malformed_frames_are_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        _received(data)


def _raised(error: BaseException) -> Exception:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return wire.rebuild_error(json.loads(json.dumps(wire.describe_error(caught))))


class _OwnError(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), ValueError),
        (_OwnError("no"), ValueError),
        (NotImplementedError(), NotImplementedError),
        (CatalogDownError("no"), CatalogDownError),
        (psycopg.errors.UniqueViolation("no"), psycopg.errors.UniqueViolation),
        (pymongo.errors.WriteError("no", 121), pymongo.errors.WriteError),
        (redis.exceptions.WatchError("no"), redis.exceptions.WatchError),
        (AssertionError("no"), wire.StudentError),
        (SystemExit(0), wire.StudentError),
        (KeyboardInterrupt(), wire.StudentError),
        (StopIteration(), wire.StudentError),
    ],
)
def test_errors_are_rebuilt_from_a_known_class(error: BaseException, kind: type[Exception]) -> None:
    found = _raised(error)
    assert type(found) is kind
    assert len(found.args) == 1
    assert ("no" in str(found)) == ("no" in str(error))


class _Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise SystemExit


def test_texts_of_errors_are_short_and_printable() -> None:
    assert str(_raised(_Unprintable())).endswith(": ")
    text = str(_raised(ValueError("\x1b[2J\ud800" + "x" * 300_000)))
    assert len(text) < 600
    assert "\x1b" not in text
    text.encode()


@pytest.mark.parametrize(
    "described",
    [
        None,
        3,
        {},
        {"classes": 3},
        {"classes": [[1, 2]]},
        {"classes": [["os", "system"]]},
        {"classes": [["builtins", "print"]], "text": 5, "where": {}},
    ],
)
def test_invented_descriptions_of_errors_give_a_harmless_error(described: object) -> None:
    assert isinstance(wire.rebuild_error(described), wire.StudentError)


def test_dates_are_not_taken_for_datetimes() -> None:
    assert _exactly(_sent([date(2026, 1, 1), Decimal("1.20")])) == _exactly(
        [date(2026, 1, 1), Decimal("1.20")]
    )
