"""Answers to task B: validate and migrate documents."""

from __future__ import annotations

from tests.e2e.project.bank import changed, without
from tests.e2e.project.running import solution

_OWN = solution("b")

_BY_HAND = r"""
import re

from pymongo import UpdateOne

UNITS = {"cm": 1, "mm": 0.1, "kg": 1, "g": 0.001, "MP": 1}
NUMBER = {"bsonType": "number", "minimum": 0.000001}


def details(**fields):
    return {"bsonType": "object", "required": list(fields), "properties": fields}


def validator():
    common = {
        "listing_id": {"bsonType": ["int", "long"], "minimum": 1},
        "title": {"bsonType": "string", "minLength": 1},
    }
    required = ["listing_id", "title", "kind", "labels", "details"]
    today = {**common, "schema_version": {"enum": [2]},
             "labels": {"bsonType": ["array"], "items": {"bsonType": "string"}}}
    before = {**common, "schema_version": {"enum": [1]}, "labels": {"bsonType": "string"},
              "kind": {"enum": ["bicycle", "camera", "synthesizer"]},
              "details": {"bsonType": "object"}}
    shapes = {
        "bicycle": details(frame_cm=NUMBER, weight_kg=NUMBER),
        "camera": details(sensor_mp=NUMBER, lens_mm=NUMBER),
        "synthesizer": details(width_cm=NUMBER, weight_kg=NUMBER),
    }
    return {"$jsonSchema": {"oneOf": [
        {"required": required, "properties": before},
        *(
            {"required": [*required, "schema_version"],
             "properties": {**today, "kind": {"enum": [kind]}, "details": shape}}
            for kind, shape in shapes.items()
        ),
    ]}}


def measured(text, wanted, allowed):
    match = re.match(r"^([\d.]+)\s*([a-zA-Z]+)$", text if isinstance(text, str) else "")
    if not match or match.group(2) not in allowed:
        raise ValueError(f"cannot read {text}")
    number, unit = float(match.group(1)), match.group(2)
    return number if unit == wanted else number / {"mm": 10, "g": 1000}[unit]


RULES = {
    "bicycle": [("frame", "frame_cm", "cm", ("cm",)), ("weight", "weight_kg", "kg", ("kg", "g"))],
    "camera": [("sensor", "sensor_mp", "MP", ("MP",)), ("lens", "lens_mm", "mm", ("mm",))],
    "synthesizer": [
        ("width", "width_cm", "cm", ("cm", "mm")), ("weight", "weight_kg", "kg", ("kg", "g")),
    ],
}


def upgraded(document):
    if document.get("schema_version", 1) == 2:
        return document
    new = {**document, "details": {**document["details"]}, "schema_version": 2}
    for was, name, unit, allowed in RULES[document["kind"]]:
        new["details"][name] = measured(new["details"].pop(was), unit, allowed)
    new["labels"] = [part.strip() for part in document["labels"].split(",")]
    new["labels"] = list(filter(None, new["labels"]))
    return new


def migrate(collection):
    updates = []
    for document in collection.find({"schema_version": {"$ne": 2}}):
        try:
            new = upgraded(document)
        except ValueError:
            continue
        unchanged = {key: document[key] for key in ("_id", "labels", "details")}
        updates.append(UpdateOne(
            unchanged | {"schema_version": {"$ne": 2}},
            {"$set": {key: new[key] for key in ("schema_version", "labels", "details")}},
        ))
    return collection.bulk_write(updates, ordered=False).modified_count if updates else 0
"""

_WITH_LOCKS = (
    changed(
        _OWN,
        # Today's version by exclusion, and documents taken one by one until none is left.
        ('"anyOf": [first, second]', '"oneOf": [first, second]'),
        (
            "        changed += collection.update_one(condition, update).modified_count\n",
            "        if collection.find_one_and_update(condition, update) is not None:\n"
            "            changed += 1\n",
        ),
        ('list(collection.find({"schema_version": {"$in": [None, 1]}}))', "_old(collection)"),
    )
    + """

def _old(collection):
    ids = [one["_id"] for one in collection.find({"schema_version": {"$in": [None, 1]}}, {"_id": 1})]
    for one in ids:
        document = collection.find_one({"_id": one, "schema_version": {"$in": [None, 1]}})
        if document is not None:
            yield document
"""
)

CORRECT = {"by hand, in one bulk write": _BY_HAND, "one after another": _WITH_LOCKS}

_RULE = _OWN[_OWN.index("    whole, number") : _OWN.index("    ### END SOLUTION")]
_MIGRATION = _OWN[_OWN.index("    changed = 0") :]
_SKIP = "        try:\n            new = upgraded(old)\n        except ValueError:\n            continue\n"

WRONG = {
    "only validator()": without(_OWN, "upgraded", "migrate"),
    "only upgraded()": without(_OWN, "validator", "migrate"),
    "without validator()": without(_OWN, "validator"),
    "a validator that accepts everything": changed(_OWN, (_RULE, "    return {}\n")),
    "a validator that accepts only the current version": changed(
        _OWN, ('"anyOf": [first, second]', '"anyOf": [second]')
    ),
    "a validator that ignores details": changed(
        _OWN,
        ('"required": [measure.new for measure in measures],', ""),
        ('"properties": {measure.new: above_zero for measure in measures},', ""),
    ),
    "a validator that requires the measures but not their type": changed(
        _OWN, ('"properties": {measure.new: above_zero for measure in measures},', "")
    ),
    "a validator that types the measures but does not require them": changed(
        _OWN, ('"required": [measure.new for measure in measures],', "")
    ),
    "a validator that accepts a measure of 0": changed(_OWN, (', "exclusiveMinimum": True', "")),
    "a validator that rejects additional fields": changed(
        _OWN,
        (
            '"required": ["listing_id", "kind", "title", "labels", "details"],',
            '"required": ["listing_id", "kind", "title", "labels", "details"],\n'
            '            "additionalProperties": False,',
        ),
        (
            '"details": {"bsonType": "object"},',
            '"details": {"bsonType": "object"},\n'
            '                "_id": {}, "schema_version": {}, "labels": {},',
        ),
    ),
    "a validator that accepts any version": changed(
        _OWN, ('"schema_version": {"enum": [1]}', '"schema_version": {"not": {"enum": [2]}}')
    ),
    "a migration that is not idempotent": changed(
        _OWN,
        (
            _MIGRATION,
            """    for old in list(collection.find()):
        try:
            new = upgraded(old)
        except ValueError:
            continue
        collection.replace_one({"_id": old["_id"]}, {**new, "migrations": old.get("migrations", 0) + 1})
    return collection.count_documents({"schema_version": 2})
""",
        ),
    ),
    "a migration that counts the documents it read": changed(
        _OWN,
        (
            "changed += collection.update_one(condition, update).modified_count",
            "collection.update_one(condition, update)\n        changed += 1",
        ),
        ('{"schema_version": {"$in": [None, 1]}}))', "{}))"),
    ),
    "units are dropped": changed(_OWN, (" / units[found[2]]", "")),
    "smaller units cannot be read": changed(_OWN, (", **measure.smaller}", "}")),
    "any unit is accepted": changed(
        _OWN, (" or found[2] not in units", ""), ("units[found[2]]", "units.get(found[2], 1)")
    ),
    "additional fields are lost": changed(
        _OWN,
        (
            "return {**document, ",
            'return {**{name: document[name] for name in ("listing_id", "kind", "title")}, ',
        ),
    ),
    "an unreadable document stops the migration": changed(
        _OWN, (_SKIP, "        new = upgraded(old)\n")
    ),
    "concurrent writes are lost": changed(
        _OWN,
        (
            "collection.update_one(condition, update)",
            'collection.replace_one({"_id": old["_id"]}, new)',
        ),
    ),
    "the argument is modified": changed(
        _OWN, ('details = dict(document["details"])', 'details = document["details"]')
    ),
    "old measures are kept": changed(
        _OWN, ("details.pop(measure.old, None)", "details.get(measure.old)")
    ),
    "an empty string is a label": changed(_OWN, (" if label.strip()]", "]")),
    "labels keep their spaces": changed(_OWN, ("[label.strip() for label", "[label for label")),
    "only documents with version 1 are migrated": changed(_OWN, ("[None, 1]", "[1]")),
    "an interrupted migration cannot continue": changed(
        _OWN,
        (
            "    changed = 0\n",
            '    if collection.count_documents({"schema_version": 2}):\n'
            "        return 0\n    changed = 0\n",
        ),
    ),
    "the expected values of the visible tests": changed(
        _OWN,
        (
            '    if document.get("schema_version") == 2:\n        return document\n',
            "    known = {one.listing_id: one.document for one in market.listings}\n"
            '    return {**document, **known[document["listing_id"]]}\n',
        ),
    ),
}

PARTIAL = {
    "only validator()": 5,
    "only upgraded()": 4,
    "without validator()": 10,
    "concurrent writes are lost": 13,
}
