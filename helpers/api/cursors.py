"""Cursors: where the next page begins, in a form that nobody is tempted to make by hand."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

from helpers.errors import QueryError
from helpers.validation import LARGEST_ID

_VERSION = 1
_FORM = struct.Struct(">BQ")
_SUM = struct.Struct(">I")
_LENGTH = 18  # characters of base64 for 13 bytes, without padding


def encode(after: int) -> str:
    """Return the cursor of the page after the product of this id."""
    data = _FORM.pack(_VERSION, after)
    return base64.urlsafe_b64encode(data + _SUM.pack(zlib.crc32(data))).decode().rstrip("=")


def decode(cursor: str) -> int:
    """Return the id after which the page begins. Raises ``QueryError`` for what is no cursor."""
    try:
        if len(cursor) != _LENGTH or not cursor.isascii():
            raise ValueError
        raw = base64.b64decode(cursor + "==", altchars=b"-_", validate=True)
        data, checksum = raw[: _FORM.size], raw[_FORM.size :]
        version, after = _FORM.unpack(data)
        if (version, checksum) != (_VERSION, _SUM.pack(zlib.crc32(data))) or after > LARGEST_ID:
            raise ValueError
        # The last character has bits to spare: of all that decode to this, one is the cursor.
        if encode(after) != cursor:
            raise ValueError
    except (ValueError, binascii.Error, struct.error):
        raise QueryError(
            "cursor",
            "is none of ours",
            "Follow the address in the Link header of the page before, or leave it out",
        ) from None
    return int(after)
