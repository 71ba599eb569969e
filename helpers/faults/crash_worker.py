"""The process in whose children orders are placed, some of which kill themselves at it.

Run as ``python -m helpers.faults.crash_worker``, in the environment of a shop. For each line of
JSON that it reads, an attempt, it writes one: ``{"killed": …, "order": …, "error": …}``.

It has imported everything and keeps no connection, so that a child is ready at once, and makes
connections of its own. Attempts that are to live are all made by one child, which keeps its
connections, as a service does. This process itself starts no thread: it could not be forked safely.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from helpers.errors import CourseError, SettingsError
from helpers.faults.order_attempts import Connections, OrderAttempt, carry_out
from helpers.settings import Addresses, load_settings
from helpers.stores.connect import explaining_all

#: How long one attempt may take. A server that hangs is not waited for forever.
ATTEMPT_SECONDS = 60

_POLL_SECONDS = 0.01

Answer = dict[str, Any]


def main() -> None:
    """Carry out what is read, to the end of the input."""
    addresses = load_settings().addresses
    if addresses is None:
        raise SettingsError("An environment with the addresses of a shop is needed.")
    _warm_up(addresses)
    gc.collect()
    gc.freeze()  # else each child's first collection would copy all that was imported
    survivor: Survivor | None = None
    for line in sys.stdin:
        attempt = OrderAttempt.from_json(json.loads(line))
        if attempt.crash is not None:
            answer = _in_a_child(attempt, addresses)
        else:
            survivor = survivor or Survivor(addresses)
            answer = survivor.carry_out(line)
        print(json.dumps(answer), flush=True)


def _warm_up(addresses: Addresses) -> None:
    """Have the drivers do once what they do the first time: each child would do it anew."""
    connections = Connections(addresses)
    try:
        with contextlib.suppress(CourseError), explaining_all(addresses):
            connections.postgres.execute("SELECT now(), %s::bigint, %s::text", (1, "")).fetchone()
            connections.mongo.command("ping")
            connections.redis.get("warm")
    finally:
        connections.close()
    while threading.active_count() > 1:  # the driver's own, which end now
        time.sleep(_POLL_SECONDS)


def _in_a_child(attempt: OrderAttempt, addresses: Addresses) -> Answer:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with _ending():
            answer = _tried(attempt, Connections(addresses))
            os.write(writer, json.dumps(answer).encode())
    os.close(writer)
    with open(reader, "rb") as answers:  # noqa: PTH123 - of a descriptor
        text = _read_in_time(answers, pid)
    _, status = os.waitpid(pid, 0)
    if text:
        answer = json.loads(text)
        assert isinstance(answer, dict)
        return answer
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return _answer(killed=killed, error=None if killed else "its process ended; see the log")


def _read_in_time(answers: IO[bytes], pid: int) -> bytes:
    ready, _, _ = select.select([answers], [], [], ATTEMPT_SECONDS)
    if ready:
        return answers.read()
    os.kill(pid, signal.SIGKILL)
    return json.dumps(_answer(error=f"it has not ended for {ATTEMPT_SECONDS} s")).encode()


class Survivor:
    """A child that lives on and keeps its connections, as the shop's service does."""

    def __init__(self, addresses: Addresses) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        if os.fork() == 0:
            os.close(self._orders)
            os.close(self._answers)
            with _ending():
                _serve(orders, answers, addresses)
        os.close(orders)
        os.close(answers)
        self._input = os.fdopen(self._answers, "rb")

    def carry_out(self, line: str) -> Answer:
        """Have one attempt carried out, given as a line of JSON."""
        os.write(self._orders, line.encode())
        text = self._input.readline()
        if not text:
            raise ConnectionError("the surviving process has ended")
        answer = json.loads(text)
        assert isinstance(answer, dict)
        return answer


def _serve(orders: int, answers: int, addresses: Addresses) -> None:
    connections = Connections(addresses)
    with os.fdopen(orders, encoding="utf-8") as lines:
        for line in lines:
            answer = _tried(OrderAttempt.from_json(json.loads(line)), connections)
            if answer["error"] is not None:
                with contextlib.suppress(Exception):  # they may be broken
                    connections.close()
                connections = Connections(addresses)
            os.write(answers, json.dumps(answer).encode() + b"\n")


def _tried(attempt: OrderAttempt, connections: Connections) -> Answer:
    try:
        with explaining_all(connections.addresses):
            return _answer(order=carry_out(attempt, connections))
    except CourseError as error:
        return _answer(error=str(error))


def _answer(*, killed: bool = False, order: int | None = None, error: str | None = None) -> Answer:
    return {"killed": killed, "order": order, "error": error}


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """End this child after the block, whatever happens in it: it must not run its parent's code."""
    status = 1
    try:
        yield
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


if __name__ == "__main__":
    main()
