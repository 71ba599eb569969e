"""nbgrader's own preprocessors produce the same students' version of the project."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    LockCells,
)

from course.grading.release import released
from course.grading.source import HIDDEN_STUB, parse_source, read_source
from helpers.settings import PROJECT
from tests.course.grading import building

# In the order of `nbgrader generate_assignment`.
STEPS = (LockCells, ClearSolutions, ClearOutput, CheckCellMetadata, ClearHiddenTests)
PROJECTS = {
    "the course's": read_source(PROJECT / "project" / "07_project.ipynb").notebook,
    "sums": building.sums(),
}


def _read(notebook: dict[str, Any]) -> Any:
    return nbformat.reads(json.dumps(notebook), as_version=4)


def _by_nbgrader(notebook: dict[str, Any]) -> Any:
    made = _read(notebook)
    resources: dict[str, Any] = {}
    for step in STEPS:
        made, resources = step().preprocess(made, resources)
    return made


@pytest.mark.parametrize("name", PROJECTS)
def test_nbgrader_releases_the_same_notebook(name: str) -> None:
    theirs = _by_nbgrader(PROJECTS[name])["cells"]
    ours = released(parse_source(PROJECTS[name]))["cells"]
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours, strict=True):
        # Differences: a comment in cells that nbgrader leaves empty, and links that are relative to
        # the students' folder.
        expected = their["source"].strip().replace("](../notebooks/", "](") or HIDDEN_STUB
        assert our["source"].strip() == expected, our["id"]
        for mark in ("deletable", "editable"):
            assert our["metadata"].get(mark) == their["metadata"].get(mark), (our["id"], mark)


@pytest.mark.parametrize("name", PROJECTS)
def test_nbgrader_accepts_the_source(name: str) -> None:
    CheckCellMetadata().preprocess(_read(PROJECTS[name]), {})
