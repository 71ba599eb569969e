"""The shard function: from a product's id to its hash, as PostgreSQL and Citus compute it.

A shard holds a range of hashes. So whoever knows the ranges knows where a row is, or would be,
without asking a node.
"""

from __future__ import annotations

_BITS = 0xFFFFFFFF
_SIGN = 2**31
# What PostgreSQL starts from: the golden ratio, the length of the key in bytes, a number of its
# own.
_START = (0x9E3779B9 + 4 + 3923095) & _BITS


def hash_bigint(key: int) -> int:
    """Return the hash of a ``bigint``, from -2147483648 to 2147483647, as ``hashint8`` does."""
    low, high = key & _BITS, (key >> 32) & _BITS
    # One that fits into an int must hash like that int, negative ones too.
    hashed = _hash_uint32(low ^ (high if key >= 0 else ~high & _BITS))
    return hashed - 2 * _SIGN if hashed >= _SIGN else hashed


def _hash_uint32(key: int) -> int:
    """Return Bob Jenkins's final mix of 32 bits."""
    b = c = _START
    a = (_START + key) & _BITS
    c = ((c ^ b) - _rotated(b, 14)) & _BITS
    a = ((a ^ c) - _rotated(c, 11)) & _BITS
    b = ((b ^ a) - _rotated(a, 25)) & _BITS
    c = ((c ^ b) - _rotated(b, 16)) & _BITS
    a = ((a ^ c) - _rotated(c, 4)) & _BITS
    b = ((b ^ a) - _rotated(a, 14)) & _BITS
    return ((c ^ b) - _rotated(b, 24)) & _BITS


def _rotated(number: int, by: int) -> int:
    return ((number << by) | (number >> (32 - by))) & _BITS
