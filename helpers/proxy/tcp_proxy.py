"""A TCP proxy in front of one store, which can delay, freeze and cut its connections."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from helpers.errors import ProxyError, SettingsError
from helpers.proxy.upstream import find_target

#: The longest round trip that a proxy adds, in seconds.
LONGEST_SECONDS = 60.0

_FORWARDER = Path(__file__).with_name("forwarder.py")
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class ProxyState:
    """The number of open connections, and of bytes accepted but not delivered yet."""

    connections: int
    buffered_bytes: int


class TcpProxy:
    """A proxy in front of one store that can delay, freeze and cut connections.

    ``url`` is the store's address with the proxy in the server's place; it includes the password.
    Clients that connect to it reach the store, with ``round_trip`` seconds added to each round
    trip, half in each direction. Connecting itself is not delayed, since the proxy accepts
    connections at once; all data sent afterwards is.

    The proxy is a separate process, which exits when it is closed or when this process dies.

    Raises ``SettingsError`` if ``url`` cannot be proxied or ``round_trip`` is not from 0 to 60
    seconds, and ``ProxyError`` if the process does not start.
    """

    def __init__(self, url: str, round_trip: float = 0.0) -> None:
        self._target = find_target(url)
        self._round_trip = _checked(round_trip)
        self._lock = threading.Lock()
        self._commands = 0
        target = self._target
        where = ["unix", target.path] if target.path else ["tcp", target.host, str(target.port)]
        try:
            # Isolated and without site-packages, so that it starts fast. In a new session, so that
            # an interrupt of this process does not stop it.
            self._process = subprocess.Popen(
                [sys.executable, "-IS", str(_FORWARDER), *where],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProxyError(
                f"The proxy to {target} cannot be started: {error.strerror}. Close other programs, "
                "and try again."
            ) from None
        self._finalizer = weakref.finalize(self, _stop, self._process)
        try:
            self.url = target.through(self._read()["port"])
            self.set_round_trip(round_trip)
        except BaseException:
            self.close()
            raise

    @property
    def round_trip(self) -> float:
        """The time added to each round trip, in seconds."""
        return self._round_trip

    def set_round_trip(self, seconds: float) -> None:
        """Add ``seconds`` to each round trip from now on; data on its way keeps its delay.

        Raises ``SettingsError`` unless it is from 0 to 60 seconds.
        """
        seconds = _checked(seconds)
        self._call("delay", seconds=seconds / 2)
        self._round_trip = seconds

    def cut(self) -> None:
        """Close all connections at once, and every new one before any reply."""
        self._call("cut")

    def freeze(self) -> None:
        """Stop delivering data in both directions, but keep connections open and accept data."""
        self._call("freeze")

    def restore(self) -> None:
        """End a cut or a freeze. Data held back by a freeze is delivered, in order."""
        self._call("restore")

    def state(self) -> ProxyState:
        """Return the number of open connections and of buffered bytes."""
        return ProxyState(**self._call("state"))

    def close(self) -> None:
        """Stop the process, which closes all its connections. May be called again."""
        with self._lock:
            self._finalizer()

    def _call(self, what: str, **more: float) -> dict[str, int]:
        with self._lock:
            if not self._finalizer.alive:
                raise ProxyError(f"The proxy to {self._target} is closed: make another one.")
            assert self._process.stdin is not None
            self._commands += 1
            command = {"number": self._commands, "do": what, **more}
            try:
                self._process.stdin.write(json.dumps(command).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self._exited() from None
            # Skip the reply to a call that was interrupted.
            while (reply := self._read()).pop("number") != self._commands:
                continue
            return reply

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._exited()
        reply: dict[str, int] = json.loads(line)
        return reply

    def _exited(self) -> ProxyError:
        return ProxyError(
            f"The proxy to {self._target} has ended; something else stopped it. Close it "
            "and make another one."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TcpProxy to {self._target}, round trip {self._round_trip * 1000:g} ms>"


def _checked(seconds: float) -> float:
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SECONDS):
        raise SettingsError(
            f"A proxy cannot add {seconds} seconds to a round trip: give a number from 0 to "
            f"{LONGEST_SECONDS:g}, such as 0.005 for five milliseconds."
        )
    return seconds


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it may have exited before
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
