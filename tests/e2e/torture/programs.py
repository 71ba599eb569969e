"""The service and the relay as processes that can be killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import httpx

from helpers.settings import PROJECT

HANG_SECONDS = 60.0

#: Where a process kills itself: before or after a step of the saga.
CrashPoint = tuple[str, str]


class Program:
    """One process of the shop. With ``crash_at`` it kills itself at that point."""

    name: str

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._environ = {**os.environ, **environ}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self, *, crash_at: CrashPoint | None = None) -> None:
        """Start the process if it is not running; with ``crash_at``, replace a running one."""
        if crash_at is not None:
            self.kill()
        if self.runs():
            return
        program = (
            ["-m", "helpers"]
            if crash_at is None
            else ["-m", "tests.e2e.torture.crash_at_step", *crash_at]
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, *self.command()],
                cwd=PROJECT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait until it has ended."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def wait_until_killed(self) -> None:
        """Wait until the process has killed itself."""
        assert self._process is not None
        code = self._process.wait(HANG_SECONDS)
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}: {self.log_tail()}"

    def log_tail(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:]


class Api(Program):
    """The service, always on the same port, so that clients can reconnect."""

    name = "api"

    def __init__(self, environ: Mapping[str, str], log: Path, token: str) -> None:
        super().__init__({**environ, "SHOP_TOKEN": token}, log)
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.headers = {"Authorization": f"Bearer {token}"}

    def command(self) -> Sequence[str]:
        # Here the relay is a separate process.
        return ["serve", "--no-relay", "--port", str(self._port)]

    def wait(self, *, restart: bool = True) -> None:
        """Wait until it responds; restart it if it ended because a store was unavailable."""
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            if restart:
                self.start()
            else:
                assert self.runs(), f"the service ended too early: {self.log_tail()}"
            try:
                httpx.get(f"{self.url}/problems/store-unavailable", timeout=5)
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"the service does not start: {self.log_tail()}"
                time.sleep(0.05)
            else:
                return

    def slowest_seconds(self) -> float:
        """Return the seconds that the slowest request took, from the service's log."""
        lines = self._log.read_text("utf-8", "replace").splitlines()
        logged = [json.loads(line) for line in lines if line.startswith("{")]
        return max((record["ms"] / 1000 for record in logged if "ms" in record), default=0.0)


class Relay(Program):
    """The process that relays the outbox and reconciles."""

    name = "relay"

    def command(self) -> Sequence[str]:
        return ["relay", "--every", "0.1"]


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
