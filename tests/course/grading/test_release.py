"""The students' version: everything they need, and nothing of solutions and hidden tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from course.grading.release import main, released, write
from course.grading.source import CODE_STUB, HIDDEN_STUB, TEXT_STUB, Notebook
from helpers.errors import GradingError
from helpers.settings import PROJECT
from tests.course.grading import building
from tests.lessons.course_rules import broken_links
from tests.lessons.markdown import links

SOURCES = [
    building.sums(),
    *map(json.loads, (p.read_text("utf-8") for p in sorted((PROJECT / "project").glob("*.ipynb")))),
]
_REGION = re.compile(
    r"^[^\n]*### BEGIN (?P<name>SOLUTION|HIDDEN TESTS)[^\n]*\n"
    r"(?P<body>.*?)^[^\n]*### END (?P=name)",
    re.DOTALL | re.MULTILINE,
)


def _text(cell: building.Cell) -> str:
    return "".join(cell["source"])


def _secrets(made: Notebook) -> set[str]:
    """Return every line between markers, found independently of the implementation."""
    inside = [found["body"] for cell in made["cells"] for found in _REGION.finditer(_text(cell))]
    outside = {
        line.strip() for cell in made["cells"] for line in _REGION.sub("", _text(cell)).splitlines()
    }
    return {line.strip() for body in inside for line in body.splitlines()} - outside - {""}


@pytest.mark.parametrize("made", SOURCES, ids=lambda m: _text(m["cells"][0]).split("\n")[0])
def test_no_line_of_a_solution_or_a_hidden_test_is_released(made: Notebook) -> None:
    secrets = _secrets(made)
    assert secrets
    out = released(building.source(made))
    lines = {line.strip() for cell in out["cells"] for line in _text(cell).splitlines()}
    assert not secrets & lines
    text = json.dumps(out, ensure_ascii=False)
    long = {json.dumps(line, ensure_ascii=False)[1:-1] for line in secrets if len(line) > 20}
    assert not [line for line in long if line in text]
    assert "### BEGIN" not in text
    assert "### END" not in text


def test_stubs_replace_solutions_with_the_same_indentation() -> None:
    out = released(building.source(building.sums()))
    stub = "\n".join(f"    {line}" for line in CODE_STUB)
    assert building.find(out, "a-add-answer")["source"] == f"def add(numbers):\n{stub}"
    assert building.find(out, "b-greatest-answer")["source"] == "\n".join(CODE_STUB)
    assert building.find(out, "a-add-text")["source"] == TEXT_STUB[0]


def test_visible_tests_are_kept_and_hidden_ones_leave_a_comment() -> None:
    made = building.sums()
    out = released(building.source(made))
    visible = building.find(made, "a-add-visible")["source"]
    assert building.find(out, "a-add-visible")["source"] == visible
    assert building.find(out, "a-add-hidden")["source"] == HIDDEN_STUB
    assert building.find(out, "b-greatest-test")["source"] == (
        "assert greatest(NUMBERS) == 3, 'the greatest of three'"
    )


def test_an_answer_without_markers_is_replaced_as_a_whole() -> None:
    made = building.changed(
        building.sums(), b_greatest_answer="def greatest(n):\n    return max(n)"
    )
    out = released(building.source(made))
    assert building.find(out, "b-greatest-answer")["source"] == "\n".join(CODE_STUB)


def test_outputs_are_removed_and_locked_cells_are_not_editable() -> None:
    made = building.sums()
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "6"}]
            cell["execution_count"] = 7
    out = released(building.source(made))
    cells = [cell for cell in out["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    for name in ("given-numbers", "a-add-visible", "a-add-hidden"):
        assert building.find(out, name)["metadata"]["editable"] is False
    assert "editable" not in building.find(out, "a-add-answer")["metadata"]


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = building.write(building.sums(), tmp_path / "source" / "07.ipynb")
    before = source.read_bytes()
    place = write(source, tmp_path / "out" / "new")
    assert place == tmp_path / "out" / "new" / "07.ipynb"
    assert json.loads(place.read_text("utf-8")) == released(building.source(building.sums()))
    with pytest.raises(GradingError, match="the source itself"):
        write(source, source.parent)
    assert source.read_bytes() == before


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="cannot be read"):
        write(tmp_path / "none.ipynb", tmp_path / "out")


def test_links_lead_to_lessons_in_the_same_folder(tmp_path: Path) -> None:
    place = write(PROJECT / "project" / "07_project.ipynb", tmp_path)
    out = json.loads(place.read_text("utf-8"))
    found = [link.target for cell in out["cells"] for link in links(_text(cell))]
    assert "06_failure_drills.ipynb" in found
    assert "glossary.md#ledger" in found
    for cell in out["cells"]:
        if cell["cell_type"] == "markdown":
            assert list(broken_links(_text(cell), PROJECT / "notebooks")) == []


def test_a_tilde_in_an_argument_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``make release TO=~/rel`` passes it on unexpanded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    source = str(PROJECT / "project" / "07_project.ipynb")
    monkeypatch.setattr("sys.argv", ["release", "--source", source, "--to", "~/rel"])
    assert main() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rel"]
