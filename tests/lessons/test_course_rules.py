"""The lessons as one course: minutes add up, terms are in the glossary, links are valid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.settings import PROJECT
from tests.lessons.course_rules import (
    broken_links,
    close_of,
    section_minutes,
    texts,
    total_minutes,
)
from tests.lessons.glossary import GLOSSARY, Entry, read_glossary, unlinked, uses
from tests.lessons.markdown import anchors, headings, links, prose

LESSONS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = [*LESSONS, PROJECT / "project" / "07_project.ipynb"]
PLACE = PROJECT / "notebooks" / GLOSSARY
ENTRIES = read_glossary(PLACE.read_text("utf-8"))

#: Terms that a lesson uses with another meaning, such as the idempotency key of an order.
OTHER_MEANINGS: Mapping[str, set[str]] = {"06_failure_drills": {"key"}, "07_project": {"task"}}


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _lesson(*markdown: str) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "markdown", "id": f"cell-{number}", "source": text}
            for number, text in enumerate(markdown)
        ]
    }


# ---- Minutes --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_minutes_of_the_sections_add_up_to_those_of_the_lesson(path: Path) -> None:
    sections = section_minutes(_read(path))
    assert len(sections) > 5
    assert [title for title, minutes in sections.items() if not minutes] == []
    assert sum(minutes or 0 for minutes in sections.values()) == total_minutes(_read(path))


def test_a_section_without_minutes_is_found() -> None:
    lesson = _lesson("# A\n\nAbout 9 minutes.", "## 1 · B *(4 min)*\n\n## 2 · C\n\n### D")
    assert total_minutes(lesson) == 9
    assert section_minutes(lesson) == {"1 · B": 4, "2 · C": None}


@pytest.mark.parametrize("place", ["README.md", "notebooks/00_tour.ipynb"])
def test_the_tables_of_lessons_say_the_same_minutes(place: str) -> None:
    """In a row of each table stand a lesson's number, first, and its minutes, last."""
    text = (PROJECT / place).read_text("utf-8")
    text = "\n".join(texts(json.loads(text))) if place.endswith(".ipynb") else text
    rows = re.findall(r"^\| (?:\*\*)?(0\d)(?:\*\*)? \|.*\| (\d+) \|$", text, re.MULTILINE)
    assert dict(rows) == {path.stem[:2]: str(total_minutes(_read(path))) for path in NOTEBOOKS}


# ---- Links ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings_that_are_there(path: Path) -> None:
    for text in texts(_read(path)):
        assert list(broken_links(text, path.parent)) == []


def test_links_of_the_glossary_lead_to_files_and_headings_that_are_there() -> None:
    assert list(broken_links(PLACE.read_text("utf-8"), PLACE.parent)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_lesson_ends_with_the_way_on_and_the_way_back(path: Path) -> None:
    """The project is not a link: students get it from their instructor."""
    at = NOTEBOOKS.index(path)
    last = close_of(_read(path)).rstrip().rpartition("\n\n")[2]
    expected = {one.name for one in (*LESSONS[at + 1 : at + 2], *LESSONS[max(0, at - 1) : at])}
    assert {Path(link.target).name for link in links(last)} == expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_in_the_text_are_told_in_words(path: Path) -> None:
    for link in links("\n".join(texts(_read(path)))):
        assert not link.image or len(link.text.split()) > 5, link.target


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "words.md").write_text("# Words\n\n### round trip\n\n### TTL\n", "utf-8")
    text = (
        "# A, b\n\n[a](words.md#round-trip) [b](words.md#TTL) [c](none.md) `[d](e.md)` "
        "[f](https://g.h) [i](#a-b) [j](#a)"
    )
    found = broken_links(text, tmp_path)
    assert [link.target for link in found] == ["words.md#TTL", "none.md", "#a"]


# ---- Terms ----------------------------------------------------------------------------------


def test_the_glossary_has_an_entry_for_each_word_in_alphabetical_order() -> None:
    text = PLACE.read_text("utf-8")
    terms = [entry.term for entry in ENTRIES]
    assert ["Glossary", *terms] == headings(text)
    assert terms == sorted(set(terms))
    assert len(terms) > 60
    assert {entry.anchor for entry in ENTRIES} == anchors(text)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.anchor)
def test_an_entry_is_short_and_leads_to_a_lesson_that_uses_the_word(entry: Entry) -> None:
    said, _, where = entry.text.rpartition(" Met in ")
    assert 1 <= len(re.findall(r"[.](?= |$)", re.sub(r"`[^`]*`|\([^)]*\)", "", said))) <= 3
    (link,) = links(where)
    assert link.text == f"lesson {link.target[:2]}"
    lesson = _read(PLACE.parent / link.target)
    found = [use for text in texts(lesson) for use in uses(text, [entry])]
    assert any(use.linked for use in found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_word_is_linked_where_it_is_first_used_and_only_there(path: Path) -> None:
    others = OTHER_MEANINGS.get(path.stem, set())
    found = [
        f"{cell}: {use.entry.term}"
        for cell, use in unlinked(_read(path), ENTRIES)
        if use.entry.term not in others
    ]
    assert found == []


def test_a_first_use_without_a_link_is_found_and_a_second_link_too() -> None:
    shard, stream, trip = (
        Entry("shard", (), "A part."),
        Entry("stream", (), "A row."),
        Entry("round trip", ("trips",), "There and back."),
    )
    lesson = _lesson(
        "# Shards and `shards`\n\n| shard |\n\nA [shard](glossary.md#shard), two shards.",
        "Of a change stream, nothing. **Streams** of [round-trips](glossary.md#round-trip).",
        "```\nshard\n```\n[Shards](../notebooks/glossary.md#shard); [a stream](x.md); trips",
    )
    found = list(unlinked(lesson, [shard, stream, trip, Entry("change stream", (), "")]))
    assert [(cell, use.entry.term) for cell, use in found] == [
        ("cell-1", "change stream"),
        ("cell-1", "stream"),
        ("cell-2", "shard"),
    ]


def test_other_forms_of_a_word_are_read_from_its_entry() -> None:
    text = "### n plus one problem\n\nAlso *N+1 problem*, *N+1*. One, then more.\n\n### key\n\nA.\n"
    (problem, key) = read_glossary(text)
    assert problem == Entry("n plus one problem", ("N+1 problem", "N+1"), "One, then more.")
    assert key == Entry("key", (), "A.")
    assert [
        use.entry for use in uses("The N+1 problem, N+1; monkeys, key-value.", [problem, key])
    ] == [
        problem,
        problem,
        key,
    ]


def test_of_links_only_the_text_is_prose() -> None:
    text = "## A\n\n`b` [c](d.md) <!-- e --> ![f](g.png)"
    assert len(prose(text)) == len(text)
    assert prose(text).split() == ["c", "!", "f"]
