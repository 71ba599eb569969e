"""A sandbox: who runs in it, what it knows, and that nothing of it is left."""

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

# In a process of its own: the sandbox takes every process that this one has started for its own.
USING = """
import json, sys
import psutil
from course.grading.sandbox import course_copy, sandbox

INSIDE = '''
import json, os, subprocess
left = subprocess.Popen(["sleep", "3600"], start_new_session=True)
told = {"user": os.getuid(), "environ": dict(os.environ), "pid": left.pid, "cwd": os.getcwd()}
open("told.new", "w").write(json.dumps(told))
os.rename("told.new", "told")
'''
with course_copy() as course, sandbox(course, 512) as place:
    process = place.launch([sys.executable, "-c", INSIDE])
    process.wait()
    told = json.loads((place.work / "told").read_text())
    told["seen"] = [one.pid for one in place.processes()]
    told["folder"] = str(place.folder)
told["is alive"] = psutil.pid_exists(told["pid"])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    """What a program in a sandbox knows, and what became of the process that it has left."""
    environ = os.environ | {"INSTRUCTOR_TOKEN": "secret", "REDIS_URL": "redis://a/0"}
    done = subprocess.run(
        [sys.executable, "-c", USING], cwd=PROJECT, env=environ, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_what_it_has_started_is_ended_and_its_folder_is_gone(told: dict[str, object]) -> None:
    assert told["seen"] == [told["pid"]]
    assert told["is alive"] is False
    folder = Path(str(told["folder"]))
    assert folder.parent.name.startswith(FOLDERS)
    assert not folder.parent.exists()


def test_it_knows_of_the_grader_s_environment_only_where_the_servers_are(
    told: dict[str, object],
) -> None:
    environ = told["environ"]
    assert isinstance(environ, dict)
    assert "INSTRUCTOR_TOKEN" not in environ
    assert environ["REDIS_URL"] == "redis://a/0"
    for name in ("HOME", "TMPDIR", "SHOP_HOME"):
        assert environ[name].startswith(told["folder"])
    assert told["cwd"] == f"{told['folder']}/work"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has accounts for submissions")
def test_it_has_an_account_of_its_own(told: dict[str, object]) -> None:
    uid = told["user"]
    assert isinstance(uid, int)
    assert pwd.getpwuid(uid).pw_name.startswith(ACCOUNTS)
    assert psutil.Process().uids().real != uid
