"""Record the scenarios again: ``python -m tests.e2e.conformance.record_answers [SCENARIO …]``.

With genuine Citus (PG_BINDIR) this writes its results; otherwise, the results that differ.
"""

from __future__ import annotations

import json
import sys

from tests.e2e.conformance.databases import running_cluster
from tests.e2e.conformance.scenarios import (
    DATA,
    Answer,
    answers_here,
    names,
    recorded,
    replay,
    same,
    statements,
)


def main(scenarios: list[str]) -> None:
    """Execute the scenarios on a separate cluster and write its results."""
    differing: dict[str, dict[int, Answer]] = {name: answers_here(name) for name in names()}
    with running_cluster() as cluster:
        for name in scenarios or names():
            with cluster.database() as database:
                answers = replay(name, database)
            if cluster.citus:
                _write_transcript(name, answers)
                continue
            triples = zip(statements(name), recorded(name), answers, strict=True)
            differing[name] = {
                statement.number: found
                for statement, expected, found in triples
                if not same(statement, expected, found)
            }
    if not cluster.citus:
        _write_differing({name: found for name, found in differing.items() if found})


def _write_transcript(name: str, answers: list[Answer]) -> None:
    pairs = zip(statements(name), answers, strict=True)
    lines = [
        json.dumps({"sql": statement.sql} | answer, ensure_ascii=False)
        for statement, answer in pairs
    ]
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    (DATA / "scenarios" / f"{name}.json").write_text(text, "utf-8")


def _write_differing(differing: dict[str, dict[int, Answer]]) -> None:
    parts = []
    for name, answers in differing.items():
        lines = [f'  "{n}": {json.dumps(a, ensure_ascii=False)}' for n, a in answers.items()]
        parts.append(f' "{name}": {{\n' + ",\n".join(lines) + "\n }")
    (DATA / "answers_here.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
