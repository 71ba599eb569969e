"""The feedback pages and the questions' pages: untrusted text, pictures, and no test code."""

from __future__ import annotations

from html.parser import HTMLParser

from course.grading import feedback
from course.grading.gradebook import Entered
from course.grading.results import Result, Verdict
from course.grading.source import Source
from tests.course.grading import building

SOURCE: Source = building.source(building.sums())
ALL = {cell.key: Verdict(True) for cell in SOURCE.tests()}
HALF = Result(
    verdicts={**ALL, "a-add-hidden": Verdict(False, "the sum of nothing is 0")},
    texts={"a-add-text": "So it is."},
)


class _Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_explains_failures_and_shows_no_test_code() -> None:
    page = feedback.page(SOURCE, "ben", HALF)
    assert "failed: the sum of nothing is 0" in page
    assert "<h1>Sums</h1>" in page
    assert "A · Add" in page
    assert "14 of 20" in page
    for cell in SOURCE.tests():
        assert not [line for line in cell.text.splitlines() if line in page]


def test_a_page_shows_points_entered_by_hand() -> None:
    assert "up to 5 points" in feedback.page(SOURCE, "ben", HALF)
    page = feedback.page(SOURCE, "ben", HALF, Entered({"a-add-text": 3.5}))
    assert "3.5 of 5 points" in page
    assert "<strong>17.5</strong>" in page
    assert "more points" not in page


def test_a_page_escapes_text_of_the_student() -> None:
    bad = "<script>alert(1)</script><img src=x>"
    result = Result(
        verdicts={"a-add-visible": Verdict(False, bad)},
        failures={bad: bad},
        events=[bad],
        notes=[bad],
        texts={"a-add-text": bad},
    )
    page = _Page(feedback.page(SOURCE, bad, result))
    assert not page.tags & {"script", "img"}
    assert page.text.count(bad) >= 6
    assert not _Page(feedback.page(SOURCE, "x", Result(refusal=bad))).tags & {"script"}


def test_an_empty_answer_is_shown_with_0_points() -> None:
    page = feedback.page(SOURCE, "ben", Result(verdicts=ALL))
    assert "0 of 5 points" in page
    assert "<strong>20</strong> of 25" in page


def test_a_page_shows_the_override_and_the_comment() -> None:
    entered = Entered({"a-add-text": 3}, {"a": 12.5}, {"a": "Well <argued>.", "b": "See me."})
    page = _Page(feedback.page(SOURCE, "ben", HALF, entered, ["Canvas says that it is late."]))
    for sentence in ("12.5 of 15", "Well <argued>.", "See me.", "it is late"):
        assert sentence in page.text


_PNG = "data:image/png;base64,iVBORw0KGgo="


def test_pictures_are_shown_and_nothing_else_is_loaded() -> None:
    texts = "Look: ![<b>](" + _PNG + ") and ![x](http://a/b.png) ![y](data:text/html;base64,aGk=)"
    page = _Page(feedback.page(SOURCE, "x", Result(texts={"a-add-text": texts})))
    assert page.sources == [_PNG]
    assert "![x](http://a/b.png)" in page.text
    assert not page.tags & {"b", "script"}


def test_a_questions_page_has_all_answers_below_the_model_answer() -> None:
    results = {"anna": HALF, "ben": Result(verdicts=ALL), "=cleo": HALF}
    entered = {name: Entered() for name in results} | {
        "=cleo": Entered({"a-add-text": 2}, {}, {"a": "Short."})
    }
    page = _Page(feedback.question_page(SOURCE, "a by hand", results, entered)).text
    order = ["a by hand", "Model answer", "Because addition is associative.", "anna", "So it is.",
             "ben", "(nothing)", "=cleo", "2 of 5", "So it is.", "Short."]  # fmt: skip
    place = 0
    for part in order:
        place = page.index(part, place)
    assert "###" not in page


def test_a_questions_page_has_the_question_and_a_rubric_beside_the_answer() -> None:
    made = building.sums()
    place = made["cells"].index(building.find(made, "a-add-text"))
    made["cells"].insert(place + 1, building.markdown("a-add-rubric", "2 points for the law."))
    made["cells"].insert(place, building.markdown("a-add-question", "Why does it work?"))
    page = _Page(feedback.question_page(building.source(made), "a by hand", {}, {})).text
    order = ("Why does it work?", "Because addition", "2 points for the law.")
    assert sorted(map(page.index, order)) == [page.index(part) for part in order]
    assert "Greatest" not in page
