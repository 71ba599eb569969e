"""The categories of products: their departments, price ranges and specifications.

Three parts of the shop use this table: the generator draws products from it, the validator of
``productmetas`` is built from it, and the migration to schema version 2 reads from it which strings
become numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Rule = dict[str, Any]

#: The category of a product without one.
UNCATEGORISED = "uncategorised"

#: The most characters of a label, that is of a category or a tag: its indexes have room for it.
MAX_LABEL_LENGTH = 200

#: The classes of Unicode characters in a label: letters, marks, numbers, punctuation, symbols and
#: spaces, but no control or format characters.
LABEL_CHARACTERS = ("L", "M", "N", "P", "S", "Z")

#: The BSON types of an integer: a driver sends an int if the number fits, otherwise a long.
WHOLE = ["int", "long"]

_TEXT: Rule = {"bsonType": "string", "minLength": 1}
_FLAG: Rule = {"bsonType": "bool"}
_COUNT: Rule = {"bsonType": WHOLE, "minimum": 1}
_MEASURE: Rule = {"bsonType": "number", "minimum": 0, "exclusiveMinimum": True}


def _object(**properties: Rule) -> Rule:
    return {"bsonType": "object", "required": list(properties), "properties": properties}


@dataclass(frozen=True)
class Specification:
    """A specification of a category, in schema version 2.

    ``rule`` is its part of the ``$jsonSchema``. If version 1 stores it as a string with a unit,
    ``was`` is its name in version 1 and ``unit`` is that unit, now part of ``name``.
    """

    name: str
    rule: Rule
    required: bool = True
    was: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Category:
    """A category: its department, noun, lowest and highest price, and specifications."""

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

#: Specifications that version 1 stores as strings with a unit, by their name in version 1.
MEASURED: dict[str, Specification] = {
    specification.was: specification
    for category in CATEGORIES.values()
    for specification in category.specifications
    if specification.was
}


def department(category: str) -> str:
    """Return the department of a category, ``"other"`` if the category is unknown."""
    return CATEGORIES[category].department if category in CATEGORIES else "other"


def category_among(tags: Iterable[str]) -> str:
    """Return the first tag that is a category, ``UNCATEGORISED`` if none is."""
    return next((tag for tag in tags if tag in CATEGORIES), UNCATEGORISED)


def label_problem(label: str) -> str | None:
    """Return why a string cannot be a category or a tag, or ``None`` if it can.

    This is the one rule for loading products and for filtering them, so that everything that the
    facets offer can be used as a filter.
    """
    if not 1 <= len(label) <= MAX_LABEL_LENGTH:
        return f"should have 1 to {MAX_LABEL_LENGTH} characters, not {len(label)}"
    if label.isascii() and label.isprintable():
        return None
    for character in label:
        if not unicodedata.category(character).startswith(LABEL_CHARACTERS):
            return f"has the character U+{ord(character):04X}, which cannot be printed"
    return None


def specification_name_problem(name: str) -> str | None:
    """Return why a string cannot be the name of a specification, or ``None`` if it can.

    In a filter, a dot separates levels, and MongoDB's operators start with ``$``.
    """
    if "$" in name or "." in name:
        return "has a $ or a dot, so that no filter can name it"
    if name and not name[0].isalnum():
        return "should start with a letter or a digit"
    return label_problem(name)
