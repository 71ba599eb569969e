"""A program that is ended leaves no process and no folder, whichever signal ends it.

Only servers that ``up`` has started stay: they belong to the data folder, until ``down``.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from helpers.embedded import EmbeddedServers
from helpers.embedded.server_processes import is_alive, processes_below
from tests.e2e.servers.server_helpers import environ, helpers_command, main_pids, shared_servers
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.verify]

LIMIT_SECONDS = 10
_MARK = "COURSE_TEST_PROGRAM"

#: What a lesson may have started.
LESSON = """
import contextlib
from helpers import open_shop
from helpers.embedded.temporary_valkey import temporary_valkey
from helpers.faults import crashing, inject_faults
from helpers.lab.background_programs import start_service
from helpers.proxy import TcpProxy

lesson = contextlib.ExitStack()
stores = lesson.enter_context(open_shop())
lesson.enter_context(TcpProxy(stores.addresses.redis))
lesson.enter_context(temporary_valkey())
lesson.enter_context(crashing(stores))
lesson.enter_context(start_service(stores))
lesson.enter_context(inject_faults(stores)).kill("worker1")
"""
CELL = "from helpers.lab import temporary_valkey; valkey = temporary_valkey(); valkey.__enter__()"
#: A function in C, during which a kernel does not notice that JupyterLab has ended, nor sends
#: anything: before it, the kernel needs a moment to say that it is busy.
BUSY = "import re, time; time.sleep(1); re.match('(a+)+$', 'a' * 60 + 'b')"


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> EmbeddedServers:
    return shared_servers(request.session)


class Case:
    """A program under test: its processes inherit a mark, its files are in ``folder``."""

    def __init__(self, servers: EmbeddedServers, folder: Path) -> None:
        self.folder = folder
        self._data_folder = servers.settings.data_folder
        self._mark = secrets.token_hex(8)
        self._environ = environ(servers.settings.data_folder) | {
            _MARK: self._mark,
            "TMPDIR": str(folder),
        }

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        self.program = subprocess.Popen(
            command,
            cwd="/",
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The tests may run under nohup, which ignores SIGHUP.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL) and None,
        )
        return self.program

    def processes(self) -> list[psutil.Process]:
        """Return the processes with the mark, except servers of the data folder."""
        kept = set(processes_below(self._data_folder))
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    process not in kept
                    and is_alive(process)
                    and process.environ().get(_MARK) == self._mark
                    and "watch_program" not in " ".join(process.cmdline())
                ):
                    found.append(process)
        return found

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())


@pytest.fixture
def case(running: EmbeddedServers) -> Iterator[Case]:
    # The paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix=""))
    case = Case(running, folder)
    yield case
    with case.program:
        for process in case.processes():
            process.kill()
    shutil.rmtree(folder)


def _wait_for_line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError("".join(lines))


def _execute(file: Path, *cells: str) -> None:
    """Run cells in the kernel with this connection file; the last one may never end."""
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        for cell in cells[:-1]:
            reply = client.execute_interactive(cell, timeout=PATIENCE, output_hook=lambda _: None)
            assert reply["content"]["status"] == "ok", reply["content"]
        client.execute(cells[-1])
        client.get_iopub_msg(timeout=PATIENCE)  # it is busy
        time.sleep(1.5)
    finally:
        client.stop_channels()


def _lesson(case: Case) -> subprocess.Popen[str]:
    """Start a program that does what a kernel does."""
    wait = "\nprint('ready', flush=True)\nimport time; time.sleep(600)"
    process = case.start([sys.executable, "-c", LESSON + wait])
    _wait_for_line(process, "ready")
    return process


def _lab(case: Case) -> subprocess.Popen[str]:
    process = case.start([sys.executable, "-m", "helpers.cli.jupyterlab", "--port", "0"])
    found = _wait_for_line(process, r"(http://127\.0\.0\.1:\d+)/lab\?token=(\w+)")
    code = (
        "import json, sys, urllib.request as r; q = r.Request(sys.argv[1] + '/api/kernels', b'{}', "
        "{'Authorization': 'token ' + sys.argv[2]}); print(r.urlopen(q).read().decode())"
    )
    done = subprocess.check_output([sys.executable, "-c", code, found[1], found[2]], text=True)
    [file] = case.folder.glob(f"*/kernel-{json.loads(done)['id']}.json")
    assert json.loads(file.read_text())["transport"] == "ipc"
    assert file.parent.stat().st_mode & 0o077 == 0
    _execute(file, CELL, BUSY)
    return process


def _service(case: Case) -> subprocess.Popen[str]:
    process = case.start(helpers_command("serve", "--port", "0"))
    _wait_for_line(process, "The shop is at")
    return process


def _relay(case: Case) -> subprocess.Popen[str]:
    process = case.start(helpers_command("relay"))
    _wait_for_line(process, "Ctrl-C|relay|Relay")
    return process


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("start", [_lesson, _lab, _service, _relay])
def test_an_ended_program_leaves_no_process_and_no_folder(
    start: Callable[[Case], subprocess.Popen[str]],
    sign: signal.Signals,
    case: Case,
    running: EmbeddedServers,
) -> None:
    servers = main_pids(running)
    process = start(case)
    assert case.processes()
    process.send_signal(sign)
    process.wait(PATIENCE)  # JupyterLab waits for a busy kernel, then kills it
    wait_until(lambda: not (case.processes() or case.files()), LIMIT_SECONDS)
    # Servers that ``up`` has started stay, and a fault that was injected into one is undone.
    wait_until(lambda: set(main_pids(running)) == set(servers))
    assert {name for name, pid in main_pids(running).items() if pid != servers[name]} <= {"worker1"}
