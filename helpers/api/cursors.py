"""Cursors: opaque strings that tell where the next page begins."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

from helpers.errors import QueryError
from helpers.validation import LARGEST_BIGINT

#: What a cursor looks like: base64 of 13 bytes without padding.
CURSOR_PATTERN = "^[A-Za-z0-9_-]{18}$"

_VERSION = 1
_FORMAT = struct.Struct(">BQ")
_CHECKSUM = struct.Struct(">I")
_LENGTH = 18


def encode(after: int) -> str:
    """Return the cursor of the page after the product with this id.

    It has a version and a checksum, so that clients do not build cursors themselves.
    """
    data = _FORMAT.pack(_VERSION, after)
    return base64.urlsafe_b64encode(data + _CHECKSUM.pack(zlib.crc32(data))).decode().rstrip("=")


def decode(cursor: str) -> int:
    """Return the id after which the page begins. Raises ``QueryError`` if this is not a cursor."""
    try:
        if len(cursor) != _LENGTH or not cursor.isascii():
            raise ValueError
        raw = base64.b64decode(cursor + "==", altchars=b"-_", validate=True)
        data, checksum = raw[: _FORMAT.size], raw[_FORMAT.size :]
        version, after = _FORMAT.unpack(data)
        if (version, checksum) != (_VERSION, _CHECKSUM.pack(zlib.crc32(data))) or (
            after > LARGEST_BIGINT
        ):
            raise ValueError
        # The last character has unused bits: several strings decode to this, one is the cursor.
        if encode(after) != cursor:
            raise ValueError
    except (ValueError, binascii.Error, struct.error):
        raise QueryError(
            "cursor",
            "is not one from this server",
            "Follow the address in the Link header of the page before, or leave it out",
        ) from None
    return int(after)
