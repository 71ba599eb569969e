"""What a confined program can and cannot do, tested with a real program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from course.grading.confine import landlock_version
from helpers.settings import PROJECT

PROBE = """
import json, os, pathlib, resource, sys
own, other, secret, given = map(pathlib.Path, sys.argv[1:])

def can(act):
    try:
        act()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "yes"

def rename():
    (own / "a").mkdir()
    (own / "x").rename(own / "a" / "x")

print(json.dumps({
    "write own": can(lambda: (own / "x").write_text("x")),
    "overwrite own": can(lambda: (own / "x").write_text("y")),
    "move own": can(rename),
    "write other": can(lambda: (other / "x").write_text("x")),
    "read other": can(lambda: secret.read_text()),
    "list other": can(lambda: list(other.iterdir())),
    "read given": can(given.read_text),
    "write given": can(lambda: given.write_text("x")),
    "read system files": can(lambda: pathlib.Path("/etc/hostname").stat()),
    "write to /dev/null": can(lambda: pathlib.Path("/dev/null").write_text("x")),
    "signal parent": can(lambda: os.kill(os.getppid(), 0)),
    "take 16 GiB": can(lambda: bytearray(16 << 30)),
    "largest file": resource.getrlimit(resource.RLIMIT_FSIZE)[1],
}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The outcomes of the program's attempts."""
    own, other = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("other")
    secret, given = other / "secret", tmp_path_factory.mktemp("given") / "file"
    for file in (secret, given):
        file.write_text("x")
    program = PROJECT / "course" / "grading" / "confine.py"
    readable = (sys.prefix, sys.base_prefix, str(given.parent))
    command = [sys.executable, "-c", PROBE, *map(str, (own, other, secret, given))]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "512", str(own), *readable, "--", *command],
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "what",
    [
        *("write own", "overwrite own", "move own", "read given", "read system files"),
        "write to /dev/null",
    ],
)
def test_access_that_a_notebook_needs_is_allowed(answers: dict[str, object], what: str) -> None:
    assert answers[what] == "yes"


@pytest.mark.parametrize("what", ["write other", "read other", "list other", "write given"])
def test_other_folders_are_inaccessible_if_the_kernel_supports_it(
    answers: dict[str, object], what: str
) -> None:
    assert answers[what] == ("PermissionError" if landlock_version() else "yes")


def test_other_processes_cannot_be_signalled_if_the_kernel_supports_it(
    answers: dict[str, object],
) -> None:
    known = landlock_version() >= 6
    assert answers["signal parent"] == ("PermissionError" if known else "yes")


def test_memory_and_file_size_are_limited(answers: dict[str, object]) -> None:
    assert answers["largest file"] == 2**30
    if sys.platform.startswith("linux"):
        assert answers["take 16 GiB"] == "MemoryError"


def test_a_missing_readable_folder_is_ignored(tmp_path: Path) -> None:
    program = PROJECT / "course" / "grading" / "confine.py"
    command = [sys.executable, "-I", "-S", str(program), "512", str(tmp_path), "/none", sys.prefix]
    command += [sys.base_prefix, "--", sys.executable, "-c", "print('here')"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"here\n"
