"""The crash worker: a process whose children place orders, and kill themselves if requested.

Run as ``python -m helpers.faults.crash_worker`` with the addresses of a shop in the environment.
For each line of JSON that it reads, an attempt, it writes one line:
``{"killed": …, "order": …, "error": …}``.

It has imported all modules but holds no connection, so that a forked child is ready at once and
opens its own. One child carries out all attempts that do not crash and keeps its connections, as a
service does. The worker itself starts no thread, since it could not be forked safely then.
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
from helpers.faults.order_attempts import LazyConnections, OrderAttempt, carry_out
from helpers.settings import Addresses, load_settings
from helpers.stores.connect import explaining_all

#: The time limit of one attempt, in case a server hangs.
ATTEMPT_SECONDS = 60

_POLL_SECONDS = 0.01

OutcomeJSON = dict[str, Any]


def main() -> None:
    """Carry out the attempts that are read, until the input ends."""
    addresses = load_settings().addresses
    if addresses is None:
        raise SettingsError(
            "The addresses of a shop are missing: set POSTGRES_URL, MONGO_URL and REDIS_URL."
        )
    _warm_up(addresses)
    gc.collect()
    gc.freeze()  # otherwise a child's first garbage collection would copy all imported modules
    survivor: Survivor | None = None
    for line in sys.stdin:
        attempt = OrderAttempt.from_json(json.loads(line))
        if attempt.crash is not None:
            outcome = _in_a_child(attempt, addresses)
        else:
            survivor = survivor or Survivor(addresses)
            outcome = survivor.carry_out(line)
        print(json.dumps(outcome), flush=True)


def _warm_up(addresses: Addresses) -> None:
    """Do once what the drivers do at their first use; otherwise each child would repeat it."""
    connections = LazyConnections(addresses)
    try:
        with contextlib.suppress(CourseError), explaining_all(addresses):
            connections.postgres.execute("SELECT now(), %s::bigint, %s::text", (1, "")).fetchone()
            connections.mongo.command("ping")
            connections.redis.get("warm")
    finally:
        connections.close()
    while threading.active_count() > 1:  # the driver's threads are ending
        time.sleep(_POLL_SECONDS)


def _in_a_child(attempt: OrderAttempt, addresses: Addresses) -> OutcomeJSON:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with _exit_after():
            outcome = _try(attempt, LazyConnections(addresses))
            os.write(writer, json.dumps(outcome).encode())
    os.close(writer)
    with open(reader, "rb") as results:  # noqa: PTH123 - of a descriptor
        text = _read_in_time(results, pid)
    _, status = os.waitpid(pid, 0)
    if text:
        outcome = json.loads(text)
        assert isinstance(outcome, dict)
        return outcome
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return _outcome(killed=killed, error=None if killed else "its process ended; see the log")


def _read_in_time(results: IO[bytes], pid: int) -> bytes:
    ready, _, _ = select.select([results], [], [], ATTEMPT_SECONDS)
    if ready:
        return results.read()
    os.kill(pid, signal.SIGKILL)
    return json.dumps(_outcome(error=f"it did not finish in {ATTEMPT_SECONDS} s")).encode()


class Survivor:
    """A child that keeps running and keeps its connections, as the shop's service does."""

    def __init__(self, addresses: Addresses) -> None:
        attempts, self._attempts = os.pipe()
        self._results, results = os.pipe()
        if os.fork() == 0:
            os.close(self._attempts)
            os.close(self._results)
            with _exit_after():
                _serve(attempts, results, addresses)
        os.close(attempts)
        os.close(results)
        self._input = os.fdopen(self._results, "rb")

    def carry_out(self, line: str) -> OutcomeJSON:
        """Carry out one attempt, given as a line of JSON."""
        os.write(self._attempts, line.encode())
        text = self._input.readline()
        if not text:
            raise ConnectionError("the surviving process has ended")
        outcome = json.loads(text)
        assert isinstance(outcome, dict)
        return outcome


def _serve(attempts: int, results: int, addresses: Addresses) -> None:
    connections = LazyConnections(addresses)
    with os.fdopen(attempts, encoding="utf-8") as lines:
        for line in lines:
            outcome = _try(OrderAttempt.from_json(json.loads(line)), connections)
            if outcome["error"] is not None:
                with contextlib.suppress(Exception):  # they may be broken
                    connections.close()
                connections = LazyConnections(addresses)
            os.write(results, json.dumps(outcome).encode() + b"\n")


def _try(attempt: OrderAttempt, connections: LazyConnections) -> OutcomeJSON:
    try:
        with explaining_all(connections.addresses):
            return _outcome(order=carry_out(attempt, connections))
    except CourseError as error:
        return _outcome(error=str(error))


def _outcome(
    *, killed: bool = False, order: int | None = None, error: str | None = None
) -> OutcomeJSON:
    return {"killed": killed, "order": order, "error": error}


@contextlib.contextmanager
def _exit_after() -> Iterator[None]:
    """Exit this child after the block, whatever happens: it must not run its parent's code."""
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
