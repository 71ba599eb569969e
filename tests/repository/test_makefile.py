"""The Makefile creates the environment with an installed Python for which there are wheels."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.settings import PROJECT

VERSIONS = ("3.11", "3.12", "3.13")

#: Pretends to be another version of Python, or one without venv, which Debian packages separately.
FAKE = """#!/bin/sh
if [ "$1" = -c ]; then
  exec {real} -c "import sys; sys.version_info = {version}; {more}; exec(sys.argv[1])" "$2"
fi
mkdir -p .venv && echo "$0 $*" > .venv/created
"""


def _make(
    tmp_path: Path, installed: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run ``make .venv/.made`` where these programs are installed; ``-venv`` marks one without."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "touch", "mkdir", "date"):
        (programs / name).symlink_to(shutil.which(name) or name)
    for name, version in installed.items():
        number, _, missing = version.partition("-")
        fake = FAKE.format(
            real=sys.executable,
            version=tuple(map(int, number.split("."))),
            more="sys.modules['ensurepip'] = None" if missing else "pass",
        )
        (programs / name).write_text(fake)
        (programs / name).chmod(0o755)
    folder = tmp_path / "a course"
    folder.mkdir()
    shutil.copy(PROJECT / "Makefile", folder)
    return subprocess.run(
        [shutil.which("make") or "make", *arguments, ".venv/.made"],
        cwd=folder,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"python3": "3.11.2", "python3.12": "3.12.1"}, "python3"),
        ({"python3": "3.14.0", "python3.12": "3.12.1", "python3.11": "3.11.2"}, "python3.11"),
        ({"python3": "3.9.2", "python3.13": "3.13.5"}, "python3.13"),
        ({"python3": "3.11.2-venv", "python3.13": "3.13.5"}, "python3.13"),
        ({"python": "3.12.0"}, "python"),
    ],
)
def test_the_first_usable_python_is_chosen(
    installed: dict[str, str], chosen: str, tmp_path: Path
) -> None:
    done = _make(tmp_path, installed)
    assert done.returncode == 0, done.stderr
    created = (tmp_path / "a course" / ".venv" / "created").read_text()
    assert created.split()[:4] == [str(tmp_path / "programs" / chosen), "-m", "venv", "--clear"]


def test_a_given_python_is_used(tmp_path: Path) -> None:
    installed = {"python3": "3.11.2", "other": "3.13.1"}
    assert _make(tmp_path, installed, "PYTHON=other").returncode == 0
    assert "/other " in (tmp_path / "a course" / ".venv" / "created").read_text()


@pytest.mark.parametrize(
    ("installed", "arguments", "message"),
    [
        ({"python3": "3.14.0"}, (), "and python3 is 3.14:"),
        ({"python3": "3.10.9"}, (), "and python3 is 3.10:"),
        ({}, (), "and python3 is not installed:"),
        ({"python3": "3.11.2", "new": "3.14.1"}, ("PYTHON=new",), "and new is 3.14:"),
        ({"python3": "3.12.2-venv"}, (), "python3 cannot make virtual environments"),
    ],
)
def test_without_a_usable_python_the_versions_are_named(
    installed: dict[str, str], arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = _make(tmp_path, installed, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert ("needs Python 3.11, 3.12 or 3.13" in done.stderr) == ("and " in message)
    assert not (tmp_path / "a course" / ".venv").exists()


def test_all_files_name_the_same_versions() -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    assert f"\nVERSIONS := {' '.join(VERSIONS)}\n" in makefile
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["requires-python"] == ">=3.11,<3.14"
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert set(re.findall(r'python: "([\d.]+)"', workflow)) == set(VERSIONS)
    for file in ("README.md", "docs/troubleshooting.md"):
        assert "Python 3.11, 3.12 or 3.13" in (PROJECT / file).read_text("utf-8"), file
