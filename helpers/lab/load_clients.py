"""The clients of ``measure``: a process that sends requests to an HTTP server.

``load.py`` starts this file by its path, so that the clients share an interpreter neither with the
server nor with the caller. It imports nothing of the project. It reads one line of JSON::

    {"host": "127.0.0.1", "port": 8000, "requests": ["GET / HTTP/1.1…", …], "clients": 16,
     "warm_up": 0, "most": null, "seconds": 5.0, "timeout": 120.0}

It writes the results as JSON and ends, or ends as soon as its input closes, because its parent
died.

Responses are read into one buffer and parsed in C; bodies are discarded. A response of 240 KB takes
less than 0.1 ms of CPU time, a third of what threads with ``http.client`` take, and so leaves the
CPU to the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools
import uvloop

BROKEN = "connection broken"
TIMEOUT = "timeout"
NO_CONNECTION = "no connection"
NOT_HTTP = "not HTTP"

#: How long a client retries to connect to a server that was available before.
CONNECT_SECONDS = 10.0

_PAUSE_SECONDS = 0.05
_FINAL_STATUS = 200
_BAD_STATUS = 400
_DESCRIPTORS = 2048

# Shared by all connections: data is parsed before any other data can arrive.
_buffer = bytearray(256 * 1024)
_view = memoryview(_buffer)


class Phase:
    """Requests started within ``seconds``, at most ``most``, and their results.

    Each client's first request is sent even if the time is over, so that none returns without a
    result.
    """

    def __init__(self, seconds: float | None, most: int | None) -> None:
        self._begin = time.perf_counter()
        self._window = seconds or 0.0
        self.until = None if seconds is None else self._begin + seconds
        self.last_response = self._begin
        self.requests = 0
        self.bytes = 0
        self.latencies: list[float] = []
        self.failures: Counter[str] = Counter()
        self._most = most

    @property
    def seconds(self) -> float:
        """The time from the first request to the last response, and at least the window."""
        return max(self.last_response - self._begin, self._window)

    def take(self, *, first: bool) -> bool:
        """Start one more request, a client's ``first`` or not; return whether that is allowed."""
        if self._most is not None and self.requests >= self._most:
            return False
        if self.until is not None and time.perf_counter() >= self.until and not first:
            return False
        self.requests += 1
        return True


class Connection(asyncio.BufferedProtocol):
    """One connection: send a request, and read the response to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reusable = True
        self.received = 0
        self.start = self.end = 0.0
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[int | str] | None = None

    def send(self, request: bytes, timeout: float) -> Awaitable[int | str]:
        """Send ``request``; return a future of the status, or of the cause of a failure."""
        assert self._transport is not None
        self._response = response = self._loop.create_future()
        if not self.reusable:  # closed since it was opened
            self._finish(BROKEN)
            return response
        timer = self._loop.call_later(timeout, self._give_up, TIMEOUT)
        response.add_done_callback(lambda _: timer.cancel())
        self.start = time.perf_counter()
        self._transport.write(request)
        return response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is not an asyncio.Transport by type. It sets TCP_NODELAY.
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
        """Record the end of a response. Called by the parser."""
        status = self._parser.get_status_code()
        if status < _FINAL_STATUS:
            return  # an interim response; the final one follows
        self.end = time.perf_counter()
        if not self._parser.should_keep_alive():
            self.close()
        self._finish(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.reusable = False
        self._finish(BROKEN)

    def close(self) -> None:
        """Close the connection immediately."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, why: str) -> None:
        self.close()
        self._finish(why)

    def _finish(self, response: int | str) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(response)


class Client:
    """One client: sends a request, waits for the response, sends the next."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], number: int) -> None:
        self._connect = connect
        self._next = number  # so that clients start with different addresses
        self._connection: Connection | None = None

    async def connect(self) -> Connection:
        """Open a connection, unless there is a usable one.

        Raises ``OSError`` if nothing listens.
        """
        if self._connection is None or not self._connection.reusable:
            self._connection = await self._connect()
        return self._connection

    async def send_requests(self, phase: Phase, requests: list[bytes], timeout: float) -> None:
        """Send one request after the other until ``phase`` ends.

        A client that gets no connection, or no response in time, stops.
        """
        first = True
        while phase.take(first=first):
            first = False
            connection = await self._reconnect(phase, timeout)
            if connection is None:
                phase.failures[NO_CONNECTION] += 1
                return
            request = requests[self._next % len(requests)]
            self._next += 1
            before = connection.received
            response = await connection.send(request, timeout)
            phase.bytes += connection.received - before
            if isinstance(response, str):
                phase.failures[response] += 1
                if response == TIMEOUT:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            phase.last_response = max(phase.last_response, connection.end)
            if response < _BAD_STATUS:
                phase.latencies.append(connection.end - connection.start)
            else:
                phase.failures[str(response)] += 1

    async def _reconnect(self, phase: Phase, timeout: float) -> Connection | None:
        """Return a usable connection, or ``None`` after trying for some seconds."""
        end = time.perf_counter() + min(timeout, CONNECT_SECONDS)
        if phase.until is not None:
            end = min(end, phase.until)
        while True:
            try:
                return await self.connect()
            except OSError:
                if time.perf_counter() >= end:
                    return None
                await asyncio.sleep(_PAUSE_SECONDS)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Carry out ``job``, and return the results."""
    loop = asyncio.get_running_loop()
    timeout = job["timeout"]

    async def connect() -> Connection:
        async with asyncio.timeout(min(timeout, CONNECT_SECONDS)):
            return (
                await loop.create_connection(lambda: Connection(loop), job["host"], job["port"])
            )[1]

    clients = [Client(connect, number) for number in range(job["clients"])]
    requests = [text.encode("latin-1") for text in job["requests"]]

    async def send_all(seconds: float | None, most: int | None) -> Phase:
        phase = Phase(seconds, most)
        await asyncio.gather(
            *(client.send_requests(phase, requests, timeout) for client in clients)
        )
        return phase

    try:
        await asyncio.gather(*(client.connect() for client in clients))
    except OSError as error:
        return {"refused": os.strerror(error.errno) if error.errno else "timeout"}
    await send_all(None, job["warm_up"] * len(clients))
    before = time.process_time()
    phase = await send_all(job["seconds"], job["most"])
    return {
        "requests": phase.requests,
        "failures": phase.failures,
        "bytes": phase.bytes,
        "seconds": phase.seconds,
        "cpu_seconds": time.process_time() - before,
        "latencies": phase.latencies,
    }


def main() -> None:
    """Read the job, carry it out, and write the results."""
    job = json.loads(sys.stdin.buffer.readline())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    loop = uvloop.new_event_loop()
    # No input follows the job, so the input becomes readable only when the parent has died.
    loop.add_reader(0, lambda: os._exit(1))
    json.dump(loop.run_until_complete(run(job)), sys.stdout)
    sys.stdout.flush()
    # Exit without closing the connections, which could hang.
    os._exit(0)


if __name__ == "__main__":
    main()
