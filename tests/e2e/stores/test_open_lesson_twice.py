"""A lesson that is open in one kernel is not opened in a second one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from course.marketplace.project_databases import NAME, NUMBER, open_project
from helpers import open_lesson
from helpers.errors import CourseError, StoreError
from helpers.settings import PROJECT
from helpers.shop import opening
from helpers.stores import Stores

LESSON = "08_opened_twice"

#: Another kernel: opens the lesson, and waits until its input ends.
OPEN = f"""
import sys
from helpers import open_lesson
stores = open_lesson({LESSON!r})
print("opened", flush=True)
sys.stdin.read()
"""
#: The same, in the middle of a query.
QUERY = OPEN.replace("sys.stdin.read()", "stores.postgres.execute('SELECT pg_sleep(60)')")


@pytest.fixture
def first() -> Iterator[Stores]:
    with open_lesson(LESSON) as stores:
        yield stores


def _second() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OPEN],
        cwd=PROJECT,
        input="",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_second_kernel_is_refused_and_the_first_keeps_its_data(first: Stores) -> None:
    first.postgres.execute("CREATE TABLE kept AS SELECT 1 AS value")
    first.mongo.kept.insert_one({"value": 1})
    first.redis.set("kept", "1")
    done = _second()
    assert done.returncode == 1
    assert f"CourseError: The lesson {LESSON} is open in another kernel" in done.stderr
    assert "Shut Down All Kernels" in done.stderr
    assert first.postgres.execute("SELECT value FROM kept").fetchone() == (1,)
    assert first.mongo.kept.count_documents({}) == 1
    assert first.redis.get("kept") == "1"
    first.close()
    assert _second().stdout == "opened\n"


def test_the_same_kernel_opens_its_lesson_again(first: Stores) -> None:
    first.redis.set("kept", "1")
    with open_lesson(LESSON) as again, open_lesson(LESSON) as third:
        assert third.redis.get("kept") is None
        with pytest.raises(StoreError, match="in one kernel"), again.explaining():
            again.postgres.execute("SELECT 1")


def test_the_same_kernel_opens_its_lesson_again_after_closing_it(first: Stores) -> None:
    first.close()
    open_lesson(LESSON).close()


def test_the_project_is_refused_to_a_second_kernel(
    monkeypatch: pytest.MonkeyPatch, process_number: int
) -> None:
    monkeypatch.setenv(NAME, f"test_twice_{process_number}")
    monkeypatch.setenv(NUMBER, "9")
    with open_project():
        monkeypatch.setattr(opening, "_own_sessions", {})  # as in another process
        with pytest.raises(CourseError, match=r"^The project is open in another kernel"):
            open_project()


def test_kernels_that_open_a_lesson_at_the_same_moment_do_not_disturb_each_other() -> None:
    kernels = [_kernel(OPEN) for _ in range(2)]
    errors = [kernel.communicate()[1] for kernel in kernels]
    for kernel, error in zip(kernels, errors, strict=True):
        assert kernel.returncode == 0 or "is open in another kernel" in error
    assert any(kernel.returncode == 0 for kernel in kernels)


def _kernel(program: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("program", [OPEN, QUERY])
def test_a_killed_kernel_does_not_keep_its_lesson(program: str) -> None:
    with _kernel(program) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "opened\n"
        with pytest.raises(CourseError, match="is open in another kernel"):
            open_lesson(LESSON)
        other.kill()
    open_lesson(LESSON).close()
