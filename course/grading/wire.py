"""What the grader and the student's process send each other: frames of JSON with plain values only.

Everything else is refused with a sentence that names the type. Values are rebuilt from JSON with
exact built-in types, so no object of one process, and none of its methods, reaches the other.
"""

from __future__ import annotations

import base64
import importlib
import json
import socket
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

#: The largest frame in each direction, in bytes, and the longest text of an error, in characters.
MOST_BYTES = 8 * 2**20
MOST_CHARACTERS = 500

_MOST_DEPTH = 40
# Tuples as keys, and numbers whose hashes collide on purpose, take quadratic time.
_MOST_KEYS = 10_000
_MOST_DIGITS = 1000
_LENGTH = struct.Struct("!I")

Handle = Callable[[Any], Any]


class WireError(Exception):
    """A value cannot be sent, or a frame is malformed, too large or late. The text says why."""


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one frame. Raises ``WireError`` if it is too large, ``OSError`` without a reader."""
    frame = json.dumps(message, allow_nan=False).encode("ascii")
    if len(frame) > MOST_BYTES:
        raise WireError(f"it is larger than {MOST_BYTES >> 20} MiB")
    channel.sendall(_LENGTH.pack(len(frame)) + frame)


def receive(channel: socket.socket) -> dict[str, Any]:
    """Return the next frame. Raises ``WireError`` if it is none, ``EOFError`` at the end."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > MOST_BYTES:
        raise WireError(f"it is larger than {MOST_BYTES >> 20} MiB")
    try:
        message = json.loads(_exactly(channel, length))
    except (ValueError, RecursionError):
        raise WireError("it is malformed") from None
    if type(message) is not dict:
        raise WireError("it is malformed")
    return message


def _exactly(channel: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = channel.recv(min(count - len(found), 2**20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def encode(value: object, handle: Handle | None = None, depth: int = _MOST_DEPTH) -> Any:
    """Return ``value`` as JSON; instances of subclasses become their built-in type.

    ``handle`` returns the JSON of an object that is none of the plain types, or ``None``.

    Raises ``WireError`` for anything else.
    """
    if depth == 0:
        raise WireError(f"it is nested deeper than {_MOST_DEPTH} levels")
    found = None if handle is None else handle(value)
    if found is not None:
        return {"handle": found}
    value = _without_numpy(value)
    if value is None or isinstance(value, bool):
        return value
    for kind, name, encoded in _SCALARS:
        if isinstance(value, kind):
            return {name: encoded(value)}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, handle, depth - 1) for item in value]}
    if isinstance(value, dict):
        items = [[encode(one, handle, depth - 1) for one in pair] for pair in value.items()]
        return {"dict": items}
    raise WireError(f"it contains a value of type {clean(type(value).__qualname__, 80)}")


def _without_numpy(value: object) -> object:
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return bytes(value) if isinstance(value, bytearray) else value


def decode(value: Any, handle: Handle | None = None) -> Any:
    """Return the value that ``encode`` made the JSON of. Raises ``WireError`` if it did not.

    ``handle`` returns the object that a handle stands for.
    """
    try:
        return _decode(value, handle, _MOST_DEPTH)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        raise WireError("it is malformed") from None


def _decode(value: Any, handle: Handle | None, depth: int) -> Any:
    if depth == 0:
        raise WireError(f"it is nested deeper than {_MOST_DEPTH} levels")
    if value is None or type(value) is bool:
        return value
    ((name, content),) = value.items()
    if name == "handle" and handle is not None:
        return handle(content)
    if name in _DECODERS:
        if len(content) > MOST_BYTES if name in {"str", "bytes"} else len(content) > _MOST_DIGITS:
            raise ValueError
        return _DECODERS[name](content)
    if name == "dict":
        pairs = [[_decode(one, handle, depth - 1) for one in pair] for pair in content]
        _check_keys(pairs)
        return dict(pairs)
    items = [_decode(item, handle, depth - 1) for item in content]
    if name in {"set", "frozenset"}:
        _check_keys(items)
    return _CONTAINERS[name](items)


def _check_keys(items: list[Any]) -> None:
    if len(items) > _MOST_KEYS:
        raise WireError(f"it has more than {_MOST_KEYS:,} keys in one place")


def _encode_int(value: int) -> str:
    if value.bit_length() > 3 * _MOST_DIGITS:
        raise WireError(f"it has an integer of more than {_MOST_DIGITS} digits")
    return str(int(value))


def _encode_datetime(value: datetime) -> str:
    return datetime.isoformat(value.astimezone(UTC) if value.tzinfo else value)


def _decode_timedelta(content: str) -> timedelta:
    days, seconds, microseconds = map(int, content.split())
    return timedelta(days, seconds, microseconds)


def _exact_text(content: object) -> str:
    if type(content) is not str:
        raise TypeError
    return content


# The order matters: a datetime is a date, too.
_SCALARS: tuple[tuple[type, str, Callable[[Any], str]], ...] = (
    (int, "int", _encode_int),
    (float, "float", lambda value: float(value).hex()),
    (str, "str", str),
    (bytes, "bytes", lambda value: base64.b64encode(value).decode("ascii")),
    (Decimal, "decimal", lambda value: str(Decimal(value))),
    (datetime, "datetime", _encode_datetime),
    (date, "date", date.isoformat),
    (timedelta, "timedelta", lambda one: f"{one.days} {one.seconds} {one.microseconds}"),
)
_DECODERS: dict[str, Callable[[str], Any]] = {
    "int": lambda content: int(_exact_text(content)),
    "float": lambda content: float.fromhex(content),
    "str": _exact_text,
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "decimal": lambda content: Decimal(_exact_text(content)),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": _decode_timedelta,
}
_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def clean(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return ``text`` cut to ``most`` characters, without control characters and surrogates."""
    if not isinstance(text, str):
        return ""
    shown = "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}"
        for char in text[:most]
    )
    return shown if len(text) <= most else f"{shown}…"


class StudentError(Exception):
    """An exception of the student's code whose class is none of the known ones."""


#: Modules whose exception classes may cross, by the first part of the class's own module.
_KNOWN = {
    "builtins": ("builtins",),
    "psycopg": ("psycopg.errors",),
    "pymongo": ("pymongo.errors",),
    "redis": ("redis.exceptions",),
    "helpers": ("helpers.errors",),
}
# A test must not take these for its own.
_NEVER = {"AssertionError", "BaseException", "Exception", "GeneratorExit", "StopIteration"}


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return an exception of the student's code in words, for ``rebuild_error``."""
    try:
        text = clean(str(error))
    except BaseException:  # noqa: BLE001 - the student's own ``__str__``
        text = ""
    classes = [[kind.__module__, kind.__name__] for kind in type(error).__mro__]
    functions = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<cell "):
            functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return {"classes": classes[:20], "text": text, "where": (functions or [""])[-1]}


def rebuild_error(described: Any) -> Exception:
    """Return an exception of a known class with the text of the student's.

    ``args`` has the text; no other attribute is set. Its ``where`` is the function that raised it.
    """
    described = described if type(described) is dict else {}
    text, classes = clean(described.get("text")), described.get("classes")
    names = [
        (module.partition(".")[0], name)
        for module, name in (classes if type(classes) is list else [])[:20]
        if type(module) is str and type(name) is str
    ]
    kind = next(filter(None, (_known_class(*name) for name in names)), StudentError)
    if kind is StudentError and names:
        text = f"{clean(names[0][1], 80)}: {text}"
    error: Exception = kind.__new__(kind, text)
    error.args = (text,)
    error.__dict__["where"] = clean(described.get("where"), 80)
    return error


def _known_class(package: str, name: str) -> type[Exception] | None:
    if name in _NEVER:
        return None
    for module in _KNOWN.get(package, ()):
        kind = getattr(importlib.import_module(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind
    return None
