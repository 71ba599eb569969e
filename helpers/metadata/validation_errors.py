"""Reading why a validator refused a document.

MongoDB explains a refusal (error 121) by a tree with the shape of the schema: every rule that the
document broke, inside the rules around it. Where one of several schemas had to fit (``anyOf``), it
lists what is wrong with each of them, most of which were never meant: the reader keeps those that
the document's own schema version and category point to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.errors import OperationFailure

#: MongoDB's code of a document that failed validation.
REFUSED = 121

_DISCRIMINATORS = ("schema_version", "category")
_CHOICES = ("anyOf", "oneOf")


@dataclass(frozen=True)
class BrokenRule:
    """One rule that a document broke: the field, the schema's keyword, and what was found there."""

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
    """Return the rules that the refused document broke; none where the error is another one.

    Of a ``BulkWriteError``, those of the first document that was refused.
    """
    details: Any = error.details or {}
    for one in (details, *details.get("writeErrors", [])):
        if one.get("code") == REFUSED:
            return read_refusal(one)
    return []


def read_refusal(write_error: Mapping[str, Any]) -> list[BrokenRule]:
    """Return the rules broken, from one write error as the server sent it."""
    tree = write_error.get("errInfo", {}).get("details", {})
    return _distinct(_walk(tree, "")) if tree else []


def _walk(node: Mapping[str, Any], path: str) -> Iterator[BrokenRule]:
    name = node.get("operatorName", "")
    if name in _CHOICES and "schemasNotSatisfied" in node:
        yield from _meant(node["schemasNotSatisfied"], path)
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
    """Yield the explanations inside one, each with the path that it is about."""
    for rule in node.get("schemaRulesNotSatisfied", []):
        yield rule, path
    for one in node.get("propertiesNotSatisfied", []):
        for part in one["details"]:
            yield part, _join(path, one["propertyName"])
    for schema in node.get("schemasNotSatisfied", []):  # of allOf
        for part in schema["details"]:
            yield part, path
    inside = node.get("failingProperty", node.get("itemIndex"))
    for part in node.get("details", []):
        yield part, path if inside is None else _join(path, inside)


def _meant(schemas: Iterable[Mapping[str, Any]], path: str) -> list[BrokenRule]:
    """Return what is wrong with the schemas that the document's discriminators point to."""
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
