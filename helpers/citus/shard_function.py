"""The shard function: the hash of a product's id, as PostgreSQL and Citus compute it.

A shard has a range of hashes. With the ranges, a program can compute the shard of a row without a
query.
"""

from __future__ import annotations

_BITS = 0xFFFFFFFF
_SIGN = 2**31
# PostgreSQL's initial value: the golden ratio, the length of the key in bytes, and a constant.
_START = (0x9E3779B9 + 4 + 3923095) & _BITS


def hash_bigint(key: int) -> int:
    """Return the hash of a ``bigint`` like ``hashint8``: from -2147483648 to 2147483647."""
    low, high = key & _BITS, (key >> 32) & _BITS
    # A key that fits into an int has the same hash as that int, also if it is negative.
    hashed = _hash_uint32(low ^ (high if key >= 0 else ~high & _BITS))
    return hashed - 2 * _SIGN if hashed >= _SIGN else hashed


def _hash_uint32(key: int) -> int:
    """Return the final mix of Bob Jenkins's hash function lookup3 for 32 bits."""
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
