"""Grade a folder: new results, reused results, and failures of the grader itself."""

from __future__ import annotations

import contextlib
import csv
from dataclasses import replace
from pathlib import Path

import pytest

from course.grading import grade, processes
from course.grading.grade import Grader
from course.grading.processes import Job, Processes
from course.grading.results import Result, Verdict
from course.grading.student import Limits
from helpers.errors import GradingError
from tests.course.grading import building
from tests.e2e.hostile import notebooks as hostile
from tests.e2e.hostile.grading import BUBBLEWRAP

HALF_DONE = Result(
    verdicts={
        "a-add-visible": Verdict(True),
        "a-add-hidden": Verdict(False, "the sum of nothing is 0"),
        "b-greatest-test": Verdict(True),
    },
    texts={"a-add-text": "So it is."},
    seconds=2.0,
    cpu_seconds=1.0,
)


@pytest.fixture
def grader(tmp_path: Path) -> Grader:
    """A grader for the project of sums."""
    return Grader(
        building.write(building.sums(), tmp_path / "source" / "07.ipynb"), tmp_path / "graded"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two submissions: a notebook, and a file that is not one."""
    building.write(hostile.half_done(), tmp_path / "submissions" / "anna.ipynb")
    (tmp_path / "submissions" / "ben.ipynb").write_text("by mail")
    return tmp_path / "submissions"


@pytest.fixture
def graded_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each notebook the verdicts of the half-done one, without running it."""

    def decide(_: Processes, job: Job) -> Result:
        if job.notebook.read_text("utf-8").startswith("by mail"):
            return processes.grade(job)
        return HALF_DONE

    monkeypatch.setattr(grade, "is_isolated", lambda: True)
    monkeypatch.setattr(Processes, "grade", decide)


def _rows(grader: Grader) -> dict[str, dict[str, str]]:
    with (grader.to / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.usefixtures("graded_at_once")
def test_only_changed_submissions_are_graded_again(grader: Grader, folder: Path) -> None:
    first = grader.grade(folder, progress=False)
    assert [*first.new] == ["anna", "ben"]
    assert _rows(grader)["anna"]["automatic"] == "14"
    before = (grader.to / "grades.csv").read_bytes()
    second = grader.grade(folder, progress=False)
    assert (second.new, second.taken_over) == ({}, 2)
    assert (grader.to / "grades.csv").read_bytes() == before

    (folder / "ben.ipynb").write_text("by mail, again")
    assert [*grader.grade(folder, progress=False).new] == ["ben"]
    (grader.to / "results" / "anna.json").write_text("{")
    assert [*grader.grade(folder, progress=False).new] == ["anna"]
    # A late folder is graded into the same place: earlier results stay.
    (folder / "anna.ipynb").unlink()
    report = grader.grade(folder, progress=False)
    assert [*report.results] == ["ben"]
    assert [(name, row["automatic"]) for name, row in _rows(grader).items()] == [
        ("anna", "14"),
        ("ben", ""),
    ]


@pytest.mark.usefixtures("graded_at_once")
def test_points_entered_by_hand_are_kept_and_shown(grader: Grader, folder: Path) -> None:
    grader.grade(folder, progress=False)
    place = grader.to / "grades.csv"
    place.write_text(place.read_text("utf-8").replace("anna,4,,", "anna,4,5,"), "utf-8")
    assert grader.grade(folder, progress=False).new == {}
    assert _rows(grader)["anna"]["total"] == "19"
    assert "5 of 5 points" in (grader.to / "feedback" / "anna.html").read_text("utf-8")

    place.write_text("something else", "utf-8")
    with pytest.raises(GradingError, match="is not a gradebook"):
        grader.grade(folder, progress=False)
    assert place.read_text("utf-8") == "something else"


@pytest.mark.usefixtures("graded_at_once")
def test_a_changed_project_or_limit_invalidates_results(grader: Grader, folder: Path) -> None:
    (folder / "anna.ipynb").unlink()
    grader.grade(folder, progress=False)
    other = replace(grader, limits=Limits(cell_seconds=1))
    assert [*other.grade(folder, progress=False).new] == ["ben"]
    building.write(building.changed(building.sums(), title="# More"), grader.source)
    assert [*grader.grade(folder, progress=False).new] == ["ben"]


@pytest.mark.usefixtures("graded_at_once")
def test_failures_of_the_grader_are_reported_and_retried(
    grader: Grader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failed = Result(refusal="It has failed: try again.", final=False)
        patched.setattr(Processes, "grade", lambda *_: failed)
        report = grader.grade(folder, progress=False)
    assert report.unfinished == ["anna", "ben"]
    assert "2 could not be graded" in str(report)
    assert "try again" in _rows(grader)["anna"]["status"]
    again = grader.grade(folder, progress=False)
    assert ([*again.new], again.unfinished) == (["anna", "ben"], [])
    assert "2 graded, 0 taken over" in str(again)
    assert "processor time" in str(again)


def test_what_the_machine_may_have_caused_is_graded_again_alone(
    grader: Grader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def late(_: Processes, job: Job) -> Result:
        jobs.append(job)
        first = len(jobs) <= 2
        return replace(HALF_DONE, uncertain=first, final=not (first and "ben" in str(job.notebook)))

    monkeypatch.setattr(grade, "is_isolated", lambda: True)
    monkeypatch.setattr(Processes, "grade", late)
    report = replace(grader, jobs=2).grade(folder, progress=False)
    assert (len(jobs), report.unfinished) == (4, [])
    assert [job.limits.cell_seconds for job in jobs] == [120, 120, 240, 240]
    assert _rows(grader)["ben"]["automatic"] == "14"


@pytest.mark.verify
@BUBBLEWRAP
def test_a_process_that_does_not_start_is_a_failure_of_the_grader(
    grader: Grader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building.write(
        building.changed(building.sums(), given_numbers="import helpers\nNUMBERS = [3, 1, 2]"),
        grader.source,
    )
    # There are no servers in this folder.
    monkeypatch.setattr(grade, "prepared_servers", lambda: contextlib.nullcontext(folder))
    report = grader.grade(folder, progress=False)
    assert report.unfinished == ["anna"]
    assert "did not start" in _rows(grader)["anna"]["status"]


def test_an_invalid_number_of_jobs_is_refused(
    grader: Grader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GradingError, match="1 or more"):
        replace(grader, jobs=0).grade(folder)
    for name, url in (
        ("POSTGRES_URL", "postgresql://a@b/c"),
        ("MONGO_URL", "mongodb://a/b"),
        ("REDIS_URL", "redis://a/0"),
    ):
        monkeypatch.setenv(name, url)
    with pytest.raises(GradingError, match="JOBS=1"):
        replace(grader, jobs=2).grade(folder)


@BUBBLEWRAP
def test_the_command_grades_a_folder_and_prints_where_the_results_are(
    grader: Grader,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The only test in ``make test`` that really runs a submission."""
    arguments = ["grade", "--source", str(grader.source), "--to", str(grader.to), "--jobs", "2"]
    monkeypatch.setattr("sys.argv", [*arguments, "--submissions", str(folder)])
    assert grade.main() == 0
    output = capsys.readouterr().out
    assert "2 graded, 0 taken over" in output
    assert str(grader.to / "grades.csv") in output
    rows = _rows(grader)
    assert (rows["anna"]["a"], rows["anna"]["b"], rows["anna"]["automatic"]) == ("4", "10", "14")
    assert rows["anna"]["status"] == "2 of 3 tests passed; a-add-hidden: the sum of nothing is 0."
    assert "not JSON" in rows["ben"]["status"]
    assert "the sum of nothing is 0" in (grader.to / "feedback" / "anna.html").read_text("utf-8")
    monkeypatch.setattr("sys.argv", [*arguments, "--submissions", str(folder / "none")])
    assert grade.main() == 2
    assert "SUBMISSIONS" in capsys.readouterr().err
