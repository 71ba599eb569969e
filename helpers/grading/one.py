"""Grade one submission, in a process of its own: ``python -m helpers.grading.one``.

Reads a ``Job`` from its input and writes a ``Result`` to its output, both as JSON. The grader can
so outlive whatever a submission does to it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers.errors import CourseError, GradingError
from helpers.grading.restore import Restored, restore
from helpers.grading.running import Limits, Outcome, Verdict, kernel, run
from helpers.grading.sandbox import sandbox
from helpers.grading.source import Source, parse_notebook, read_source

_LARGEST_MIB = 50


@dataclass(frozen=True)
class Job:
    """A submission to grade: its ``notebook``, by the project's ``source``, in the job's ``slot``.

    ``course`` is a folder with a copy of the course's package.
    """

    notebook: Path
    source: Path
    course: Path
    slot: int
    limits: Limits

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return what ``to_json`` has written."""
        found = json.loads(text)
        paths = {name: Path(found[name]) for name in ("notebook", "source", "course")}
        return cls(**paths, slot=found["slot"], limits=Limits(**found["limits"]))


@dataclass(frozen=True)
class Result:
    """What a submission is worth, and why.

    ``verdicts`` are by the tests' names, ``texts`` by the names of what is graded by hand.
    ``refusal`` says why it was not run at all. ``seconds`` is how long it took, ``cpu_seconds`` how
    much of the processors' time. Unless it is ``final``, the grader itself has failed.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
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
        restored = restore(source, parse_notebook(_read(job.notebook)))
    except GradingError as error:
        return Result(refusal=str(error))
    with sandbox(job.slot, job.course, job.limits.memory_mib) as place:
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
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu_seconds, 1),
    )


def _read(notebook: Path) -> str:
    """Return a submission's text. Raises ``GradingError`` where it is no file, or a huge one."""
    try:
        # Not through a link: it could lead to any file that we may read, and the student may not.
        descriptor = os.open(notebook, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise GradingError(f"The file cannot be read ({error.strerror}).") from None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise GradingError("What was handed in is no file.")
        if about.st_size > _LARGEST_MIB * 2**20:
            raise GradingError(f"The file is larger than {_LARGEST_MIB} MiB.")
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise GradingError("The file is not text, so it is no notebook.") from None


def main() -> int:
    """Grade the job that the input names; its result is the output."""
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
