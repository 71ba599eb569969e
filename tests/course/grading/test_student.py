"""The student's process: its cells, its functions, and replies that are late or make no sense.

It runs without a sandbox here. The programs that answer in its place are hostile ones.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from course.grading import wire
from course.grading.channels import StudentEnded, StudentLate
from course.grading.processes import launch_here
from course.grading.sandbox import usage
from course.grading.student import Limits, Student
from helpers.errors import GradingError
from helpers.settings import PROJECT

LIMITS = Limits(cell_seconds=60, notebook_seconds=300, memory_mib=1024)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Student]:
    """A student's process, with some functions."""
    with Student(launch_here(tmp_path_factory.mktemp("work")), LIMITS, None) as started:
        started.run_cell("functions", FUNCTIONS)
        yield started


FUNCTIONS = """
import os, sys, threading, time

class Yes(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__

class Own(ValueError): pass

def echo(*args, **kwargs): return args, kwargs
def yes(): return Yes(7)
def fails(): raise Own("too small")
def asserts(): raise AssertionError("passed")
def exits(): raise SystemExit(0)
def opens(): return open(os.devnull)
def large(): return "x" * (9 * 2**20)
def hangs():
    while True: time.sleep(0.01)
"""


def _soon() -> float:
    return time.monotonic() + 60


def test_arguments_and_return_values_pass(student: Student) -> None:
    args, kwargs = student.function("echo", _soon())(1, (2.5, "é"), key={3: b"x"})
    assert (args, kwargs) == ((1, (2.5, "é")), {"key": {3: b"x"}})


def test_a_returned_object_loses_its_tricks(student: Student) -> None:
    found = student.function("yes", _soon())()
    assert (type(found), found == 6, found == 7) == (int, False, True)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("fails", ValueError, "too small"),
        ("asserts", wire.StudentError, "passed"),
        ("exits", wire.StudentError, "SystemExit"),
        ("missing", NameError, "missing is not defined"),
        ("opens", wire.WireError, r"opens\(\) cannot be checked: .* type TextIOWrapper"),
        ("large", wire.WireError, "larger than 8 MiB"),
    ],
)
def test_errors_of_functions_are_raised(
    student: Student, name: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        student.function(name, _soon())()
    assert student.function("echo", _soon())(1) == ((1,), {})  # it goes on


def test_arguments_that_are_not_plain_are_refused(student: Student) -> None:
    with pytest.raises(wire.WireError, match="of type PosixPath"):
        student.function("echo", _soon())(PROJECT)


def test_a_late_function_is_interrupted_and_others_go_on(student: Student) -> None:
    with pytest.raises(StudentLate):
        student.function("hangs", time.monotonic() + 0.2)()
    assert student.function("echo", _soon())(1) == ((1,), {})


def test_cells_run_as_in_jupyter(student: Student) -> None:
    student.run_cell("magic", "%%time\nx = !echo hello\nassert x == ['hello'], x")
    student.run_cell("await", "import asyncio\nawait asyncio.sleep(0)\ndisplay(x)")
    with pytest.raises(NameError, match="nothing"):
        student.run_cell("fails", "y = 1\nnothing")
    student.run_cell("after", "assert y == 1")
    with pytest.raises(wire.StudentError, match="SystemExit"):
        student.run_cell("exit", "import sys\nsys.exit(3)")
    with pytest.raises(SyntaxError):
        student.run_cell("syntax", "def (:")


def test_the_function_that_raised_is_known(student: Student) -> None:
    with pytest.raises(ValueError, match="too small") as raised:
        student.function("fails", _soon())()
    assert getattr(raised.value, "where", None) == "fails"


@contextlib.contextmanager
def _started(folder: Path, limits: Limits = LIMITS) -> Iterator[Student]:
    with Student(launch_here(folder), limits, None) as started:
        yield started


@pytest.mark.verify
def test_an_ended_process_is_started_again_without_the_cell_that_ended_it(tmp_path: Path) -> None:
    with _started(tmp_path) as started:
        started.run_cell("first", "x = 1\ndef get(): return x\ndef end(): os._exit(0)\nimport os")
        with pytest.raises(StudentEnded, match="ended the process"):
            started.run_cell("ends", "import os\nx = 2\nos._exit(0)")
        assert started.function("get", _soon())() == 1
        for _ in range(2):
            with pytest.raises(StudentEnded):
                started.function("end", _soon())()
        assert started.function("get", _soon())() == 1
        with pytest.raises(StudentEnded):
            started.function("end", _soon())()
        with pytest.raises(StudentEnded, match="4 times"):
            started.function("get", _soon())()


@pytest.mark.verify
def test_a_process_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    with (
        _started(tmp_path, Limits(memory_mib=300)) as started,
        pytest.raises(StudentEnded, match="took more than 300 MiB of memory"),
    ):
        started.run_cell("eats", "x = b'x' * 400 * 2**20\nimport time\nwhile True: time.sleep(1)")


@pytest.mark.verify
def test_a_process_that_ignores_interrupts_is_ended(tmp_path: Path) -> None:
    cell = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    limits = Limits(cell_seconds=1)
    with _started(tmp_path, limits) as started:
        with pytest.raises(StudentLate):
            started.run_cell("stubborn", cell)
        started.run_cell("after", "x = 1")


def _answering(program: str) -> Student:
    """Return a student's process that answers as ``program`` does."""
    start = (
        "import os, socket, sys, time\n"
        "from course.grading import wire\n"
        "from course.grading.student_process import *\n"
        "channel = socket.socket(fileno=int(sys.argv[1]))\n"
        "wire.send(channel, {'ports': []})\n"
        "socket.send_fds(channel, [b'x'], [])\n"
        "wire.receive(channel)\n"
        "wire.send(channel, {'ready': True})\n"
        "request = wire.receive(channel)\n"
    )

    def launch(descriptor: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", f"{start}{program}\ntime.sleep(60)", *arguments]
        return subprocess.Popen(command, cwd=PROJECT, pass_fds=[descriptor])

    return Student(launch, LIMITS, None)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("channel.sendall(b'\\xff' * 100)", "cannot be read: it is larger than"),
        ("channel.sendall(b'\\0\\0\\0\\2[]')", "cannot be read: it is malformed"),
        ("wire.send(channel, {'number': 99, 'value': None})", "that was not sent"),
        ("wire.send(channel, {'number': [], 'value': None})", "ended the process"),
        ("wire.send(channel, {'value': None})", "that was not sent"),
        ("channel.close()", "ended the process"),
    ],
)
def test_replies_that_make_no_sense_end_the_process(program: str, error: str) -> None:
    with (
        _answering(program) as started,
        pytest.raises(StudentEnded, match=error),
    ):
        started.function("f", _soon())()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("{}", wire.StudentError),
        ("{'value': 3}", wire.WireError),
        ("{'value': {'eval': '1'}}", wire.WireError),
        ("{'refused': 3}", wire.WireError),
        ("{'error': {'classes': [['builtins', 'SystemExit']]}}", wire.StudentError),
    ],
)
def test_invented_replies_are_errors(reply: str, error: type[Exception]) -> None:
    answer = f"wire.send(channel, {{'number': request['number'], **{reply}}})"
    with _answering(answer) as started, pytest.raises(error):
        started.function("f", _soon())()


def test_a_process_that_does_not_start_is_a_failure_of_the_grader() -> None:
    def launch(descriptor: int, _: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", ""], pass_fds=[descriptor])

    with (
        Student(launch, LIMITS, None) as started,
        pytest.raises(GradingError, match="did not start"),
    ):
        started.run_cell("first", "")


def test_memory_of_files_in_memory_counts(tmp_path: Path) -> None:
    program = (
        "import mmap, os, subprocess, sys\n"
        "shared = mmap.mmap(-1, 64 * 2**20)\n"
        "shared.write(b'x' * len(shared))\n"
        "subprocess.Popen(['sleep', '60'])\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=-1, stdout=-1, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used, count = usage(process.pid)
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.communicate()
    assert used > 64 * 2**20
    assert count == 2
