"""Grade each submission in a separate process, so that the grader survives it.

``Processes`` starts ``python -m course.grading.processes`` once per submission. That process reads
a ``Job`` from its standard input and writes a ``Result`` to its standard output, both as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from course.grading.results import Result, Verdict
from course.grading.running import Limits, Outcome, kernel, run
from course.grading.sandbox import sandbox
from course.grading.source import parse_notebook, read_source
from course.grading.submissions import Restored, restore, text_of_file
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT

# On top of the notebook's own time limit: starting, and stopping what the notebook started.
_OVERHEAD_SECONDS = 300.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """One submission to grade: its ``notebook``, against the project's ``source`` notebook.

    ``course`` is a folder with a copy of the course's packages.
    """

    notebook: Path
    source: Path
    course: Path
    limits: Limits

    def to_json(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what ``to_json`` returned."""
        fields = json.loads(text)
        paths = {name: Path(fields[name]) for name in ("notebook", "source", "course")}
        return cls(**paths, limits=Limits(**fields["limits"]))


class Processes:
    """The grading processes that are running. Thread-safe."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = threading.Event()

    def grade(self, job: Job) -> Result:
        """Grade one submission in a new process and return its result.

        If that process fails or does not end, the result is not ``final``.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "course.grading.processes"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.add(process)
        if self._ending.is_set():  # it started too late for ``end`` to see it
            process.terminate()
        try:
            return _read_result(process, job)
        finally:
            self._running.discard(process)

    def end(self) -> None:
        """Terminate all running processes and whatever they started, without waiting."""
        self._ending.set()
        for process in list(self._running):
            process.terminate()


def _read_result(process: subprocess.Popen[bytes], job: Job) -> Result:
    with process:
        try:
            output, errors = process.communicate(
                job.to_json().encode(), job.limits.notebook_seconds + _OVERHEAD_SECONDS
            )
        except subprocess.TimeoutExpired:
            process.terminate()  # first, so that it can stop the submission's processes
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            return _failed("it did not end")
    try:
        return Result.from_json(output.decode())
    except ValueError:
        lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it printed nothing"]
        return _failed(f"exit code {process.returncode}: {lines[-1][:200]}")


def _failed(why: str) -> Result:
    return Result(
        refusal=f"The process that graded it has failed ({why}): grade again.", final=False
    )


def grade(job: Job) -> Result:
    """Grade one submission in this process. Errors of the submission are part of the result.

    Raises ``CourseError`` if the source cannot be read or no sandbox can be created.
    """
    source = read_source(job.source)
    start = time.monotonic()
    try:
        restored = restore(source, parse_notebook(text_of_file(job.notebook)))
    except GradingError as error:
        return Result(refusal=str(error))
    with (
        sandbox(job.course, job.limits.memory_mib) as place,
        kernel(
            place.folder, place.launch, sys.executable, job.limits, place.memory_used
        ) as started,
    ):
        outcome = run(restored.steps, started)
    used = os.times()
    cpu_seconds = used.user + used.system + used.children_user + used.children_system
    return _result(restored, outcome, time.monotonic() - start, cpu_seconds)


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
    """Grade the job read from standard input and write its result to standard output."""
    # SIGTERM raises SystemExit, so that the sandbox is removed before this process ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # anything else that is printed must not mix with the result
    try:
        result = grade(Job.from_json(sys.stdin.read()))
    except CourseError as error:
        result = Result(refusal=str(error), final=False)
    with output:
        output.write(result.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
