"""The sandbox: its user, its environment, and its removal."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from course.grading.confine import ACCOUNTS
from course.grading.sandbox import FOLDERS
from helpers.settings import PROJECT

# In a separate process, since the sandbox kills all child processes of its process.
PROGRAM = """
import json, sys
import psutil
from course.grading.sandbox import course_copy, sandbox

INSIDE = '''
import json, os, subprocess
left = subprocess.Popen(["sleep", "3600"], start_new_session=True)
seen = {"user": os.getuid(), "environ": dict(os.environ), "pid": left.pid, "cwd": os.getcwd()}
open("seen.new", "w").write(json.dumps(seen))
os.rename("seen.new", "seen")
'''
with course_copy() as course, sandbox(course, 512) as place:
    process = place.launch([sys.executable, "-c", INSIDE])
    process.wait()
    seen = json.loads((place.work / "seen").read_text())
    seen["processes"] = [child.pid for child in place.processes()]
    seen["folder"] = str(place.folder)
seen["is alive"] = psutil.pid_exists(seen["pid"])
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, object]:
    """What a program in the sandbox sees, and the state of the process that it leaves behind."""
    environ = os.environ | {"INSTRUCTOR_TOKEN": "secret", "REDIS_URL": "redis://a/0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, env=environ, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_processes_are_killed_and_the_folder_is_deleted(seen: dict[str, object]) -> None:
    assert seen["processes"] == [seen["pid"]]
    assert seen["is alive"] is False
    folder = Path(str(seen["folder"]))
    assert folder.parent.name.startswith(FOLDERS)
    assert not folder.parent.exists()


def test_only_server_addresses_of_the_environment_are_passed_on(
    seen: dict[str, object],
) -> None:
    environ = seen["environ"]
    assert isinstance(environ, dict)
    assert "INSTRUCTOR_TOKEN" not in environ
    assert environ["REDIS_URL"] == "redis://a/0"
    for name in ("HOME", "TMPDIR", "SHOP_HOME"):
        assert environ[name].startswith(seen["folder"])
    assert seen["cwd"] == f"{seen['folder']}/work"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has accounts for submissions")
def test_a_submission_runs_as_its_own_user(seen: dict[str, object]) -> None:
    uid = seen["user"]
    assert isinstance(uid, int)
    assert pwd.getpwuid(uid).pw_name.startswith(ACCOUNTS)
    assert psutil.Process().uids().real != uid
