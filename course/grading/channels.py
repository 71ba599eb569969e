"""A socket to the student's process: requests, and replies that are matched to them by number.

A reply to nothing, or one that cannot be read, ends the process.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from course.grading import wire

_SEND_SECONDS = 30
#: What is said of a process that ended without a known reason.
ENDED = "ended the process"


class StudentEnded(Exception):  # noqa: N818 - not always an error
    """The student's process ended or was ended; the text completes a sentence that says why."""

    @property
    def uncertain(self) -> bool:
        """Whether the system may have ended it, because memory was short."""
        return str(self) == ENDED


class StudentLate(Exception):  # noqa: N818 - likewise
    """A request took too long and was stopped; the text completes a sentence."""


class Channel:
    """One socket to the student's process or to a fork of it; replies are matched by number."""

    def __init__(self, connected: socket.socket, ended: Callable[[str], None]) -> None:
        self._socket, self._ended = connected, ended
        timeout = struct.pack("ll", _SEND_SECONDS, 0)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self.busy = False
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[dict[str, Any]]] = {}
        self._late: set[int] = set()
        self._broken = False
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, request: dict[str, Any], descriptor: int | None = None) -> int:
        """Send a request and return its number. Raises ``StudentEnded`` or ``WireError``."""
        with self._lock:
            number = next(self._numbers)
            self._pending[number] = Future()
            if self._broken:
                self._pending[number].set_exception(EOFError())
            try:
                wire.send(self._socket, {**request, "number": number})
                if descriptor is not None:
                    socket.send_fds(self._socket, [b"x"], [descriptor])
            except OSError:
                self._ended(ENDED)
        return number

    def reply(self, number: int, deadline: float) -> dict[str, Any]:
        """Wait for a reply. Raises ``TimeoutError``, or ``EOFError`` if the process ended."""
        try:
            seconds = max(0.0, deadline - time.monotonic())
            return self._pending[number].result(seconds)
        except FutureTimeout:
            raise TimeoutError from None

    def done(self, number: int) -> None:
        """Expect the reply no longer."""
        with self._lock:
            if not self._pending.pop(number).done():
                self._late.add(number)

    def close(self) -> None:
        """Close the socket, which ends the process behind it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        why = ENDED
        try:
            while True:
                reply = wire.receive(self._socket)
                number = reply.get("number")
                with self._lock:
                    waiting = self._pending.get(number) if type(number) is int else None
                    if waiting is None:
                        if number not in self._late:
                            why = "sent a reply to a request that was not sent"
                            break
                        self._late.discard(number)
                    elif not waiting.done():
                        waiting.set_result(reply)
        except wire.WireError as error:
            why = f"sent a reply that cannot be read: {error}"
        except (EOFError, OSError, TypeError):
            pass
        self._ended(why)
        with self._lock:
            self._broken = True
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_exception(EOFError())
