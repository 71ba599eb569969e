"""Submissions that do what must not be done, by cells of their own in a perfect notebook.

They hand in the project of ``building.sums``: what they get beside the perfect one's 20 points
shows what their cells have cost them.
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
    """A submission: ``points`` is what it gets, ``says`` what stands in its row."""

    text: str
    points: int
    says: tuple[str, ...]


def perfect() -> Notebook:
    """What a student hands in who has done all of it."""
    return building.changed(
        released(building.source(building.sums())),
        a_add_answer="def add(numbers):\n    return sum(numbers)",
        b_greatest_answer="def greatest(numbers):\n    return max(numbers)",
        a_add_text="It is so.",
    )


def half_done() -> Notebook:
    """What a student hands in who did the second task, and the first for these numbers only."""
    return building.changed(
        perfect(), a_add_answer="def add(numbers):\n    return 6", a_add_text="YOUR ANSWER HERE"
    )


def with_cells(*texts: str) -> Notebook:
    """A perfect notebook with cells more, before the first task's answer is tested."""
    made = perfect()
    for text in texts:
        made = building.with_cell(made, text, before="a-add-visible")
    return made


def name_of(number: int) -> str:
    """Return what the grader calls a cell of ``with_cells``, counted from 0."""
    return f"own cell {number + 1} after a-add-answer"


def surviving(*places: Path) -> Notebook:
    """One notebook with all of ``SURVIVED``, the search in ``places``, and replaced names."""
    made = with_cells(*(text for text, _ in SURVIVED.values()), reading(*places), BUILTINS)
    return building.with_cell(made, HELPERS, before="b-greatest-answer")


LEAVES_PROCESSES = """
import subprocess
subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; setsid sleep 3600 & sleep 3600"])
"""
#: Cells that cost no point, all in one notebook, and what is said of each.
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
    # Nothing fails. That the processes are ended is seen when all is graded.
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

#: Cells that run for longer than they may, all in one notebook.
HANGING = (
    "while True:\n    pass",
    "import time\ntime.sleep(10**6)",
    "def add(numbers):\n    while not numbers: pass\n    return sum(numbers)",
)
LOOPS_STUBBORNLY = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"

_EATING = "x = [bytearray(10**7) for _ in range(70)]\nimport time\nwhile True: time.sleep(1)"

#: Cells that cost points, each in a notebook of its own.
CELLS = {
    # It holds what it has taken, and takes no more: how much it has does not depend on the time.
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
        ("The notebook made a test pass that cannot, so none of its tests counts.",),
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
    """A cell that looks for a line of a hidden test, in ``places`` and wherever else it can."""
    return (
        "import os\n"
        f"places = {[str(place) for place in places]!r}\n"
        "wanted = ' '.join(['the', 'sum', 'of', 'nothing']).encode()\n"
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
        "        if wanted in text:\n"
        "            raise LookupError(f'found in {file}')\n"
        "open(places[0])\n"
    )
