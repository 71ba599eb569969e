"""What a process in a sandbox sees and can do. These tests need bubblewrap."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from course.grading import sandbox
from course.grading.sandbox import Sandbox, end_sandbox, is_isolated, outside
from helpers.errors import GradingError
from helpers.settings import PROJECT
from tests.e2e.hostile.grading import BUBBLEWRAP

PROBE = """
import json, os, shutil, socket, subprocess, sys

def tries(act):
    try: return repr(act())
    except Exception as error: return type(error).__name__

def connects(port):
    with socket.create_connection(("127.0.0.1", port), 1): return "connected"

def fills(place):
    with open(place + "/x", "wb") as file:
        while True: file.write(bytes(2**20))

def finds(*names):
    return [top for top, folders, files in os.walk("/", onerror=None) for name in names
            if name in files or name in folders]

port, secret = int(sys.argv[1]), sys.argv[2]
print(json.dumps({
    "user": os.getuid(), "environ": dict(os.environ), "processes": os.listdir("/proc"),
    "network": tries(lambda: connects(port)), "root": sorted(os.listdir("/")),
    "secret": tries(lambda: open(secret).read()), "etc": tries(lambda: open("/etc/x", "w")),
    "course": tries(lambda: open("/course/helpers/errors.py", "a")),
    "project": finds("07_project.ipynb", "bank", "test_bank.py", "gradebook.py"),
    "shm": tries(lambda: fills("/dev/shm")), "home": tries(lambda: fills(os.environ["HOME"])),
    "pty": tries(lambda: len(os.openpty())), "shell": subprocess.getoutput("echo hello"),
    "root again": tries(lambda: os.setuid(0)), "kill": tries(lambda: os.kill(1, 9)),
    "parent": tries(lambda: open("/proc/1/environ").read()),
    "mount": subprocess.call(["mount", "-t", "tmpfs", "x", "/mnt"], stderr=-3),
    "chmod": tries(lambda: os.chmod("/usr", 0)),
    "descriptors": len(os.listdir("/proc/self/fd")),
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program sees and can do in a submission's sandbox."""
    secret = tmp_path_factory.mktemp("secrets") / "hidden"
    secret.write_text("the hidden test")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSTRUCTOR_TOKEN", "secret")
        port = str(server.getsockname()[1])
        place = Sandbox(8, account=77, processes=64)
        command = [*place.command(), sys.executable, "-c", PROBE, port, str(secret)]
        done = subprocess.run(command, env={}, capture_output=True, check=False, text=True)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


pytestmark = BUBBLEWRAP


def test_a_submission_is_no_user_of_the_system(seen: dict[str, Any]) -> None:
    assert seen["user"] not in {0, os.getuid()} or seen["user"] == 1000
    assert seen["root again"] in {"PermissionError", "OSError"}  # the latter in a user namespace


def test_it_sees_only_its_own_processes(seen: dict[str, Any]) -> None:
    assert len([name for name in seen["processes"] if name.isdecimal()]) <= 3
    assert seen["kill"] in {"PermissionError", "None"}


def test_nothing_of_our_environment_is_visible(seen: dict[str, Any]) -> None:
    assert "INSTRUCTOR_TOKEN" not in seen["environ"]
    assert "INSTRUCTOR_TOKEN" not in seen["parent"]
    assert seen["descriptors"] <= 6  # a terminal has two


def test_there_is_no_network(seen: dict[str, Any]) -> None:
    assert seen["network"] == "ConnectionRefusedError"


def test_neither_our_files_nor_the_project_can_be_read(seen: dict[str, Any]) -> None:
    assert seen["secret"] == "FileNotFoundError"
    assert seen["project"] == []
    assert not {"root/.ssh", "mnt", "var", "sys", "run"} & set(seen["root"])


def test_nothing_outside_temporary_folders_can_be_written(seen: dict[str, Any]) -> None:
    assert seen["etc"] in {"PermissionError", "OSError"}
    assert seen["course"] in {"PermissionError", "OSError"}
    assert seen["chmod"] in {"PermissionError", "OSError"}
    assert seen["mount"] != 0


def test_temporary_folders_are_bounded(seen: dict[str, Any]) -> None:
    assert (seen["shm"], seen["home"]) == ("OSError", "OSError")


def test_shells_and_terminals_work(seen: dict[str, Any]) -> None:
    assert seen["shell"] == "hello"
    assert seen["pty"] == "2"


def test_everything_ends_with_the_sandbox() -> None:
    place = Sandbox(8, account=78, processes=64)
    program = "import subprocess as s\ns.Popen(['setsid', 'sleep', '3600'])\nprint(flush=True)\n"
    command = [
        *place.command(),
        sys.executable,
        "-c",
        f"{program}s.Popen(['sleep', '3600']).wait()",
    ]
    with subprocess.Popen(command, env={}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        below: list[psutil.Process] = []
        while [one.name() for one in below].count("sleep") < 2:
            below = psutil.Process(process.pid).children(recursive=True)
        assert end_sandbox(process) > 0
    assert psutil.wait_procs(below, timeout=60)[1] == []


def test_everything_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """As when the grader is killed."""
    command = [*outside(), "sleep", "3600"]
    program = (
        "import subprocess, sys\n"
        f"process = subprocess.Popen({command!r})\n"
        "print(process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        started = psutil.Process(int(process.stdout.readline()))
        while not (below := [one for one in started.children() if one.name() == "sleep"]):
            pass
        process.kill()
    assert psutil.wait_procs([started, *below], timeout=60)[1] == []


def test_without_bubblewrap_grading_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_isolated()
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "which", lambda _: None)
        with pytest.raises(GradingError, match="bubblewrap, which is not installed"):
            is_isolated()
    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "outside", lambda: ["false"])
        with pytest.raises(GradingError, match="cannot be isolated"):
            is_isolated()
    monkeypatch.setenv("ISOLATION", "none")
    assert not is_isolated()
    monkeypatch.setenv("ISOLATION", "docker")
    with pytest.raises(GradingError, match="give bubblewrap, account or none"):
        is_isolated()


def test_the_project_is_not_among_the_readable_folders() -> None:
    options = Sandbox(1).options()
    read = [options[place + 1] for place, name in enumerate(options) if name == "--ro-bind"]
    ours = [name for name in read if Path(name).is_relative_to(PROJECT)]
    hidden = ("project", "tests", "course/grading/running.py", "course", "docs")
    assert not {str(PROJECT / name) for name in hidden} & set(ours)
    assert str(PROJECT) not in read
