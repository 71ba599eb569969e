"""A link to one store: its address, with a network in between that obeys."""

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
from types import TracebackType
from typing import Self

from helpers.errors import ProxyError, SettingsError
from helpers.proxy.upstream import find_target

#: The longest round trip that a link adds.
LONGEST_SECONDS = 60.0

_RELAY = Path(__file__).with_name("forwarder.py")
_END_SECONDS = 5.0


@dataclass(frozen=True)
class ProxyState:
    """What passes a link now: open connections, and bytes taken but not delivered yet."""

    connections: int
    held_bytes: int


class TcpProxy:
    """A way to one store that can be slowed, frozen and cut.

    ``url`` is the store's address with a relay of ours in the server's place; it holds the
    password. Whatever connects there reaches the store, with ``round_trip`` seconds added to each
    round trip, half in each direction. The drivers know nothing of it. Making a connection is not
    slowed itself: the relay accepts it at once; what is said on it from then on is.

    The relay is a process of its own. It ends when the link is closed, and also when this process
    dies, however that happens.

    Raises ``SettingsError`` where no relay can stand before ``url`` or ``round_trip`` is not from
    0 to 60 seconds, and ``ProxyError`` where the relay does not start.
    """

    def __init__(self, url: str, round_trip: float = 0.0) -> None:
        self._target = find_target(url)
        self._round_trip = _checked(round_trip)
        self._lock = threading.Lock()
        self._orders = 0
        target = self._target
        where = ["unix", target.path] if target.path else ["tcp", target.host, str(target.port)]
        try:
            # Isolated, without site-packages: it starts fast and imports nothing of ours. In a
            # session of its own: an interrupt meant for us is none for it.
            self._process = subprocess.Popen(
                [sys.executable, "-IS", str(_RELAY), *where],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProxyError(
                f"The relay to {target} cannot be started: {error.strerror}. Close other programs, "
                "and try again."
            ) from None
        self._end = weakref.finalize(self, _end, self._process)
        try:
            self.url = target.through(self._read()["port"])
            self.set_round_trip(round_trip)
        except BaseException:
            self.close()
            raise

    @property
    def round_trip(self) -> float:
        """What is added to each round trip, in seconds."""
        return self._round_trip

    def set_round_trip(self, seconds: float) -> None:
        """Add ``seconds`` to each round trip from now on; what is on its way stays as it was.

        Raises ``SettingsError`` unless it is from 0 to 60 seconds.
        """
        seconds = _checked(seconds)
        self._tell("delay", seconds=seconds / 2)
        self._round_trip = seconds

    def cut(self) -> None:
        """Close all connections at once, and every new one before it gets an answer."""
        self._tell("cut")

    def freeze(self) -> None:
        """Let connections hang: what is sent is taken and goes nowhere, in both directions."""
        self._tell("freeze")

    def restore(self) -> None:
        """End a cut or a freeze. What was held by a freeze is delivered, in order."""
        self._tell("restore")

    def state(self) -> ProxyState:
        """Return how many connections are open, and how many bytes are on their way."""
        return ProxyState(**self._tell("state"))

    def close(self) -> None:
        """End the relay, and with it every connection through it. May be called again."""
        with self._lock:
            self._end()

    def _tell(self, what: str, **more: float) -> dict[str, int]:
        with self._lock:
            if not self._end.alive:
                raise ProxyError(f"The link to {self._target} is closed: make another one.")
            assert self._process.stdin is not None
            self._orders += 1
            order = {"number": self._orders, "do": what, **more}
            try:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self._lost() from None
            # An interrupted call leaves its answer behind.
            while (answer := self._read()).pop("number") != self._orders:
                continue
            return answer

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._lost()
        answer: dict[str, int] = json.loads(line)
        return answer

    def _lost(self) -> ProxyError:
        return ProxyError(
            f"The relay to {self._target} has ended; something else stopped it. Close this link "
            "and make another one."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TcpProxy to {self._target}, round trip {self._round_trip * 1000:g} ms>"


def _checked(seconds: float) -> float:
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SECONDS):
        raise SettingsError(
            f"A link cannot add {seconds} seconds to a round trip: give a number from 0 to "
            f"{LONGEST_SECONDS:g}, such as 0.005 for five milliseconds."
        )
    return seconds


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it may have ended before
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
