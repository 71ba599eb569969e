"""The table in docs/differences.md is the one that the tests hold the engine to."""

from __future__ import annotations

from helpers.settings import PROJECT
from tests.e2e.conformance.differences import DIFFERENCES, markdown


def test_the_document_shows_the_table_of_differences() -> None:
    """What stands between the two markers is what ``differences.py`` prints."""
    document = (PROJECT / "docs" / "differences.md").read_text("utf-8")
    assert "<!-- differences -->" in document, "the document has no marker for the table"
    _, _, rest = document.partition("<!-- differences -->")
    shown, marker, _ = rest.partition("<!-- /differences -->")
    assert marker, "the document does not say where the table ends"
    assert shown.strip() == markdown(), (
        "put in what `python -m tests.e2e.conformance.differences` prints"
    )


def test_every_difference_is_described_once_and_fits_a_table() -> None:
    """Ids are unique, nothing is left blank, and no text breaks the table's cells."""
    assert len({one.id for one in DIFFERENCES}) == len(DIFFERENCES)
    for one in DIFFERENCES:
        for text in (one.what, one.here, one.why):
            assert text.strip(), one.id
            assert "|" not in text, one.id
            assert "\n" not in text, one.id
    claimed = [
        (scenario, number)
        for one in DIFFERENCES
        for scenario, numbers in one.statements.items()
        for number in numbers
    ]
    assert len(set(claimed)) == len(claimed), "a statement differs for one reason"
