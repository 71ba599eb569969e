"""Submissions that do what must not be done, each in a cell of its own in a perfect notebook.

They hand in the project of ``building.sums``: what they get beside the perfect one's 20 points
shows what their cell has cost them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helpers.grading.release import released
from helpers.grading.source import Notebook
from tests.grading import building

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


def with_cell(text: str) -> Notebook:
    """A perfect notebook with one cell more, before the first task's answer is tested."""
    return building.with_cell(perfect(), text, before="a-add-visible")


#: Cells in a perfect notebook: that of the first task is before them, the second task behind.
CELLS = {
    "loops": Hostile("while True:\n    pass", ALL, ("ran for more than 8 s and was stopped",)),
    "sleeps": Hostile(
        "import time\ntime.sleep(10**6)", ALL, ("ran for more than 8 s and was stopped",)
    ),
    "loops-stubbornly": Hostile(
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        0,
        ("ran for more than 8 s and did not let itself be interrupted",),
    ),
    "loops-in-a-test": Hostile(
        "def add(numbers):\n    while not numbers: pass\n    return sum(numbers)",
        14,
        ("2 of 3 tests passed",),
    ),
    "eats-memory": Hostile(
        "kept = []\nwhile True:\n    kept.append(bytearray(10**7))",
        0,
        ("took more than 512 MiB of memory",),
    ),
    "wants-memory": Hostile("kept = bytearray(10**13)", ALL, ("failed: MemoryError",)),
    "eats-memory-elsewhere": Hostile(
        "import subprocess, sys\n"
        "eater = 'x = []\\nwhile True: x.append(bytearray(10**7))'\n"
        "subprocess.run([sys.executable, '-c', eater])",
        0,
        ("took more than 512 MiB of memory",),
    ),
    "exits": Hostile("exit()", 0, ("called exit()",)),
    "exits-by-error": Hostile("import sys\nsys.exit(3)", ALL, ("failed: SystemExit: 3",)),
    "exits-at-once": Hostile("import os\nos._exit(0)", 0, ("ended the kernel",)),
    "crashes": Hostile("import ctypes\nctypes.string_at(0)", 0, ("ended the kernel",)),
    "prints": Hostile(
        "for _ in range(100):\n    print('x' * 2**20)",
        ALL,
        ("failed: TooMuchOutput: it printed more than 20 MiB",),
    ),
    "prints-for-ever": Hostile(
        "while True:\n    print('x' * 2**20)",
        ALL,
        ("failed: TooMuchOutput: it printed more than 20 MiB",),
    ),
    "prints-from-elsewhere": Hostile(
        "import subprocess\nsubprocess.run(['head', '-c', '100000000', '/dev/zero'])",
        ALL,
        ("printed more than 20 MiB",),
    ),
    "imports-what-is-not-there": Hostile(
        "import tensorflop", ALL, ("failed: ModuleNotFoundError: No module named 'tensorflop'",)
    ),
    "is-no-python": Hostile("def (:", ALL, ("failed: SyntaxError",)),
    "redefines-names": Hostile(
        "AssertionError = Exception\nlen = lambda _: 21\nsum = 7\ndef add(numbers): return 6",
        14,
        ("2 of 3 tests passed",),
    ),
    "replaces-builtins": Hostile(
        "import builtins\n"
        "class Never(Exception): pass\n"
        "builtins.AssertionError = Never\n"
        "builtins.sorted = lambda *_: [0]",
        ALL,
        ("The notebook replaced builtins.", "put back"),
    ),
    "redefines-what-is-given": Hostile(
        "NUMBERS = [6]\ndef add(numbers): return numbers[0] if numbers else 0",
        10,
        ("1 of 3 tests passed",),
    ),
    "replaces-helpers": Hostile(
        "import helpers\nhelpers.Stores.close = helpers.explain = lambda *_: 1",
        ALL,
        ("The notebook replaced helpers.explain", "put back"),
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
    "writes-outside": Hostile(
        "open('/etc/course-was-here', 'w').write('x')",
        ALL,
        ("failed: PermissionError", "/etc/course-was-here"),
    ),
    "leaves-processes": Hostile(
        "import subprocess\n"
        "subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; setsid sleep 3600 & sleep 3600'])",
        ALL,
        ("3 of 3 tests passed",),
    ),
    "kills-others": Hostile("import os\nos.kill(os.getppid(), 9)", ALL, ("failed: Permission",)),
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
