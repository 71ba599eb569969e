"""Submissions graded each in a process of its own, all of which can be ended."""

from __future__ import annotations

import subprocess
import sys
import threading

from course.grading.one import Job, Result
from helpers.settings import PROJECT

# Beside the notebook's own time: to start, and to end what it has started.
_AROUND_SECONDS = 300.0
_ENDING_SECONDS = 60.0


class Processes:
    """The processes that grade at the moment. Many threads may use it at once."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = threading.Event()

    def grade(self, job: Job) -> Result:
        """Grade one submission in a process, which may be ended by whatever it does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "course.grading.one"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.add(process)
        if self._ending.is_set():  # it began too late for ``end`` to see it
            process.terminate()
        try:
            return _result(process, job)
        finally:
            self._running.discard(process)

    def end(self) -> None:
        """Tell all of them to end, with what they have started; wait for none."""
        self._ending.set()
        for process in list(self._running):
            process.terminate()


def _result(process: subprocess.Popen[bytes], job: Job) -> Result:
    with process:
        try:
            output, errors = process.communicate(
                job.to_json().encode(), job.limits.notebook_seconds + _AROUND_SECONDS
            )
        except subprocess.TimeoutExpired:
            process.terminate()  # so that it ends the submission first
            try:
                process.wait(_ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            return _failed("it did not end")
    try:
        return Result.from_json(output.decode())
    except ValueError:
        said = errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        return _failed(f"exit code {process.returncode}: {said[-1][:200]}")


def _failed(why: str) -> Result:
    return Result(
        refusal=f"The process that graded it has failed ({why}): grade again.", final=False
    )
