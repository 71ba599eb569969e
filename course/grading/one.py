"""Grade one submission, in a process of its own: ``python -m course.grading.one``.

Reads a ``Job`` from its input and writes a ``Result`` to its output, both as JSON. The grader can
so outlive whatever a submission does to it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course.grading.collect import text_of_file
from course.grading.restore import Restored, restore
from course.grading.running import Limits, Outcome, Verdict, kernel, run
from course.grading.sandbox import sandbox
from course.grading.source import Source, parse_notebook, read_source
from helpers.errors import CourseError, GradingError


@dataclass(frozen=True)
class Job:
    """A submission to grade: its ``notebook``, by the project's ``source``.

    ``course`` is a folder with a copy of the course's package.
    """

    notebook: Path
    source: Path
    course: Path
    limits: Limits

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return what ``to_json`` has written."""
        found = json.loads(text)
        paths = {name: Path(found[name]) for name in ("notebook", "source", "course")}
        return cls(**paths, limits=Limits(**found["limits"]))


@dataclass(frozen=True)
class Result:
    """What a submission is worth, and why.

    ``verdicts`` are by the tests' names, ``texts`` by the names of what is graded by hand.
    ``tampered`` says what it did to the tests, if it did: then none counts. ``refusal`` says why it
    was not run at all. ``seconds`` is how long it took, ``cpu_seconds`` how
    much of the processors' time. Unless it is ``final``, the grader itself has failed.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    tampered: str = ""
    refusal: str = ""
    final: bool = True
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Return what ``to_json`` has written. Raises ``ValueError`` where it is something else."""
        try:
            found = json.loads(text)
            verdicts = {name: Verdict(**one) for name, one in found.pop("verdicts").items()}
            return cls(verdicts=verdicts, **found)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error


def grade(job: Job) -> Result:
    """Grade one submission. Every error of its own is in the result, and none is raised.

    Raises ``CourseError`` when the source cannot be read, or when there is no place to run it in.
    """
    source = read_source(job.source)
    began = time.monotonic()
    try:
        restored = restore(source, parse_notebook(text_of_file(job.notebook)))
    except GradingError as error:
        return Result(refusal=str(error))
    with sandbox(job.course, job.limits.memory_mib) as place:
        sockets = place.folder
        with kernel(
            sockets, place.launch, sys.executable, job.limits, place.memory_used
        ) as started:
            outcome = run(restored.steps, started)
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    return _result(restored, outcome, time.monotonic() - began, cpu)


def points(source: Source, result: Result, task: str) -> float:
    """Return the points that a submission gets by itself for ``task``."""
    tests = source.tests(task)
    return sum(
        test.points for test in tests if result.verdicts.get(test.key, Verdict(False)).passed
    )


def _result(restored: Restored, outcome: Outcome, seconds: float, cpu_seconds: float) -> Result:
    verdicts = outcome.verdicts
    if outcome.tampered:
        verdicts = {name: Verdict(False, outcome.tampered) for name in verdicts}
    return Result(
        verdicts=verdicts,
        failures=outcome.failures,
        events=outcome.events,
        notes=list(restored.notes),
        texts=restored.texts,
        tampered=outcome.tampered,
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu_seconds, 1),
    )


def main() -> int:
    """Grade the job that the input names; its result is the output."""
    # Whoever ends us by a signal lets us end the submission first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is written is no result
    try:
        result = grade(Job.from_json(sys.stdin.read()))
    except CourseError as error:
        result = Result(refusal=str(error), final=False)
    with output:
        output.write(result.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
