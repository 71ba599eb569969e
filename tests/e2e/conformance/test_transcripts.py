"""Every statement of every scenario has Citus's recorded result, or a listed difference."""

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


# These cover each interface that the README promises: distributed and reference tables, colocation,
# the metadata's views, the shard functions, moves, error messages.
_IN_MAKE_TEST = ("dml", "nodes", "references", "shop")


@pytest.mark.parametrize(
    "scenario",
    [
        name if name in _IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.verify)
        for name in names()
    ],
)
def test_a_scenario_has_the_recorded_results_of_citus(scenario: str, cluster: Cluster) -> None:
    """Each result is the recorded one; a listed difference has its recorded result."""
    # A new database, since the results have the ids of shards and nodes.
    with cluster.database() as database:
        found = replay(scenario, database)
    expected = recorded(scenario)
    differing = {
        statement.number
        for statement, citus, here in zip(statements(scenario), expected, found, strict=True)
        if not same(statement, citus, here)
    }
    must_differ = {} if cluster.citus else listed(scenario)
    unlisted = sorted(differing - set(must_differ))
    assert not unlisted, _report(scenario, unlisted, expected, found)
    obsolete = sorted(set(must_differ) - differing)
    assert not obsolete, "these no longer differ: remove them from differences.py:\n" + _report(
        scenario, obsolete, expected, found
    )
    for number in sorted(must_differ):
        known = answers_here(scenario)[number]
        assert same(statements(scenario)[number - 1], known, found[number - 1]), (
            f"statement {number} ({must_differ[number]}) does not have the result in "
            f"data/answers_here.json: {found[number - 1]}"
        )


def test_exactly_the_listed_differences_have_recorded_results() -> None:
    """``answers_here.json`` has the statements that ``differences.py`` lists, and no others."""
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
