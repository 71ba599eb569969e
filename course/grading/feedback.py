"""Write a feedback page per student, and a page per question with the answers of all students.

A feedback page has tests, outcomes and reasons, but no test code. A question's page is for the
instructor: it has the model answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape

from course.grading import gradebook
from course.grading.gradebook import Entered
from course.grading.results import Result, Verdict, points
from course.grading.source import Source, SourceCell
from helpers.plots.palette import ALERT, GOOD, GREY, GRID, INK, PAPER

_STYLE = (
    f"""
:root {{ --ink: {INK}; --paper: {PAPER}; --line: {GRID}; --grey: {GREY};
         --good: {GOOD}; --alert: {ALERT}; }}
"""
    """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
       color: var(--ink); background: var(--paper); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
         border-bottom: 1px solid var(--line); }
td:last-child, th:last-child { text-align: right; white-space: nowrap; }
.passed { color: var(--good); } .failed { color: var(--alert); }
blockquote { margin: .5rem 0; padding: .2rem 1rem; border-left: 3px solid var(--grey);
             white-space: pre-wrap; }
img { max-width: 100%; }
.model { position: sticky; top: 0; max-height: 40vh; overflow: auto; background: var(--paper);
         border-bottom: 1px solid var(--grey); }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr));
           gap: 0 2rem; width: calc(100vw - 4rem); margin-left: calc(50% - 50vw + 2rem); }
"""
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_NOTHING = "(nothing)"
#: A picture that ``submissions`` has put into an answer.
_PICTURE = re.compile(
    r"!\[([^\]\n]{0,200})\]\((data:image/(?:png|jpeg|gif|webp);base64,[\w+/=]+)\)"
)


def page(
    source: Source,
    student: str,
    result: Result,
    entered: Entered | None = None,
    notes: Iterable[str] = (),
) -> str:
    """Return a student's feedback page as HTML; everything the student wrote is escaped.

    ``notes`` are sentences about how the work was handed in.
    """
    entered = entered or Entered()
    body = [
        f"<h1>{escape(source.title())}</h1>",
        f"<p><strong>{escape(student)}</strong></p>",
        f"<p>{escape(' '.join([gradebook.status(result), *notes]))}</p>",
        *_summary(source, result, entered),
        *_happened(result),
        *(part for task in source.tasks() for part in _task(source, result, task, entered)),
    ]
    return _html(f"{source.title()}: {student}", body)


def question_page(
    source: Source, column: str, results: Mapping[str, Result], entered: Mapping[str, Entered]
) -> str:
    """Return a page with the answers of all students to one question, below the model answer.

    ``column`` is the gradebook's column for its points.
    """
    cell = gradebook.hand_columns(source)[column]
    model = [_model(cell), *_beside(source, cell, 1)]
    body = [
        f"<h1>{escape(_named(source, cell.task))}</h1>",
        f"<p>0 to {cell.points:g} points: column <b>{escape(column)}</b> of grades.csv.</p>",
        *(f"<blockquote>{escape(text)}</blockquote>" for text in _beside(source, cell, -1)),
        '<div class="model"><h2>Model answer</h2>',
        *(f"<blockquote>{escape(text)}</blockquote>" for text in model),
        '</div><div class="answers">',
    ]
    for student, result in results.items():
        given = entered[student].points.get(cell.key)
        got = "" if given is None else f" · {given:g} of {cell.points:g}"
        body.append(f"<section><h2>{escape(student)}{got}</h2>")
        body.append(_answer(result.texts.get(cell.key, "")))
        if comment := entered[student].comments.get(cell.task):
            body.append(f"<p>Your comment: {escape(comment)}</p>")
        body.append("</section>")
    body.append("</div>")
    return _html(f"{source.title()}: {column}", body)


def _beside(source: Source, cell: SourceCell, step: int) -> list[str]:
    """Return the texts of the task just before (``step`` -1) or after (1) an answer in words.

    Before it is its question; a rubric may be on either side.
    """
    texts: list[str] = []
    number = source.cells.index(cell) + step
    while 0 <= number < len(source.cells):
        other = source.cells[number]
        if other.code or other.kind == "manual" or other.task != cell.task:
            break
        texts.append(other.text)
        number += step
    return texts[::step]


def _model(cell: SourceCell) -> str:
    released = set(cell.released().splitlines())
    lines = [line for line in cell.text.splitlines() if "### " not in line]
    return "\n".join(line for line in lines if not line.strip() or line not in released).strip()


def _html(title: str, body: Iterable[str]) -> str:
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            # The page must not load or run anything, whatever was submitted.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def _summary(source: Source, result: Result, entered: Entered) -> Iterator[str]:
    rows = [
        (_named(source, task), points(source, result, task), _worth(source.tests(task)))
        for task in source.tasks()
    ]
    yield "<table><thead><tr><th>Task</th><th>Points</th></tr></thead><tbody>"
    for name, got, worth in rows:
        yield f"<tr><td>{escape(name)}</td><td>{got:g} of {worth:g}</td></tr>"
    got, worth = sum(row[1] for row in rows), sum(row[2] for row in rows)
    yield f"<tr><th>Together</th><th>{got:g} of {worth:g}</th></tr></tbody></table>"
    yield _total(source, result, entered)


def _total(source: Source, result: Result, entered: Entered) -> str:
    total = gradebook.total(source, result, entered)
    most = gradebook.worth(source)
    if total is not None:
        return (
            f"<p>All points, those given by hand too: <strong>{total:g}</strong> of {most:g}.</p>"
        )
    more = _worth(source.manual())
    return f"<p>Up to {more:g} more points are given by hand, for what you wrote in words.</p>"


def _happened(result: Result) -> Iterator[str]:
    failures = [f"{name} {why}." for name, why in result.failures.items()]
    new = [sentence for sentence in failures if sentence not in result.events]
    sentences = [*result.events, *new, *result.notes]
    if sentences:
        yield "<h2>What happened when your notebook was run</h2>"
        yield from _list(sentences)


def _task(source: Source, result: Result, task: str, entered: Entered) -> Iterator[str]:
    yield f"<h2>{escape(_named(source, task))}</h2>"
    if task in entered.overrides:
        got, most = entered.overrides[task], gradebook.worth(source, task)
        yield f"<p>Your instructor set the points of this task: {got:g} of {most:g}.</p>"
    if comment := entered.comments.get(task):
        yield f"<p>Your instructor wrote:</p><blockquote>{escape(comment)}</blockquote>"
    if tests := source.tests(task):
        yield "<table><thead><tr><th>Test</th><th>Outcome</th><th>Points</th></tr></thead>"
        yield "<tbody>"
        for test in tests:
            yield _tested(test, result.verdicts.get(test.key))
        yield "</tbody></table>"
    for cell in source.manual(task):
        text = result.texts.get(cell.key, "")
        given = entered.points.get(cell.key, None if text.strip() else 0.0)
        reached = f"up to {cell.points:g}" if given is None else f"{given:g} of {cell.points:g}"
        yield f"<p>In words, graded by hand: {reached} points. You wrote:</p>"
        yield _answer(text)


def _answer(text: str) -> str:
    """Return an answer in words as HTML, with its pictures."""
    parts: list[str] = []
    end = 0
    for found in _PICTURE.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(f'<img alt="{escape(found[1])}" src="{found[2]}">')
        end = found.end()
    parts.append(escape(text[end:]))
    return f"<blockquote>{''.join(parts).strip() or _NOTHING}</blockquote>"


def _tested(test: SourceCell, verdict: Verdict | None) -> str:
    if verdict is None:
        verdict = Verdict(False, "it was not run")
    kind = "passed" if verdict.passed else "failed"
    outcome = kind if verdict.passed or not verdict.why else f"failed: {verdict.why}"
    got = test.points if verdict.passed else 0
    return (
        f'<tr><td>{escape(test.key)}</td><td class="{kind}">{escape(outcome)}</td>'
        f"<td>{got:g} of {test.points:g}</td></tr>"
    )


def _list(texts: Iterable[str]) -> Iterator[str]:
    yield "<ul>"
    yield from (f"<li>{escape(text)}</li>" for text in texts)
    yield "</ul>"


def _named(source: Source, task: str) -> str:
    title = source.title(task)
    return f"{task.upper()} · {title}" if title else task.upper()


def _worth(cells: list[SourceCell]) -> float:
    return sum(cell.points for cell in cells)
