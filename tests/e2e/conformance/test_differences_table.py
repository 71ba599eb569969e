"""The table in docs/differences.md is the one in ``differences.py``."""

from __future__ import annotations

from helpers.settings import PROJECT
from tests.e2e.conformance.differences import DIFFERENCES, markdown


def test_the_document_shows_the_table_of_differences() -> None:
    """The text between the two markers is what ``differences.py`` prints."""
    document = (PROJECT / "docs" / "differences.md").read_text("utf-8")
    assert "<!-- differences -->" in document, "the document has no marker for the table"
    _, _, rest = document.partition("<!-- differences -->")
    shown, marker, _ = rest.partition("<!-- /differences -->")
    assert marker, "the document has no marker for the end of the table"
    assert shown.strip() == markdown(), (
        "insert what `python -m tests.e2e.conformance.differences` prints"
    )


def test_every_difference_has_a_unique_id_and_fits_a_table() -> None:
    """Ids are unique, no text is empty, and none contains a cell separator or a line break."""
    assert len({difference.id for difference in DIFFERENCES}) == len(DIFFERENCES)
    for difference in DIFFERENCES:
        for text in (difference.what, difference.here, difference.why):
            assert text.strip(), difference.id
            assert "|" not in text, difference.id
            assert "\n" not in text, difference.id
    listed = [
        (scenario, number)
        for difference in DIFFERENCES
        for scenario, numbers in difference.statements.items()
        for number in numbers
    ]
    assert len(set(listed)) == len(listed), "a statement has one difference only"
