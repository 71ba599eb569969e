"""The rebuilt notebook: locked cells and tests from the source, answers from the submission."""

from __future__ import annotations

import copy

import pytest

from course.grading.release import released
from course.grading.source import Notebook
from course.grading.submissions import Restored, names_bound_by, restore
from helpers.errors import GradingError
from tests.course.grading import building

SUMS = building.sums()
SOURCE = building.source(SUMS)
CODE = [cell.key for cell in SOURCE.cells if cell.code]


def _submission() -> Notebook:
    """A submission that solves every task."""
    made = released(SOURCE)
    return building.changed(
        made,
        a_add_answer="def add(numbers):\n    return sum(numbers)",
        b_greatest_answer="def greatest(numbers):\n    return max(numbers)",
        a_add_text="It is so.",
    )


def _cells(made: Notebook) -> list[building.Cell]:
    cells: list[building.Cell] = made["cells"]
    return cells


def _texts(restored: Restored) -> dict[str, str]:
    return {step.name: step.text for step in restored.steps}


def test_an_honest_submission_runs_with_the_sources_tests_and_no_notes() -> None:
    restored = restore(SOURCE, _submission())
    assert [step.name for step in restored.steps] == CODE
    assert "the sum of nothing is 0" in _texts(restored)["a-add-hidden"]
    assert _texts(restored)["b-greatest-answer"].endswith("return max(numbers)")
    assert restored.texts == {"a-add-text": "It is so."}
    assert restored.notes == ()
    assert [step.name for step in restored.steps if step.is_test] == [
        "a-add-visible",
        "a-add-hidden",
        "b-greatest-test",
    ]


def test_edited_tests_and_locked_cells_are_restored() -> None:
    made = building.changed(
        _submission(), a_add_visible="pass", a_add_hidden="pass", given_numbers="NUMBERS = []"
    )
    restored = restore(SOURCE, made)
    assert _texts(restored) == _texts(restore(SOURCE, _submission()))
    (note,) = restored.notes
    assert note.startswith("given-numbers, a-add-visible, a-add-hidden: ")
    assert "edited" in note


def test_removed_tests_are_restored_in_their_place() -> None:
    made = _submission()
    made["cells"] = [cell for cell in _cells(made) if not cell["id"].startswith("a-add-h")]
    restored = restore(SOURCE, made)
    assert [step.name for step in restored.steps] == CODE
    assert "a-add-hidden: a locked cell that was removed" in restored.notes[0]


def test_duplicated_tests_run_once() -> None:
    made = _submission()
    made["cells"].append(copy.deepcopy(building.find(made, "a-add-visible")))
    restored = restore(SOURCE, made)
    assert [step.name for step in restored.steps] == CODE
    assert "a-add-visible: a locked cell that was doubled" in restored.notes[0]


def test_cells_run_in_the_order_of_the_source() -> None:
    made = _submission()
    made["cells"].reverse()
    restored = restore(SOURCE, made)
    assert [step.name for step in restored.steps] == CODE
    assert restored.notes == ("Cells were in another order, and were run in the project's.",)


def test_added_cells_stay_after_the_cell_they_followed() -> None:
    made = _submission()
    where = CODE.index("a-add-answer") + 2
    assert made["cells"][where]["id"] == "a-add-answer"
    made["cells"].insert(where + 1, building.code("mine", "x = 1"))
    made["cells"].insert(0, building.code("first", "y = 1"))
    restored = restore(SOURCE, made)
    names = [step.name for step in restored.steps]
    assert names[0] == "own cell 1 after the beginning"
    assert names[names.index("a-add-answer") + 1] == "own cell 1 after a-add-answer"
    assert restored.notes == ()


def test_a_copied_answer_cell_runs_in_its_place() -> None:
    made = _submission()
    twin = copy.deepcopy(building.find(made, "b-greatest-answer"))
    twin["source"] = "def greatest(numbers):\n    return sorted(numbers)[-1]"
    made["cells"].append(twin)
    restored = restore(SOURCE, made)
    assert restored.steps[-1].text == twin["source"]
    assert restored.steps[-1].source is None


def test_a_missing_answer_is_replaced_by_the_stub() -> None:
    made = _submission()
    made["cells"] = [cell for cell in _cells(made) if cell["id"] != "b-greatest-answer"]
    restored = restore(SOURCE, made)
    assert _texts(restored)["b-greatest-answer"] == "# YOUR CODE HERE\nraise NotImplementedError()"
    assert restored.notes == ("b-greatest-answer: this answer cell is missing.",)


def test_cells_without_metadata_are_matched_by_id() -> None:
    made = _submission()
    for cell in made["cells"]:
        cell["metadata"] = {}
    assert _texts(restore(SOURCE, made)) == _texts(restore(SOURCE, _submission()))


def test_a_notebook_without_answer_cells_is_refused() -> None:
    other = building.notebook(building.code("hello", "print(1)"))
    for made in (other, building.notebook()):
        with pytest.raises(GradingError, match="None of the project's answer cells"):
            restore(SOURCE, made)


def test_bound_names_are_found_without_running_the_code() -> None:
    text = (
        "import os.path as where, json\nfrom math import pi\na, (b, c) = 1, (2, 3)\nd: int = 1\n"
        "def f(): hidden = 1\nclass C: pass\nasync def g(): pass\nfor i in []: pass\nx.y = 1"
    )
    found = ["where", "json", "pi", "a", "b", "c", "d", "f", "C", "g", "x"]
    assert names_bound_by(text) == found
    assert names_bound_by("%time x = 1") == []


def test_lost_metadata_and_ids_do_not_matter() -> None:
    """Google Colab and others save notebooks without them."""
    made = _submission()
    for number, cell in enumerate(made["cells"]):
        cell["metadata"], cell["id"] = {}, f"new-{number}"
    assert restore(SOURCE, made) == restore(SOURCE, _submission())


def test_an_untouched_notebook_without_metadata_is_recognized() -> None:
    made = released(SOURCE)
    for cell in made["cells"]:
        cell["metadata"], cell["id"] = {}, "same"
    assert restore(SOURCE, made) == restore(SOURCE, released(SOURCE))


def test_an_answer_without_metadata_is_found_by_what_it_defines() -> None:
    made = building.changed(
        _submission(),
        b_greatest_answer="%load_ext x\n!ls\n\n\ndef greatest(n):\n    return max(n)",
    )
    answer = building.find(made, "b-greatest-answer")
    made["cells"].remove(answer)
    answer["metadata"], answer["id"] = {}, "x"
    draft = building.code("y", "def greatest(n):\n    return 0")
    made["cells"][2:2] = [draft]
    made["cells"].append(answer)
    restored = restore(SOURCE, made)
    assert "return max(n)" in _texts(restored)["b-greatest-answer"]
    assert "return 0" in _texts(restored)["own cell 1 after given-numbers"]


@pytest.mark.parametrize("text", ["(" * 5_000, "x\0y", "\ud800 = 1", "\\d = '\\d'"])
def test_cells_that_python_cannot_parse_are_no_answer(text: str) -> None:
    made = _submission()
    for cell in made["cells"]:
        cell["metadata"], cell["id"] = {}, "same"
    made["cells"].append(building.code("x", text))
    assert restore(SOURCE, made).texts == {"a-add-text": "It is so."}


def test_texts_beside_an_answer_in_words_belong_to_it() -> None:
    """A second cell, a split cell, and words that were written into the question's cell."""
    made = _submission()
    place = made["cells"].index(building.find(made, "a-add-text"))
    made["cells"][place + 1 : place + 1] = [building.markdown("split", "The second half.")]
    made["cells"][place:place] = [building.markdown("early", "Before it.")]
    made = building.changed(made, a_task="## Task A · Add\n\nMy answer is here.")
    made["cells"].insert(0, building.markdown("mine", "My name."))
    made["cells"].append(building.markdown("end", "Of task B, which has no question."))
    assert restore(SOURCE, made).texts == {
        "a-add-text": "## Task A · Add\n\nMy answer is here.\n\nBefore it.\n\nIt is so."
        "\n\nThe second half."
    }


@pytest.mark.parametrize("text", ["", "  \n", "YOUR ANSWER HERE", None])
def test_an_answer_in_words_that_was_not_written_is_empty(text: str | None) -> None:
    made = _submission()
    if text is None:
        made["cells"].remove(building.find(made, "a-add-text"))
    else:
        made = building.changed(made, a_add_text=text)
    assert restore(SOURCE, made).texts == {"a-add-text": ""}


def test_an_answer_in_words_can_always_be_written_to_a_file() -> None:
    made = building.changed(_submission(), a_add_text="So \ud800 it is.")
    assert restore(SOURCE, made).texts["a-add-text"].encode() == b"So ? it is."


def test_attached_pictures_are_put_into_the_text() -> None:
    made = building.changed(
        _submission(),
        a_add_text="YOUR ANSWER HERE\n![my plan](attachment:a.png) ![x](attachment:b.svg) "
        "![y](attachment:none.png) ![z](attachment:d.png)",
    )
    cell = building.find(made, "a-add-text")
    cell["attachments"] = {
        "a.png": {"image/png": "iVBO\nRw0="},
        "b.svg": {"image/svg+xml": "<svg onload='x'/>"},
        "d.png": {"image/png": ["no", "text"]},
    }
    assert restore(SOURCE, made).texts["a-add-text"] == (
        "![my plan](data:image/png;base64,iVBORw0=) [the picture b.svg cannot be shown] "
        "[the picture none.png cannot be shown] [the picture d.png cannot be shown]"
    )
