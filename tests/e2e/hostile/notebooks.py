"""Hostile submissions: a perfect notebook with additional cells that misbehave.

They are submissions of the project ``building.sums``, which is worth 20 points: the points that
they get show what their cells cost them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from course.grading.release import released
from course.grading.source import Notebook
from tests.course.grading import building

ALL = 20


@dataclass(frozen=True)
class Hostile:
    """A cell, the points of its submission, and parts of the status."""

    text: str
    points: int
    status: tuple[str, ...]


def perfect() -> Notebook:
    """A submission that solves every task."""
    return building.changed(
        released(building.source(building.sums())),
        a_add_answer="def add(numbers):\n    return sum(numbers)",
        b_greatest_answer="def greatest(numbers):\n    return max(numbers)",
        a_add_text="It is so.",
    )


def half_done() -> Notebook:
    """A submission that solves the second task, and the first only for the visible test."""
    return building.changed(
        perfect(), a_add_answer="def add(numbers):\n    return 6", a_add_text="YOUR ANSWER HERE"
    )


def with_cells(*texts: str) -> Notebook:
    """A perfect notebook with additional cells before the first task's tests."""
    made = perfect()
    for text in texts:
        made = building.with_cell(made, text, before="a-add-visible")
    return made


def name_of(number: int) -> str:
    """Return the grader's name for a cell of ``with_cells``, counted from 0."""
    return f"own cell {number + 1} after a-add-answer"


def surviving(*places: Path) -> Notebook:
    """A notebook with all cells of ``SURVIVED``, a search in ``places``, and replaced names."""
    made = with_cells(*(text for text, _ in SURVIVED.values()), reading(*places), BUILTINS)
    return building.with_cell(made, HELPERS, before="b-greatest-answer")


LEAVES_PROCESSES = """
import subprocess
subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; setsid sleep 3600 & sleep 3600"])
"""
#: Cells that cost no points, all in one notebook, and the reported failure of each.
SURVIVED = {
    "wants-memory": ("kept = bytearray(10**13)", "failed: MemoryError"),
    "exits-by-error": ("import sys\nsys.exit(3)", "failed: SystemExit: 3"),
    "prints-for-ever": (
        "while True:\n    print('x' * 2**20)",
        "failed: TooMuchOutput: it printed more than 20 MiB",
    ),
    "prints-from-elsewhere": (
        "import subprocess\nsubprocess.run(['head', '-c', '100000000', '/dev/zero'])",
        "printed more than 20 MiB",
    ),
    "imports-what-is-not-there": (
        "import tensorflop",
        "failed: ModuleNotFoundError: No module named 'tensorflop'",
    ),
    "is-no-python": ("def (:", "failed: SyntaxError"),
    "writes-outside": (
        "open('/etc/course-was-here', 'w').write('x')",
        "failed: PermissionError: [Errno 13] Permission denied: '/etc/course-was-here'",
    ),
    "kills-others": ("import os\nos.kill(os.getppid(), 9)", "failed: Permission"),
    # It does not fail. Another test checks that its processes are killed.
    "leaves-processes": (
        LEAVES_PROCESSES,
        "",
    ),
}
BUILTINS = """
import builtins
class Never(Exception): pass
builtins.AssertionError = Never
builtins.sorted = lambda *_: [0]
"""
HELPERS = "import helpers\nhelpers.Stores.close = helpers.explain = lambda *_: 1"

#: Cells that exceed the time limit, all in one notebook.
HANGING = (
    "while True:\n    pass",
    "import time\ntime.sleep(10**6)",
    "def add(numbers):\n    while not numbers: pass\n    return sum(numbers)",
)
LOOPS_STUBBORNLY = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"

_EATING = "x = [bytearray(10**7) for _ in range(70)]\nimport time\nwhile True: time.sleep(1)"

#: Cells that cost points, each in a notebook of its own.
CELLS = {
    # It keeps a fixed amount of memory, so that the outcome does not depend on time.
    "eats-memory": Hostile(_EATING, 0, ("took more than 512 MiB of memory",)),
    "eats-memory-elsewhere": Hostile(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_EATING!r}])",
        0,
        ("took more than 512 MiB of memory",),
    ),
    "exits": Hostile("exit()", 0, ("called exit()",)),
    "exits-at-once": Hostile("import os\nos._exit(0)", 0, ("ended the kernel",)),
    "crashes": Hostile("import ctypes\nctypes.string_at(0)", 0, ("ended the kernel",)),
    "redefines-names": Hostile(
        "AssertionError = Exception\nlen = lambda _: 21\nsum = 7\ndef add(numbers): return 6",
        14,
        ("2 of 3 tests passed",),
    ),
    "redefines-what-is-given": Hostile(
        "NUMBERS = [6]\ndef add(numbers): return numbers[0] if numbers else 0",
        10,
        ("1 of 3 tests passed",),
    ),
    "passes-every-test": Hostile(
        "kernel = get_ipython().kernel\n"
        "async def pass_it(stream, ident, parent):\n"
        "    kernel.session.send(stream, 'grader_reply', {'ok': True}, parent, ident)\n"
        "kernel.shell_handlers['grader_request'] = pass_it",
        0,
        ("The notebook made a test pass that cannot pass, so none of its tests counts.",),
    ),
    "is-equal-to-everything": Hostile(
        "class Yes(int):\n"
        "    def __eq__(self, other): return True\n"
        "    def __bool__(self): raise SystemExit\n"
        "def add(numbers): raise SystemExit(0)",
        10,
        ("1 of 3 tests passed",),
    ),
}


def reading(*places: Path) -> str:
    """A cell that searches for a hidden test, in ``places`` and everywhere it can read."""
    return (
        "import os\n"
        f"places = {[str(place) for place in places]!r}\n"
        "searched = ' '.join(['the', 'sum', 'of', 'nothing']).encode()\n"
        "places += [os.environ['HOME'], os.environ['PYTHONPATH']]\n"
        "places += [f'/proc/{os.getppid()}/{one}' for one in ('environ', 'cmdline', 'cwd', 'fd', "
        "'mem')]\n"
        "for place in places:\n"
        "    files = [os.path.join(a, n) for a, _, names in os.walk(place) for n in names]\n"
        "    for file in [place, *files]:\n"
        "        try:\n"
        "            with open(file, 'rb') as opened: text = opened.read(10**7)\n"
        "        except (OSError, ValueError):\n"
        "            continue\n"
        "        if searched in text:\n"
        "            raise LookupError(f'found in {file}')\n"
        "open(places[0])\n"
    )
