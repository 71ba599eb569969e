"""The service and the relay as processes that are killed and started again."""

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

#: What ends by itself at a step of the saga: ``(moment, step)``.
Fuse = tuple[str, str]


class Program:
    """One process of the shop. ``fuse`` lets it kill itself when it comes to that point."""

    name: str

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._environ = {**os.environ, **environ}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self, *, fuse: Fuse | None = None) -> None:
        """Start the process where it does not run; with a fuse, in place of one without."""
        if fuse is not None:
            self.kill()
        if self.runs():
            return
        program = ["-m", "helpers"] if fuse is None else ["-m", "tests.e2e.torture.fused", *fuse]
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
        """End it as a crash does; return when it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def wait_until_it_dies(self) -> None:
        """Wait for a process to come to its fuse."""
        assert self._process is not None
        code = self._process.wait(HANG_SECONDS)
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}: {self.said()}"

    def said(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:]


class Api(Program):
    """The service, always on the same port: its clients find it again."""

    name = "api"

    def __init__(self, environ: Mapping[str, str], log: Path, token: str) -> None:
        super().__init__({**environ, "SHOP_TOKEN": token}, log)
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.headers = {"Authorization": f"Bearer {token}"}

    def command(self) -> Sequence[str]:
        # What is carried is the relay's business here: it is a process of its own.
        return ["serve", "--no-relay", "--port", str(self._port)]

    def wait(self, *, again: bool = True) -> None:
        """Wait until it answers at all; start it ``again`` where it ended as a store was away."""
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            if again:
                self.start()
            else:
                assert self.runs(), f"the service ended too early: {self.said()}"
            try:
                httpx.get(f"{self.url}/problems/store-unavailable", timeout=5)
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"the service does not start: {self.said()}"
                time.sleep(0.05)
            else:
                return

    def slowest_seconds(self) -> float:
        """Return how long the slowest answer took, by the service's own log."""
        lines = self._log.read_text("utf-8", "replace").splitlines()
        logged = [json.loads(line) for line in lines if line.startswith("{")]
        return max((one["ms"] / 1000 for one in logged if "ms" in one), default=0.0)


class Relay(Program):
    """The process that carries the outbox, and reconciles."""

    name = "relay"

    def command(self) -> Sequence[str]:
        return ["relay", "--every", "0.1"]


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
