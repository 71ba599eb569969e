"""What comes from outside, checked before anything is sent: ids, quantities, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from helpers.errors import StockError

#: The largest number of units of one product, in stock or in one reservation.
MOST_UNITS = 1_000_000_000

#: The largest id of a product, a customer or an order: that of a bigint.
LARGEST_ID = 2**63 - 1

#: The most products that one reservation holds: a script has the server to itself while it runs.
MOST_PRODUCTS = 100

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def product_ids(values: Iterable[Any]) -> list[int]:
    """Return ``values``, each once and in order. Raises ``StockError`` for one that is no id."""
    ids = list(values)
    # bool is a kind of int, and True would be taken for product 1.
    if ids and not ({*map(type, ids)} == {int} and min(ids) > 0 and max(ids) <= LARGEST_ID):
        for one in ids:
            identifier(one, "product")
    return ids if len(set(ids)) == len(ids) else list(dict.fromkeys(ids))


def identifier(value: Any, what: str) -> int:
    """Return ``value``. Raises ``StockError`` where it is no id of a ``what``: a customer, say."""
    if type(value) is not int or not 0 < value <= LARGEST_ID:
        raise StockError(
            f"{value!r:.60} is no {what} id: give a whole number from 1 to {LARGEST_ID}."
        )
    return value


def quantity(value: Any, *, least: int = 1) -> int:
    """Return ``value``. Raises ``StockError`` where it is no number of units."""
    if type(value) is not int or not least <= value <= MOST_UNITS:
        raise StockError(
            f"{value!r:.60} is no number of units: give a whole number from {least} to "
            f"{MOST_UNITS}."
        )
    return value


def most(value: Any, largest: int, what: str) -> int:
    """Return ``value``. Raises ``StockError`` where it is no number from 1 to ``largest``.

    ``what`` says of what there cannot be so many: rows that are carried at once, say.
    """
    if type(value) is not int or not 1 <= value <= largest:
        raise StockError(f"{value!r:.60} {what}: give from 1 to {largest}.")
    return value


def items(values: Mapping[Any, Any]) -> tuple[tuple[int, int], ...]:
    """Return pairs of product id and quantity, in order of id.

    Raises ``StockError`` where an id or a quantity is none, or there are too few or too many.
    """
    if not 1 <= len(values) <= MOST_PRODUCTS:
        raise StockError(
            f"{len(values)} products cannot be reserved together: give from 1 to {MOST_PRODUCTS}."
        )
    return tuple((one, quantity(values[one])) for one in sorted(product_ids(values)))


def token(value: Any) -> str:
    """Return ``value``. Raises ``StockError`` where it cannot name a reservation, say."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise StockError(
            f"{value!r:.60} cannot name a reservation, a movement or an order: give up to 64 "
            "letters, digits, hyphens or underscores."
        )
    return value


def seconds(value: Any, what: str, *, most: float = 7 * 24 * 3600) -> float:
    """Return ``value``. Raises ``StockError`` where it is no length of time above zero."""
    if type(value) not in (int, float) or not 0 < value <= most:  # nan compares with nothing
        raise StockError(
            f"{what} cannot be {value!r:.60} seconds: give more than 0, at most {most}."
        )
    return float(value)
