"""The callers behind ``measure``: a process that asks an HTTP server, and notes how it answers.

``load.py`` starts this file by its path, so that the callers share an interpreter neither with the
server nor with whoever measures. It imports nothing of the project. It reads one line of JSON::

    {"host": "127.0.0.1", "port": 8000, "requests": ["GET / HTTP/1.1…", …], "callers": 16,
     "warm_up": 0, "most": null, "seconds": 5.0, "patience": 120.0}

It writes one line of JSON with what happened, and after it the latencies in seconds, eight bytes
each, in the machine's own order. It ends then, or as soon as its input closes: whoever started it
has died.

Answers are read into one buffer and parsed in C; no body is kept. For an answer of 240 KB to one of
16 callers this takes less than 0.1 ms of processor time, a third of what threads with
``http.client`` take: the processor is the server's.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools
import uvloop

BROKEN = "connection broken"
NO_ANSWER = "no answer"
NO_CONNECTION = "no connection"
NOT_HTTP = "not HTTP"

#: How long a caller goes on trying to connect to a server that was there before.
CONNECT_SECONDS = 10.0

_PAUSE_SECONDS = 0.05
_FINAL_STATUS = 200
_BAD_STATUS = 400
_DESCRIPTORS = 2048

# Shared by all connections: what arrives is parsed before anything else can arrive.
_buffer = bytearray(256 * 1024)
_view = memoryview(_buffer)


class Phase:
    """Requests that begin within ``seconds`` and are ``most`` in all, and what became of them.

    Each caller's first is asked also where the time is over before, so that none comes back empty.
    """

    def __init__(self, seconds: float | None, most: int | None) -> None:
        self._begin = time.perf_counter()
        self._window = seconds or 0.0
        self.until = None if seconds is None else self._begin + seconds
        self.last_answer = self._begin
        self.requests = 0
        self.bytes = 0
        self.latencies = array("d")
        self.failures: Counter[str] = Counter()
        self._most = most

    @property
    def seconds(self) -> float:
        """From the first request to the last answer, and no less than the window."""
        return max(self.last_answer - self._begin, self._window)

    def take(self, *, first: bool) -> bool:
        """Begin one more request, a caller's ``first`` or not; tell whether that may be."""
        if self._most is not None and self.requests >= self._most:
            return False
        if self.until is not None and time.perf_counter() >= self.until and not first:
            return False
        self.requests += 1
        return True


class Connection(asyncio.BufferedProtocol):
    """One connection: a request goes out, and an answer is read to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reusable = True
        self.received = 0
        self.start = self.end = 0.0
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int | str] | None = None

    def ask(self, request: bytes, patience: float) -> Awaitable[int | str]:
        """Send ``request``; what is returned becomes the status, or what went wrong instead."""
        assert self._transport is not None
        self._answer = answer = self._loop.create_future()
        if not self.reusable:  # closed since it was made
            self._finish(BROKEN)
            return answer
        timer = self._loop.call_later(patience, self._give_up, NO_ANSWER)
        answer.add_done_callback(lambda _: timer.cancel())
        self.start = time.perf_counter()
        self._transport.write(request)
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by its type. It has set TCP_NODELAY.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        try:
            self._parser.feed_data(_view[:nbytes])
        except httptools.HttpParserError:
            self._give_up(NOT_HTTP)

    def on_message_complete(self) -> None:
        """Note the end of an answer. Called by the parser."""
        status = self._parser.get_status_code()
        if status < _FINAL_STATUS:
            return  # the real answer follows
        self.end = time.perf_counter()
        if not self._parser.should_keep_alive():
            self.close()
        self._finish(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.reusable = False
        self._finish(BROKEN)

    def close(self) -> None:
        """Close the connection at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, why: str) -> None:
        self.close()
        self._finish(why)

    def _finish(self, answer: int | str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class Caller:
    """One caller: asks, waits for the answer, asks again."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], number: int) -> None:
        self._connect = connect
        self._turn = number  # so that not all begin with the same address
        self._connection: Connection | None = None

    async def connect(self) -> Connection:
        """Make a connection, where there is none that can be used.

        Raises ``OSError`` where nothing listens.
        """
        if self._connection is None or not self._connection.reusable:
            self._connection = await self._connect()
        return self._connection

    async def call(self, phase: Phase, requests: list[bytes], patience: float) -> None:
        """Ask one request after the other as long as ``phase`` lasts.

        A caller that gets no connection, or no answer, asks no more.
        """
        first = True
        while phase.take(first=first):
            first = False
            connection = await self._reconnect(phase, patience)
            if connection is None:
                phase.failures[NO_CONNECTION] += 1
                return
            request = requests[self._turn % len(requests)]
            self._turn += 1
            before = connection.received
            answer = await connection.ask(request, patience)
            phase.bytes += connection.received - before
            if isinstance(answer, str):
                phase.failures[answer] += 1
                if answer == NO_ANSWER:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            phase.last_answer = max(phase.last_answer, connection.end)
            if answer < _BAD_STATUS:
                phase.latencies.append(connection.end - connection.start)
            else:
                phase.failures[str(answer)] += 1

    async def _reconnect(self, phase: Phase, patience: float) -> Connection | None:
        """Return a usable connection; ``None`` where there is none after some seconds of trying."""
        end = time.perf_counter() + min(patience, CONNECT_SECONDS)
        if phase.until is not None:
            end = min(end, phase.until)
        while True:
            try:
                return await self.connect()
            except OSError:
                if time.perf_counter() >= end:
                    return None
                await asyncio.sleep(_PAUSE_SECONDS)


async def run(order: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Do what ``order`` says; return what happened, and the latencies as bytes."""
    loop = asyncio.get_running_loop()
    patience = order["patience"]

    async def connect() -> Connection:
        async with asyncio.timeout(min(patience, CONNECT_SECONDS)):
            return (
                await loop.create_connection(lambda: Connection(loop), order["host"], order["port"])
            )[1]

    callers = [Caller(connect, number) for number in range(order["callers"])]
    requests = [text.encode("latin-1") for text in order["requests"]]

    async def ask(seconds: float | None, most: int | None) -> Phase:
        phase = Phase(seconds, most)
        await asyncio.gather(*(caller.call(phase, requests, patience) for caller in callers))
        return phase

    try:
        await asyncio.gather(*(caller.connect() for caller in callers))
    except OSError as error:
        return {"refused": os.strerror(error.errno) if error.errno else "no answer"}, b""
    await ask(None, order["warm_up"] * len(callers))
    before = time.process_time()
    phase = await ask(order["seconds"], order["most"])
    return {
        "requests": phase.requests,
        "failures": phase.failures,
        "bytes": phase.bytes,
        "seconds": phase.seconds,
        "cpu_seconds": time.process_time() - before,
        "latencies": len(phase.latencies) * phase.latencies.itemsize,
    }, phase.latencies.tobytes()


def main() -> None:
    """Read the order, carry it out, write what happened."""
    order = json.loads(sys.stdin.buffer.readline())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    loop = uvloop.new_event_loop()
    # Nothing is sent after the order: there is something to read when the other side is gone.
    loop.add_reader(0, lambda: os._exit(1))
    found, latencies = loop.run_until_complete(run(order))
    sys.stdout.buffer.write(json.dumps(found).encode() + b"\n" + latencies)
    sys.stdout.buffer.flush()
    # The system closes what is open; taking leave of each connection could hang.
    os._exit(0)


if __name__ == "__main__":
    main()
