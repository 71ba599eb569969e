"""The categories of the shop's products, each with specifications of its own kind.

One table says what a category is called, what it costs, and which specifications it has: the
generator draws from it, the validator of ``productmetas`` is made from it, and the migration reads
from it which text became which number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Rule = dict[str, Any]

#: Category of a product of which nobody knows one.
UNCATEGORISED = "uncategorised"

#: BSON's types of whole numbers: a driver sends the smaller where it suffices.
WHOLE = ["int", "long"]

_TEXT: Rule = {"bsonType": "string", "minLength": 1}
_FLAG: Rule = {"bsonType": "bool"}
_COUNT: Rule = {"bsonType": WHOLE, "minimum": 1}
_MEASURE: Rule = {"bsonType": "number", "minimum": 0, "exclusiveMinimum": True}


def _object(**properties: Rule) -> Rule:
    return {"bsonType": "object", "required": list(properties), "properties": properties}


@dataclass(frozen=True)
class Specification:
    """One specification of a category, as schema version 2 has it.

    ``rule`` is its part of the ``$jsonSchema``. Where version 1 kept a text with a unit in it,
    ``was`` is the name that it had there, and ``unit`` the unit that is now in its name.
    """

    name: str
    rule: Rule
    required: bool = True
    was: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Category:
    """One category: its department, its noun, its lowest and highest price, its specifications."""

    department: str
    noun: str
    lowest: int
    highest: int
    specifications: tuple[Specification, ...] = field(default=())


def _measured(name: str, was: str, unit: str, *, required: bool = True) -> Specification:
    return Specification(name, _MEASURE, required, was, unit)


CATEGORIES: dict[str, Category] = {
    "laptop": Category(
        *("electronics", "Laptop", 450, 2600),
        (
            _measured("ram_gb", "ram", "GB"),
            Specification("cpu", _TEXT),
            _measured("screen_inch", "screen", "inch", required=False),
        ),
    ),
    "phone": Category(
        *("electronics", "Phone", 150, 1400),
        (
            _measured("storage_gb", "storage", "GB"),
            _measured("camera_mp", "camera", "MP"),
            Specification("dual_sim", _FLAG, required=False),
        ),
    ),
    "tablet": Category(
        *("electronics", "Tablet", 120, 1200),
        (
            _measured("screen_inch", "screen", "inch"),
            _measured("battery_mah", "battery", "mAh"),
            Specification("pen", _FLAG, required=False),
        ),
    ),
    "headphones": Category(
        *("audio", "Headphones", 20, 400),
        (
            Specification("wireless", _FLAG),
            _measured("driver_mm", "driver", "mm"),
            Specification("noise_cancelling", _FLAG, required=False),
        ),
    ),
    "book": Category(
        *("books", "Book", 6, 60),
        (
            Specification("author", _TEXT),
            Specification("pages", _COUNT),
            Specification("language", {"bsonType": "string", "pattern": "^[a-z]{2}$"}),
        ),
    ),
    "shoe": Category(
        *("clothing", "Shoes", 30, 220),
        (
            Specification(
                "sizes",
                {
                    "bsonType": "array",
                    "minItems": 1,
                    "maxItems": 40,
                    "uniqueItems": True,
                    "items": _MEASURE,
                },
            ),
            Specification("material", _TEXT),
        ),
    ),
    "lamp": Category(
        *("home", "Lamp", 15, 180),
        (
            Specification("bulb", _object(socket=_TEXT, watts=_MEASURE)),
            Specification("dimmable", _FLAG),
        ),
    ),
    "game": Category(
        *("toys", "Board Game", 12, 90),
        (
            Specification("players", _object(min=_COUNT, max=_COUNT)),
            Specification("minutes", _COUNT),
            Specification("age", {"bsonType": WHOLE, "minimum": 0}),
        ),
    ),
}

#: What version 1 kept as a text with a unit: its name there, and what it is now.
MEASURED: dict[str, Specification] = {
    specification.was: specification
    for category in CATEGORIES.values()
    for specification in category.specifications
    if specification.was
}


def department(category: str) -> str:
    """Return the department of a category; ``"other"`` for one that is not in the table."""
    return CATEGORIES[category].department if category in CATEGORIES else "other"


def category_among(tags: Iterable[str]) -> str:
    """Return the first tag that is a category, ``UNCATEGORISED`` where none is."""
    return next((tag for tag in tags if tag in CATEGORIES), UNCATEGORISED)
