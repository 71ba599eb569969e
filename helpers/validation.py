"""Validate untrusted ids, quantities and tokens before they are sent to a store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from helpers.errors import StockError

#: The largest number of units of one product, in stock or in one reservation.
MOST_UNITS = 1_000_000_000

#: The largest integer that every program keeps exactly: JavaScript and Lua have doubles only.
LARGEST_EXACT = 2**53 - 1

#: The largest id of a product, a customer or an order.
LARGEST_ID = LARGEST_EXACT

#: The largest bigint: where a page begins may be any value of the column.
LARGEST_BIGINT = 2**63 - 1

#: The most products in one reservation: while its script runs, Redis runs nothing else.
MOST_PRODUCTS = 100

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def product_ids(values: Iterable[Any]) -> list[int]:
    """Return ``values`` without duplicates, in order. Raises ``StockError`` for an invalid id."""
    ids = list(values)
    # bool is a subclass of int, so True would pass for product 1.
    if ids and not ({*map(type, ids)} == {int} and min(ids) > 0 and max(ids) <= LARGEST_ID):
        for product_id in ids:
            identifier(product_id, "product")
    return ids if len(set(ids)) == len(ids) else list(dict.fromkeys(ids))


def identifier(value: Any, what: str) -> int:
    """Return ``value`` if it is a valid id of ``what`` ("customer"), or raise ``StockError``."""
    if type(value) is not int or not 0 < value <= LARGEST_ID:
        raise StockError(
            f"{value!r:.60} is not a valid {what} id: give a whole number from 1 to {LARGEST_ID}."
        )
    return value


def quantity(value: Any, *, least: int = 1) -> int:
    """Return ``value`` if it is a valid number of units, or raise ``StockError``."""
    if type(value) is not int or not least <= value <= MOST_UNITS:
        raise StockError(
            f"{value!r:.60} is not a valid number of units: give a whole number from {least} to "
            f"{MOST_UNITS}."
        )
    return value


def most(value: Any, largest: int, what: str) -> int:
    """Return ``value`` if it is from 1 to ``largest``, or raise ``StockError``.

    ``what`` is the end of the sentence that explains why: "rows cannot be carried at once", say.
    """
    if type(value) is not int or not 1 <= value <= largest:
        raise StockError(f"{value!r:.60} {what}: give from 1 to {largest}.")
    return value


def items(values: Mapping[Any, Any]) -> tuple[tuple[int, int], ...]:
    """Return pairs of product id and quantity, ordered by id.

    Raises ``StockError`` if an id or a quantity is invalid, or if there are none or too many.
    """
    if not 1 <= len(values) <= MOST_PRODUCTS:
        raise StockError(
            f"{len(values)} products cannot be reserved together: give from 1 to {MOST_PRODUCTS}."
        )
    return tuple(
        (product_id, quantity(values[product_id])) for product_id in sorted(product_ids(values))
    )


def token(value: Any) -> str:
    """Return ``value`` if it is a valid token or idempotency key, or raise ``StockError``."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise StockError(
            f"{value!r:.60} cannot name a reservation, a movement or an order: give up to 64 "
            "letters, digits, hyphens or underscores."
        )
    return value


def seconds(value: Any, what: str, *, most: float = 7 * 24 * 3600) -> float:
    """Return ``value`` if it is a duration above zero, in seconds, or raise ``StockError``."""
    if type(value) not in (int, float) or not 0 < value <= most:  # false for NaN
        raise StockError(
            f"{what} cannot be {value!r:.60} seconds: give more than 0, at most {most}."
        )
    return float(value)


def printable(text: str) -> str:
    """Return ``text`` safe for a terminal: without line breaks and control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
