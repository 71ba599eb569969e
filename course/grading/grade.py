"""Grade every submission in a folder: ``python -m course.grading.grade`` (``make grade``).

Writes ``grades.csv`` and a feedback page per student. An earlier result is reused if the
submission, the project and the grader have not changed since.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import platform
import signal
import sys
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from course.grading import gradebook
from course.grading.incoming import Submission, collect
from course.grading.outgoing import Roster, publish, read_roster
from course.grading.processes import Job, Processes, uses_stores
from course.grading.results import Result
from course.grading.sandbox import is_isolated
from course.grading.servers import prepared_servers
from course.grading.source import Source, read_source
from course.grading.student import Limits
from course.grading.submissions import content
from course.grading.tables import file_name, replace_file
from helpers.errors import CourseError, GradingError
from helpers.settings import PROJECT, as_path, load_settings

_UNFINISHED, _MISTAKE, _INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Grader:
    """Grade for the project at ``source`` into the folder ``to``, ``jobs`` at a time."""

    source: Path
    to: Path
    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    roster: Path | None = None
    assignment: str = ""

    def grade(self, folder: Path, *, progress: bool = True) -> Report:
        """Grade the submissions in ``folder``; write the gradebook, feedback and grade files.

        Results of earlier runs stay: ``folder`` may contain only the late submissions.

        Raises ``GradingError`` if the source, the folder or an existing gradebook is invalid.
        """
        source = read_source(self.source)
        self._check()
        submissions = collect(folder, source, self.source.name, self.to / "unpacked")
        # Fail on an invalid gradebook or roster before the work.
        gradebook.read(self.to / "grades.csv", source)
        roster = read_roster(self.roster, source, self.assignment) if self.roster else None
        for place in (self.to / "results", self.to / "feedback"):
            place.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        common = self._fingerprint()
        results: dict[str, Result] = {}
        waiting: list[tuple[Submission, str]] = []
        for submission in submissions:
            key, known = self._known(submission, common)
            if known is None:
                waiting.append((submission, key))
            else:
                results[submission.student] = known
        taken_over = len(results)
        silent = not (progress and waiting)
        with (
            tqdm(total=len(waiting), desc="Grading", unit="", disable=silent) as bar,
            contextlib.closing(self._graded(waiting, source)) as graded,
        ):
            for submission, key, result in graded:
                results[submission.student] = result
                self._store(submission, key, common, result)
                bar.update()
        ordered = {submission.student: results[submission.student] for submission in submissions}
        said = self._publish(source, submissions, ordered, common, roster)
        new = {submission.student: results[submission.student] for submission, _ in waiting}
        return Report(ordered, new, taken_over, self.jobs, time.monotonic() - began, tuple(said))

    def _check(self) -> None:
        if self.jobs < 1:
            raise GradingError(f"jobs is {self.jobs}: give 1 or more.")
        if self.jobs > 1 and load_settings(dotenv=Path("/dev/null")).addresses is not None:
            raise GradingError(
                "If servers are given by address, all submissions share the databases, so only one "
                "can be graded at a time: give JOBS=1, or unset POSTGRES_URL, MONGO_URL, REDIS_URL."
            )

    def _graded(
        self, waiting: list[tuple[Submission, str]], source: Source
    ) -> Generator[tuple[Submission, str, Result], None, None]:
        """Grade and yield each submission as it finishes. Closing it early stops the others.

        What a busy machine may have caused does not count: such submissions are graded once more,
        one at a time, with twice the time.
        """
        if not waiting:
            return
        isolated = is_isolated()
        processes = Processes()
        with self._servers(source, isolated=isolated) as servers:
            job = Job(Path(), self.source.resolve(), servers, self.limits, isolated)
            again: list[tuple[Submission, str]] = []
            for submission, key, result in self._at_once(waiting, job, processes, self.jobs):
                if result.uncertain or not result.final:
                    again.append((submission, key))
                else:
                    yield submission, key, result
            double = replace(
                self.limits,
                cell_seconds=2 * self.limits.cell_seconds,
                notebook_seconds=2 * self.limits.notebook_seconds,
            )
            job = replace(job, limits=double)
            yield from self._at_once(again, job, processes, jobs=1)

    def _at_once(
        self, waiting: list[tuple[Submission, str]], job: Job, processes: Processes, jobs: int
    ) -> Generator[tuple[Submission, str, Result], None, None]:
        with ThreadPoolExecutor(jobs) as pool:
            futures: dict[Future[Result], tuple[Submission, str]] = {
                pool.submit(_grade_one, submission, job, processes): (submission, key)
                for submission, key in waiting
            }
            try:
                for future in as_completed(futures):
                    yield *futures[future], future.result()
            except BaseException:
                # After an interrupt, wait neither for running nor for queued submissions.
                pool.shutdown(wait=False, cancel_futures=True)
                processes.end()
                raise

    def _servers(
        self, source: Source, *, isolated: bool
    ) -> contextlib.AbstractContextManager[Path | None]:
        """Prepare servers for the submissions to copy, if they need any."""
        by_address = load_settings(dotenv=Path("/dev/null")).addresses is not None
        if by_address or not isolated or not uses_stores(source):
            return contextlib.nullcontext()
        return prepared_servers()

    def _known(self, submission: Submission, common: str) -> tuple[str, Result | None]:
        """Return the key of this submission, project and grader, and an earlier result for it."""
        try:
            file = b"" if submission.notebook is None else content(submission.notebook)
        except GradingError as error:
            file = str(error).encode()
        text = json.dumps([common, submission.student, submission.refusal])
        key = hashlib.sha256(text.encode() + file).hexdigest()
        try:
            found = json.loads(self._place(submission).read_text("utf-8"))
            if found["key"] == key:
                return key, Result.from_json(json.dumps(found["result"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not graded yet, or by another version
        return key, None

    def _store(self, submission: Submission, key: str, common: str, result: Result) -> None:
        if result.final:
            about = asdict(replace(submission, notebook=None))
            stored = {"key": key, "common": common, "submission": about, "result": asdict(result)}
            text = json.dumps(stored, ensure_ascii=False, indent=1)
            replace_file(self._place(submission), text.encode("utf-8", "replace"))

    def _place(self, submission: Submission) -> Path:
        return self.to / "results" / f"{file_name(submission.student)}.json"

    def _publish(
        self,
        source: Source,
        submissions: list[Submission],
        results: dict[str, Result],
        common: str,
        roster: Roster | None,
    ) -> list[str]:
        """Write all files, also for the students of earlier runs with the same project."""
        all_submissions, all_results = list(submissions), dict(results)
        for file in sorted((self.to / "results").glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                stored = json.loads(file.read_text("utf-8"))
                about = Submission(**stored["submission"])
                if stored["common"] == common and about.student not in all_results:
                    all_results[about.student] = Result.from_json(json.dumps(stored["result"]))
                    all_submissions.append(about)
        ordered = dict(sorted(all_results.items()))
        return publish(self.to, source, all_submissions, ordered, roster)

    def _fingerprint(self) -> str:
        """Return a digest of the project, the grader and its limits."""
        digest = hashlib.sha256(self.source.read_bytes())
        for folder in ("helpers", "course"):
            for file in sorted((PROJECT / folder).rglob("*")):
                if file.suffix in {".py", ".sql", ".lua"}:
                    digest.update(file.name.encode() + b"\0" + file.read_bytes())
        digest.update(json.dumps([asdict(self.limits), platform.python_version()]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Report:
    """The outcome of a run: all ``results``, and those of the submissions graded now (``new``).

    ``taken_over`` is how many results of earlier runs were reused, ``notes`` are sentences about
    rows that match nothing.
    """

    results: dict[str, Result]
    new: dict[str, Result]
    taken_over: int
    jobs: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def unfinished(self) -> list[str]:
        """The students whose submissions the grader failed to grade."""
        return [student for student, result in self.results.items() if not result.final]

    def __str__(self) -> str:
        new, seconds = len(self.new), f"{self.seconds:.0f} s"
        lines = [f"{new} graded, {self.taken_over} taken over in {seconds}, {self.jobs} at a time."]
        run = {student: result for student, result in self.new.items() if result.seconds}
        if run:
            longest = max(run, key=lambda student: run[student].seconds)
            mean = sum(result.seconds for result in run.values()) / len(run)
            cpu = sum(result.cpu_seconds for result in run.values()) / len(run)
            lines.append(
                f"Each that was run took {mean:.1f} s on average, of which {cpu:.1f} s were "
                f"processor time; the longest, {longest}, took {run[longest].seconds:.1f} s."
            )
        if self.unfinished:
            lines.append(
                f"{len(self.unfinished)} could not be graded, and will be the next time: "
                f"{', '.join(self.unfinished)}."
            )
        return "\n".join([*lines, *self.notes])


def _grade_one(submission: Submission, job: Job, processes: Processes) -> Result:
    if submission.notebook is None:
        return Result(refusal=submission.refusal)
    return processes.grade(replace(job, notebook=submission.notebook.resolve()))


def main() -> int:
    """Grade a folder of submissions and print a summary."""
    parser = argparse.ArgumentParser(prog="python -m course.grading.grade", description=__doc__)
    parser.add_argument("--source", type=as_path, required=True, help="the project's source")
    parser.add_argument(
        "--submissions", type=as_path, required=True, help="the folder or zip file of submissions"
    )
    parser.add_argument(
        "--to", type=as_path, required=True, help="the folder for grades and feedback"
    )
    parser.add_argument("--roster", type=as_path, help="the course's CSV file")
    parser.add_argument("--assignment", default="", help="the column for grades in Canvas's file")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (default: 1)")
    usual = Limits()
    for name, unit in (("cell_seconds", float), ("notebook_seconds", float), ("memory_mib", int)):
        default = getattr(usual, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=unit, default=default)
    options = parser.parse_args()
    limits = replace(
        usual,
        cell_seconds=options.cell_seconds,
        notebook_seconds=options.notebook_seconds,
        memory_mib=options.memory_mib,
    )
    try:
        report = Grader(
            options.source, options.to, options.jobs, limits, options.roster, options.assignment
        ).grade(options.submissions)
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on with those not graded yet.", file=sys.stderr)
        return _INTERRUPTED
    print(report)
    print(f"The grades are in {options.to / 'grades.csv'}, the pages in {options.to / 'feedback'}.")
    return _UNFINISHED if report.unfinished else 0


if __name__ == "__main__":
    # SIGTERM acts as Ctrl-C, so that no process or folder is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
