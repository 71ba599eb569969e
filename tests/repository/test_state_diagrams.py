"""The state diagrams in the lessons: each is generated from the code's table of transitions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from helpers.orders import saga
from helpers.settings import PROJECT
from helpers.stock import reservations
from helpers.stores import circuit_breaker

Transitions = Sequence[tuple[str, str, str]]

#: The diagrams of each lesson, in order.
DIAGRAMS: dict[str, list[Transitions]] = {
    "03_redis_stock": [reservations.TRANSITIONS],
    "06_failure_drills": [circuit_breaker.TRANSITIONS, saga.TRANSITIONS],
}

_BLOCK = re.compile(r"```mermaid\n(.*?)```\n", re.DOTALL)


def mermaid(transitions: Transitions) -> str:
    """Return a Mermaid state diagram; the first transition starts from the initial state."""
    states = dict.fromkeys(state for before, _, after in transitions for state in (before, after))
    names = {state: re.sub(r"\W", "_", state) for state in states}
    final = states.keys() - {before for before, _, _ in transitions}
    lines = [
        "stateDiagram-v2",
        # Mermaid's state names have no spaces or hyphens.
        *(f'    state "{state}" as {name}' for state, name in names.items() if state != name),
        f"    [*] --> {names[transitions[0][0]]}",
        *(f"    {names[before]} --> {names[after]}: {step}" for before, step, after in transitions),
        *(f"    {names[state]} --> [*]" for state in states if state in final),
    ]
    return "\n".join(lines) + "\n"


def test_every_diagram_in_a_lesson_is_listed_here() -> None:
    lessons = (PROJECT / "notebooks").glob("*.ipynb")
    found = {lesson.stem for lesson in lessons if "```mermaid" in lesson.read_text("utf-8")}
    assert found == DIAGRAMS.keys()


@pytest.mark.parametrize("lesson", DIAGRAMS)
def test_diagrams_match_the_tables_of_transitions(lesson: str) -> None:
    notebook = json.loads((PROJECT / "notebooks" / f"{lesson}.ipynb").read_text("utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    cells = [source for source in sources if "```mermaid" in source]
    assert [_BLOCK.findall(cell) for cell in cells] == [
        [mermaid(transitions)] for transitions in DIAGRAMS[lesson]
    ]
    for cell, transitions in zip(cells, DIAGRAMS[lesson], strict=True):
        text = _BLOCK.sub("", cell)
        for words in transitions:
            assert all(f"`{word}`" in text for word in words), "the text describes the diagram"


def test_a_state_name_with_a_space_or_hyphen_gets_an_alias() -> None:
    assert mermaid([("half-open", "fail", "really open")]) == (
        "stateDiagram-v2\n"
        '    state "half-open" as half_open\n'
        '    state "really open" as really_open\n'
        "    [*] --> half_open\n"
        "    half_open --> really_open: fail\n"
        "    really_open --> [*]\n"
    )
