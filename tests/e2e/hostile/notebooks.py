"""Hostile submissions: a perfect notebook with additional cells that misbehave.

They are submissions of the project ``building.sums``, which is worth 20 points: the points that
they get show what their cells cost them.
"""

from __future__ import annotations

from course.grading.release import released
from course.grading.source import Notebook
from tests.course.grading import building

ALL = 20


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


def wrong(*texts: str) -> Notebook:
    """A notebook with additional cells and wrong answers, worth no points."""
    made = building.changed(
        with_cells(*texts),
        a_add_answer="def add(numbers):\n    return 7",
        b_greatest_answer="def greatest(numbers):\n    return 7",
    )
    made["cells"].append(building.code("last", "print('done')"))
    return made


def name_of(number: int) -> str:
    """Return the grader's name for a cell of ``with_cells``, counted from 0."""
    return f"own cell {number + 1} after a-add-answer"


LEAVES_PROCESSES = """
import os, subprocess, threading, time
subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; setsid sleep 3600 & sleep 3600"])
threading.Thread(target=lambda: [time.sleep(0.01) for _ in range(10**6)]).start()
if os.fork() == 0:
    os.setsid()
    time.sleep(3600)
"""

_WORKED = "raise SystemError('the attack worked')"

#: Cells that attack and cost no points, all in one notebook. One that gets what it wants, or that
#: can do what it must not, raises ``SystemError``.
SURVIVED = {
    "wants-memory": "try: kept = bytearray(10**13)\nexcept MemoryError: pass",
    "exits-by-error": "import sys\nsys.exit(3)",
    "exits": "exit()",
    "prints-for-a-while": "for _ in range(200): print('x' * 2**20)",
    "is-no-python": "def (:",
    "prints-control-characters": "raise ValueError('\\x1b[2J\\ud800' + '<script>' * 50_000)",
    "leaves-processes": LEAVES_PROCESSES,
    "traces": """
import sys, threading
def trace(frame, event, argument):
    text = repr(frame.f_locals) + frame.f_code.co_filename
    if "assert add" in text or frame.f_code.co_filename == "<test>":
        sys.stdout.write(text)
    return None
sys.setprofile(trace)
threading.settrace(trace)
""",
    "hooks-imports": """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        seen.append(name)
seen = []
sys.meta_path.insert(0, Finder())
""",
    "searches-its-memory": f"""
import gc, sys
phrase = "".join(["len('x' ", "* 21)"])
for one in gc.get_objects():
    if type(one) is dict and any(type(v) is str and phrase in v for v in list(one.values())):
        if one.get("phrase") != phrase: {_WORKED}
frame = sys._getframe()
while frame is not None:
    if any(phrase in repr(v) for k, v in list(frame.f_locals.items()) if type(v) is list):
        {_WORKED}
    frame = frame.f_back
""",
    "reads-other-processes": f"""
import os
for pid in filter(str.isdecimal, os.listdir("/proc")):
    for name in ("environ", "cmdline", "maps", "mem"):
        try: text = open(f"/proc/{{pid}}/{{name}}", "rb").read(10**6)
        except (OSError, OverflowError): continue
        if b"INSTRUCTOR" in text or b"course.grading.grade" in text or b"handed-in" in text:
            {_WORKED}
""",
    "searches-files": f"""
import os
for above, folders, files in os.walk("/"):
    if above.startswith(("/proc", "/usr")): folders[:] = []
    for name in files:
        if name.endswith(".ipynb") or name in ("gradebook.py", "test_bank.py", "grades.csv"):
            if "site-packages" not in above: {_WORKED}
""",
    "writes-where-it-must-not": f"""
import os, sys, sysconfig
places = ["/etc", "/usr", "/course/helpers", "/course/course", "/", sysconfig.get_path("purelib")]
places = [place + "/sitecustomize.py" for place in places]
for place in (*places, "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern"):
    try: open(place, "w").close()
    except OSError: continue
    {_WORKED}
""",
    "changes-permissions": f"""
import os
for place in ("/", "/usr", "/etc/passwd", "/course", "/course/helpers/errors.py"):
    try: os.chmod(place, 0o777)
    except OSError: continue
    {_WORKED}
for uid in (0, os.getuid() + 1):
    try: os.setuid(uid)
    except OSError: continue
    {_WORKED}
""",
    "becomes-root": f"""
import subprocess
for command in (["su", "-c", "true"], ["sudo", "-n", "true"], ["mount", "-t", "proc", "x", "/mnt"],
                ["chroot", "/", "true"], ["pkexec", "true"]):
    try: done = subprocess.run(command, stdin=-3, capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired): continue
    if done.returncode == 0: {_WORKED}
""",
    "finds-agents": f"""
import glob, os
if any(name in os.environ for name in ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY")):
    {_WORKED}
if any(glob.glob(place) for place in ("/run/*", "/var/run/*", "/tmp/*.sock", "/tmp/ssh*")):
    {_WORKED}
""",
    "uses-the-network": f"""
import errno, os, socket
def reaches(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(0.5)
        try: one.connect(address)
        except OSError: return False
    return True
places = [(socket.AF_INET, (host, port)) for host in ("127.0.0.1", "8.8.8.8") for port in
          (22, 53, 80, 443, 5432, 6379, 27017)]
places += [(socket.AF_UNIX, name) for name in ("/run/docker.sock", "\\0course", "/dev/log")]
if any(reaches(*place) for place in places): {_WORKED}
if [name for _, name in socket.if_nameindex()] != ["lo"]: {_WORKED}
""",
    "types-into-terminals": f"""
import fcntl, os, termios
for name in ("/dev/tty", "/dev/pts/0", "/dev/console", "/proc/1/fd/0"):
    try:
        with open(name, "wb", buffering=0) as one: fcntl.ioctl(one, termios.TIOCSTI, b"x")
    except OSError: continue
    {_WORKED}
first, second = os.openpty()
""",
    "fills-shared-memory": """
import os
for place in ("/dev/shm", "/tmp", os.environ["HOME"]):
    try:
        with open(place + "/full", "wb") as file:
            while True: file.write(bytes(2**20))
    except OSError: pass
    os.unlink(place + "/full")
""",
    "kills-all": """
import os, signal
for pid in (1, os.getppid()):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
""",
    "loads-c": f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for call in (lambda: libc.ptrace(16, 1, 0, 0), lambda: libc.mount(b"x", b"/tmp", b"proc", 0, 0),
             lambda: libc.sethostname(b"x", 1), lambda: libc.syscall(298, 0, 0, 0, 0, 0)):
    if call() == 0: {_WORKED}
""",
    "plants-startup-files": """
import os
for name in (".ipython/profile_default/startup/a.py", ".local/lib/python3.11/site-packages/x.pth"):
    place = os.path.join(os.environ["HOME"], name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    open(place, "w").write("import os; os._exit(0)")
os.symlink("/etc/passwd", os.path.join(os.environ["HOME"], "link"))
deep = os.environ["HOME"]
for _ in range(300):
    os.mkdir("n"); os.chdir("n")
""",
    "tells-lies-about-types": """
class Liar:
    __class__ = int
    def __eq__(self, other): return True
    __hash__ = None
""",
    # These change how the process replies, so they are the last.
    "patches-builtins": """
import builtins, json
class Never(Exception): pass
builtins.AssertionError = Never
builtins.sorted = lambda *_: [0]
builtins.len = lambda _: 21
json.loads = lambda *_: {"number": 1, "value": {"int": "0"}}
""",
    "restores-builtins": "import importlib, json\nimportlib.reload(json)",
    "patches-the-course": """
import helpers, course.marketplace.clients as clients, course.marketplace.relays as relays
helpers.Stores.close = helpers.explain = lambda *_: 1
relays.Relay = clients.Clients = None
""",
    "patches-the-wire": """
from course.grading import wire
real = wire.encode
class Always(dict):
    def __eq__(self, other): return True
    __hash__ = None
wire.clean = lambda *_: "passed"
""",
}

#: Answers to the first task that return, or raise, something that should pass every test.
TRICKS = {
    "equals-everything": "class Yes(int):\n    def __eq__(self, other): return True\n"
    "    __hash__ = int.__hash__\ndef add(numbers): return Yes(7)",
    "is-an-object": "class Yes:\n    __class__ = int\n    def __eq__(self, other): return True\n"
    "def add(numbers): return Yes()",
    "raises-an-assertion": "def add(numbers): raise AssertionError('passed')",
    "exits": "def add(numbers): raise SystemExit(0)",
    "raises-odd-errors": "class Odd(Exception):\n    def __str__(self): raise SystemExit\n"
    "Odd.__name__ = 'x' * 300_000\ndef add(numbers): raise Odd",
    "returns-deep-lists": "def add(numbers):\n    found = []\n"
    "    for _ in range(100_000): found = [found]\n    return found",
    "returns-large-texts": "def add(numbers): return 'x' * 10**8",
    "looks-at-its-callers": "import sys\ndef add(numbers):\n    frame = sys._getframe()\n"
    "    while frame:\n        frame.f_locals.update(value=6, reply={'value': {'int': '6'}})\n"
    "        frame = frame.f_back\n    return 7",
    "learns-from-arguments": "seen = []\ndef add(numbers):\n    seen.append(numbers)\n"
    "    class Yes(list):\n        def __eq__(self, other): return True\n    return Yes(seen)",
}

_CHANNEL = (
    "import gc, socket\n"
    "from course.grading import wire, student_process\n"
    "process = next(one for one in gc.get_objects() if type(one).__name__ == 'StudentProcess')\n"
    "channel = process._channel\n"
)
#: Cells that attack the connection to the grader, each in a notebook with wrong answers.
CHANNEL = {
    "sends-replies-ahead": _CHANNEL
    + "for number in range(2, 90): wire.send(channel, {'number': number, 'value': {'int': '6'}})",
    "answers-itself": _CHANNEL + "def reply(request, _):\n"
    "    wire.send(channel, {'number': request['number'], 'value': {'int': '0'}})\n"
    "process._reply = reply",
    "floods": _CHANNEL + "while True: channel.send(b'\\0' * 2**16)",
    "sends-nonsense": _CHANNEL + "channel.sendall(b'\\xff' * 1000)",
    "closes-it": _CHANNEL + "channel.close()",
    "answers-with-code": _CHANNEL
    + "def reply(request, _): wire.send(channel, {'number': request['number'], 'error':\n"
    "    {'classes': [['builtins', 'exit'], ['builtins', 'SystemExit']], 'text': 'x' * 10**6}})\n"
    "process._reply = reply",
}

_EATING = "x = [bytearray(10**7) for _ in range(70)]\nimport time\nwhile True: time.sleep(1)"
#: Cells that end their process, all in perfect notebooks of their own, and part of the event.
ENDED = {
    # It keeps a fixed amount of memory, so that the outcome does not depend on time.
    "eats-memory": (_EATING, "took more than 512 MiB of memory"),
    "eats-memory-elsewhere": (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {_EATING!r}])",
        "took more than 512 MiB of memory",
    ),
    "eats-shared-memory": (
        (
            "import mmap, time\nshared = mmap.mmap(-1, 700 * 2**20)\n"
            "for place in range(0, len(shared), 4096): shared[place] = 1\nwhile True: time.sleep(1)"
        ),
        "took more than 512 MiB of memory",
    ),
    "exits-at-once": ("import os\nos._exit(0)", "ended the process"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "ended the process"),
    "forks-without-end": (
        (
            "import os, time\nfor _ in range(10_000):\n    try:\n        if os.fork() == 0:\n"
            "            time.sleep(60)\n    except OSError: time.sleep(0.1)"
        ),
        "ended the process",
    ),
}

#: Cells that exceed the time limit, all in one notebook.
HANGING = (
    "while True:\n    pass",
    "import time\ntime.sleep(10**6)",
    "def add(numbers):\n    while not numbers: pass\n    return sum(numbers)",
)
LOOPS_STUBBORNLY = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
