"""Grade each submission in a separate process, so that the grader survives it.

``Processes`` starts ``python -m course.grading.processes`` once per submission. That process reads
a ``Job`` from its standard input and writes a ``Result`` to its standard output, both as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from course.grading.results import Result
from course.grading.running import Outcome, run
from course.grading.sandbox import ISOLATION, Sandbox, outside
from course.grading.servers import graded_servers
from course.grading.source import Source, parse_notebook, read_source
from course.grading.student import Launch, Limits, Student, environ_of
from course.grading.submissions import Restored, restore, text_of_file
from course.marketplace.project_databases import PREPARED
from helpers.embedded.temporary_servers import start_temporary_servers
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT, Addresses, load_settings
from helpers.shop import locate

# On top of the notebook's own time limit: starting, and stopping what the notebook started.
_OVERHEAD_SECONDS = 300.0
_STOP_SECONDS = 60.0
#: The module of the student's process.
STUDENT = "course.grading.student_process"


@dataclass(frozen=True)
class Job:
    """One submission to grade: its ``notebook``, against the project's ``source`` notebook.

    ``servers`` is the folder of the prepared servers. ``isolated`` is whether it runs in sandboxes.
    """

    notebook: Path
    source: Path
    servers: Path | None
    limits: Limits
    isolated: bool = True

    def to_json(self) -> str:
        """Return the job as JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what ``to_json`` returned."""
        fields = json.loads(text)
        for name in ("notebook", "source", "servers"):
            fields[name] = fields[name] and Path(fields[name])
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


class Processes:
    """The grading processes that are running. Thread-safe."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ending = threading.Event()

    def grade(self, job: Job) -> Result:
        """Grade one submission in a new process and return its result.

        If that process fails or does not end, the result is not ``final``.
        """
        # By address, the servers are in our own network.
        alone = outside() if job.isolated and load_settings().addresses is None else []
        process = subprocess.Popen(
            [*alone, sys.executable, "-m", "course.grading.processes"],
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

    Raises ``CourseError`` if the source cannot be read or nothing can be started.
    """
    source = read_source(job.source)
    start = time.monotonic()
    try:
        restored = restore(source, parse_notebook(text_of_file(job.notebook)))
    except GradingError as error:
        return Result(refusal=str(error))
    used: list[float] = []
    with contextlib.ExitStack() as opened:
        addresses = opened.enter_context(_servers(job, used)) if uses_stores(source) else None
        if addresses is not None:
            os.environ.update(environ_of(addresses))
        launch = _launch(job)
        student = Student(launch, job.limits, addresses)
        with student:
            outcome = run(restored.steps, student, job.limits)
    own = os.times()
    cpu_seconds = own.user + own.system + student.cpu_seconds + sum(used)
    return _result(restored, outcome, time.monotonic() - start, cpu_seconds)


def uses_stores(source: Source) -> bool:
    """Return whether the project's cells use the course's packages."""
    imports = re.compile(r"\b(?:from|import) (?:helpers|course)\b")
    return any(cell.code and imports.search(cell.text) for cell in source.cells)


@contextlib.contextmanager
def _servers(job: Job, used: list[float]) -> Iterator[Addresses]:
    settings = load_settings()
    if settings.addresses is not None:
        yield settings.addresses
    elif job.servers is not None and job.isolated:
        with graded_servers(job.servers, used) as addresses:
            os.environ[PREPARED] = "1"
            os.environ["PGOPTIONS"] = "-c search_path=public"  # whatever the role's setting is
            yield addresses
    else:
        with start_temporary_servers() as servers:
            os.environ["SHOP_HOME"] = str(servers.settings.data_folder)
            yield locate(load_settings())


def _launch(job: Job) -> Launch:
    def launch(descriptor: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        memory = job.limits.memory_mib
        place = Sandbox(
            memory // 8, account=1 + os.getpid(), address_mib=2 * memory + 1024, processes=256
        )
        return place.launch(STUDENT, arguments, keep=[descriptor])

    if job.isolated:
        return launch
    folder = Path(tempfile.gettempdir())
    if os.environ.get(ISOLATION) != "account":
        return launch_here(folder)
    return launch_here(folder, Sandbox(0, account=1 + os.getpid()).as_account())


def launch_here(folder: Path, before: Sequence[str] = ()) -> Launch:
    """Return a function that starts the student's process in ``folder``, without a sandbox.

    ``before`` is the beginning of the command.
    """

    def launch(descriptor: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*before, sys.executable, "-m", STUDENT, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(PROJECT),
                **({"HOME": str(folder)} if before else {}),
            },
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    return launch


def _result(restored: Restored, outcome: Outcome, seconds: float, cpu_seconds: float) -> Result:
    return Result(
        verdicts=outcome.verdicts,
        failures=outcome.failures,
        events=outcome.events,
        notes=list(restored.notes),
        texts=restored.texts,
        uncertain=outcome.uncertain,
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu_seconds, 1),
    )


def main() -> int:
    """Grade the job read from standard input and write its result to standard output."""
    # SIGTERM raises SystemExit, so that the sandbox is removed before this process ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.suppress(OSError):
        # Where memory is short, the system ends a submission, not the grader.
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
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
