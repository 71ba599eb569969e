"""Write a feedback page per student: tests, outcomes and reasons, but no test code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from types import MappingProxyType

from course.grading import gradebook
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
"""
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    source: Source, student: str, result: Result, entered: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return a student's feedback page as HTML; everything the student wrote is escaped.

    ``entered`` holds the points given by hand, by task.
    """
    title = source.title()
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p><strong>{escape(student)}</strong></p>",
        f"<p>{escape(gradebook.status(result))}</p>",
        *_summary(source, result, entered),
        *_happened(result),
        *(part for task in source.tasks() for part in _task(source, result, task, entered)),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            # The page must not load or run anything, whatever was submitted.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}: {escape(student)}</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def _summary(source: Source, result: Result, entered: Mapping[str, str]) -> Iterator[str]:
    rows = [
        (_named(source, task), points(source, result, task), _worth(source.tests(task)))
        for task in source.tasks()
    ]
    yield "<table><thead><tr><th>Task</th><th>Points</th></tr></thead><tbody>"
    for name, got, worth in rows:
        yield f"<tr><td>{escape(name)}</td><td>{got:g} of {worth:g}</td></tr>"
    got, worth = sum(row[1] for row in rows), sum(row[2] for row in rows)
    yield f"<tr><th>Together</th><th>{got:g} of {worth:g}</th></tr></tbody></table>"
    if more := _worth(source.manual()):
        total = gradebook.row(source, "", result, entered)["total"]
        yield f"<p>{_in_words(more, total)}</p>"


def _in_words(most: float, total: str) -> str:
    if not total:
        return f"Up to {most:g} more points are given by hand, for what you wrote in words."
    return f"With what was given by hand for your answers in words: <strong>{total}</strong>."


def _happened(result: Result) -> Iterator[str]:
    failures = [f"{name} {why}." for name, why in result.failures.items()]
    new = [sentence for sentence in failures if sentence not in result.events]
    sentences = [*result.events, *new, *result.notes]
    if sentences:
        yield "<h2>What happened when your notebook was run</h2>"
        yield from _list(sentences)


def _task(source: Source, result: Result, task: str, entered: Mapping[str, str]) -> Iterator[str]:
    yield f"<h2>{escape(_named(source, task))}</h2>"
    if tests := source.tests(task):
        yield "<table><thead><tr><th>Test</th><th>Outcome</th><th>Points</th></tr></thead>"
        yield "<tbody>"
        for test in tests:
            yield _tested(test, result.verdicts.get(test.key))
        yield "</tbody></table>"
    for cell in source.manual(task):
        given = entered.get(task)
        got = f"{escape(given)} of {cell.points:g}" if given else f"up to {cell.points:g}"
        yield f"<p>In words, graded by hand: {got} points. You wrote:</p>"
        yield f"<blockquote>{escape(result.texts.get(cell.key, '(nothing)'))}</blockquote>"


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
