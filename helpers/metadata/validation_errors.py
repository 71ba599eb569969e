"""Read from a MongoDB error why a document failed validation.

MongoDB's error 121 (DocumentValidationFailure) has a tree in the shape of the schema, with every
rule that the document broke. If one of several schemas must match (``anyOf``), it lists the broken
rules of each of them. This module keeps the rules of the document's schema version and category.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.errors import OperationFailure

#: MongoDB's error code DocumentValidationFailure.
VALIDATION_FAILED = 121

_DISCRIMINATORS = ("schema_version", "category")
_CHOICES = ("anyOf", "oneOf")


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a document broke: the field, the keyword of the schema, and the value found."""

    field: str
    rule: str
    expected: Any = None
    found: Any = None

    def __str__(self) -> str:
        if self.rule == "required":
            return f"{self.field} is missing"
        if self.rule in ("bsonType", "type"):
            return f"{self.field} is {self.found!r}, and must be {_listed(self.expected)}"
        return f"{self.field} is {self.found!r}, against {self.rule} {self.expected!r}"

    @property
    def key(self) -> tuple[str, str]:
        return self.field, self.rule


def broken_rules(error: OperationFailure) -> list[BrokenRule]:
    """Return the rules that a document broke, an empty list if the error is another one.

    From a ``BulkWriteError``, returns the rules that the first invalid document broke.
    """
    details: Any = error.details or {}
    for write_error in (details, *details.get("writeErrors", [])):
        if write_error.get("code") == VALIDATION_FAILED:
            return read_write_error(write_error)
    return []


def read_write_error(write_error: Mapping[str, Any]) -> list[BrokenRule]:
    """Return the broken rules in one write error of a server's response."""
    tree = write_error.get("errInfo", {}).get("details", {})
    return _distinct(_walk(tree, "")) if tree else []


def _walk(node: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    name = node.get("operatorName", "")
    if name in _CHOICES and "schemasNotSatisfied" in node:
        yield from _relevant(node["schemasNotSatisfied"], path)
    elif name == "required":
        for missing in node.get("missingProperties", []):
            yield BrokenRule(_join(path, missing), "required")
    else:
        inner = list(_inner(node, path))
        for part, inside in inner:
            yield from _walk(part, inside)
        if not inner:
            specified = node.get("specifiedAs", {})
            yield BrokenRule(
                path or "document", name, specified.get(name), node.get("consideredValue")
            )


def _inner(node: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the children of a node, each with the path of its field."""
    for rule in node.get("schemaRulesNotSatisfied", []):
        yield rule, path
    for field in node.get("propertiesNotSatisfied", []):
        for part in field["details"]:
            yield part, _join(path, field["propertyName"])
    for schema in node.get("schemasNotSatisfied", []):  # of allOf
        for part in schema["details"]:
            yield part, path
    inside = node.get("failingProperty", node.get("itemIndex"))
    for part in node.get("details", []):
        yield part, path if inside is None else _join(path, inside)


def _relevant(schemas: Iterable[Mapping[str, Any]], path: str) -> list[BrokenRule]:
    """Return the broken rules of the schemas that the document's discriminators select."""
    options = [
        _distinct(rule for part in schema["details"] for rule in _walk(part, path))
        for schema in schemas
    ]
    ranks = [
        tuple(any(rule.field == name for rule in rules) for name in _DISCRIMINATORS)
        for rules in options
    ]
    best = min(ranks)
    kept = [rule for rules, rank in zip(options, ranks, strict=True) if rank == best
            for rule in rules]  # fmt: skip
    if any(best):
        kept = [rule for rule in kept if rule.field in _DISCRIMINATORS]
    return _distinct(kept)


def _distinct(rules: Iterable[BrokenRule]) -> list[BrokenRule]:
    return list({rule.key: rule for rule in rules}.values())


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _listed(expected: Any) -> str:
    return " or ".join(expected) if isinstance(expected, list) else str(expected)
