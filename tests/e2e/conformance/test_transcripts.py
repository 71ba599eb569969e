"""Every statement of every scenario is answered as Citus answered it, but for the listed ones."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conformance.databases import Cluster
from tests.e2e.conformance.differences import listed
from tests.e2e.conformance.scenarios import (
    Answer,
    answers_here,
    names,
    recorded,
    replay,
    same,
    statements,
)

pytestmark = pytest.mark.servers


# These have a statement for each interface that the README promises: distributed and reference
# tables, colocation, the views of the metadata, the shard functions, moves, the words of errors.
_FOR_EVERY_CHANGE = ("dml", "nodes", "references", "shop")


@pytest.mark.parametrize(
    "scenario",
    [
        name if name in _FOR_EVERY_CHANGE else pytest.param(name, marks=pytest.mark.verify)
        for name in names()
    ],
)
def test_a_scenario_is_answered_as_by_citus(scenario: str, cluster: Cluster) -> None:
    """Each answer is the recorded one; where a difference is listed, it is the one listed."""
    # A database of its own: the ids of shards and nodes are in the answers.
    with cluster.database() as database:
        found = replay(scenario, database)
    expected = recorded(scenario)
    differing = {
        statement.number
        for statement, one, other in zip(statements(scenario), expected, found, strict=True)
        if not same(statement, one, other)
    }
    must_differ = {} if cluster.citus else listed(scenario)
    unlisted = sorted(differing - set(must_differ))
    assert not unlisted, _report(scenario, unlisted, expected, found)
    vanished = sorted(set(must_differ) - differing)
    assert not vanished, "these differ no longer, so take them out of differences.py:\n" + _report(
        scenario, vanished, expected, found
    )
    for number in sorted(must_differ):
        known = answers_here(scenario)[number]
        assert same(statements(scenario)[number - 1], known, found[number - 1]), (
            f"statement {number} differs ({must_differ[number]}), but not as "
            f"data/answers_here.json says: {found[number - 1]}"
        )


def test_the_answers_that_differ_are_those_that_are_listed() -> None:
    """No answer is kept for a statement that differences.py does not list, or lists twice."""
    for scenario in names():
        assert set(answers_here(scenario)) == set(listed(scenario)), scenario


def _report(scenario: str, numbers: list[int], expected: list[Answer], found: list[Answer]) -> str:
    lines = []
    for number in numbers:
        lines += [
            f"{scenario}, statement {number}: {statements(scenario)[number - 1].sql}",
            f"  Citus: {json.dumps(expected[number - 1], ensure_ascii=False)}",
            f"  here:  {json.dumps(found[number - 1], ensure_ascii=False)}",
        ]
    return "\n".join(lines)
