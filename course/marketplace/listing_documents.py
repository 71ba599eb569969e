"""The documents of listings: three kinds, each in the current and in the old schema version.

In the old version, measures are strings with their unit and labels are one string with commas. In
the current one, measures are numbers with the unit in the field's name, labels are a list, and the
document has a version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from helpers.catalog.random_draws import Draws

Document = dict[str, Any]

#: The current schema version. Old documents have version 1, or none.
CURRENT = 2


@dataclass(frozen=True)
class Measure:
    """A measure: field ``old`` in the old version, field ``new`` now, in units of ``unit``.

    ``smaller`` maps the other units in old documents to how many of them make one ``unit``.
    """

    old: str
    new: str
    unit: str
    smaller: Mapping[str, int] = field(default_factory=dict)


_WEIGHT = Measure("weight", "weight_kg", "kg", {"g": 1000})

#: The measures of each kind of listing. All other fields are the same in both versions.
KINDS: Mapping[str, tuple[Measure, ...]] = {
    "bicycle": (Measure("frame", "frame_cm", "cm"), _WEIGHT),
    "camera": (Measure("sensor", "sensor_mp", "MP"), Measure("lens", "lens_mm", "mm")),
    "synthesizer": (Measure("width", "width_cm", "cm", {"mm": 10}), _WEIGHT),
}

_LABELS = ("boxed", "repaired", "rare", "collector", "for parts", "tested", "heirloom")
_NOTES = ("pick-up only", "smoke-free home", "no returns", "second owner")


def draw_details(kind: str, draw: Draws) -> Document:
    """Draw the details of one listing of ``kind``, in the current version."""
    return _DETAILS[kind](draw)


def current(listing_id: int, kind: str, title: str, details: Document, draw: Draws) -> Document:
    """Draw the rest of a listing's document, in the current version."""
    document = {
        "listing_id": listing_id,
        "schema_version": CURRENT,
        "kind": kind,
        "title": title,
        "labels": [label for label in _LABELS if draw.fraction() < 0.25],
        "details": details,
    }
    # A field that only some sellers add: a migration must preserve it.
    if draw.fraction() < 0.3:
        document["note"] = draw.choice(_NOTES)
    return document


def outdated(document: Document, draw: Draws) -> Document:
    """Return a current document in a random format of the old version."""
    old = {key: value for key, value in document.items() if key != "schema_version"}
    if draw.fraction() < 0.5:
        old["schema_version"] = 1
    details = dict(document["details"])
    for measure in KINDS[document["kind"]]:
        details[measure.old] = _text(details.pop(measure.new), measure, draw)
    separator = draw.choice((", ", ","))
    return {**old, "labels": separator.join(document["labels"]), "details": details}


def _text(value: float, measure: Measure, draw: Draws) -> str:
    unit, number = measure.unit, f"{value:g}"
    if measure.smaller and draw.fraction() < 0.4:
        unit = draw.choice(tuple(measure.smaller))
        number = str(round(value * measure.smaller[unit]))
    return f"{number}{draw.choice((' ', ''))}{unit}"


def _bicycle(draw: Draws) -> Document:
    details: Document = {
        "frame_cm": draw.integer(46, 62),
        "weight_kg": draw.integer(71, 189) / 10,
        "gears": draw.choice((1, 3, 7, 8, 18, 21, 24)),
    }
    return details | ({"basket": True} if draw.fraction() < 0.3 else {})


def _camera(draw: Draws) -> Document:
    details: Document = {
        "sensor_mp": draw.choice((6, 10, 12, 16, 24, 45)),
        "lens_mm": draw.choice((24, 28, 35, 50, 85)),
        "mount": draw.choice(("bayonet", "screw", "fixed")),
    }
    return details | ({"flash": False} if draw.fraction() < 0.3 else {})


def _synthesizer(draw: Draws) -> Document:
    details: Document = {
        "width_cm": draw.integer(31, 128),
        "weight_kg": draw.integer(11, 249) / 10,
        "keys": draw.choice((25, 37, 49, 61, 88)),
    }
    return details | ({"voices": draw.choice((1, 4, 6, 8, 16))} if draw.fraction() < 0.5 else {})


_DETAILS: dict[str, Callable[[Draws], Document]] = {
    "bicycle": _bicycle,
    "camera": _camera,
    "synthesizer": _synthesizer,
}
