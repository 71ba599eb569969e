"""A lesson that is open in one kernel is not opened in a second one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from helpers import open_lesson
from helpers.errors import CourseError, StoreError
from helpers.settings import PROJECT
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


def test_a_killed_kernel_does_not_keep_its_lesson() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "opened\n"
        with pytest.raises(CourseError, match="is open in another kernel"):
            open_lesson(LESSON)
        other.kill()
    open_lesson(LESSON).close()
