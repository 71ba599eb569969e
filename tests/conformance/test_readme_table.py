"""The README's table of differences is the one that the tests hold the engine to."""

from __future__ import annotations

from helpers.settings import PROJECT
from tests.conformance.differences import DIFFERENCES, markdown


def test_the_readme_shows_the_table_of_differences() -> None:
    """What stands between the two markers is what ``differences.py`` prints."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    assert "<!-- differences -->" in readme, "the README has no marker for the table"
    _, _, rest = readme.partition("<!-- differences -->")
    shown, marker, _ = rest.partition("<!-- /differences -->")
    assert marker, "the README does not say where the table ends"
    assert shown.strip() == markdown(), (
        "put in what `python -m tests.conformance.differences` prints"
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
