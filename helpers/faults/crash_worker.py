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
import multiprocessing
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from helpers.errors import CourseError, SettingsError
from helpers.faults.order_attempts import LazyConnections, OrderAttempt, carry_out
from helpers.settings import Addresses, load_settings
from helpers.stores.connect import explaining_all

#: The time limit of one attempt, in case a server hangs.
ATTEMPT_SECONDS = 60

_POLL_SECONDS = 0.01
_FORK = multiprocessing.get_context("fork")

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
    survivor: Child | None = None
    for line in sys.stdin:
        attempt = OrderAttempt.from_json(json.loads(line))
        if attempt.crash is not None:
            child = Child(addresses)
            outcome = child.carry_out(attempt)
            child.end()
        else:
            if survivor is None or not survivor.is_alive():
                survivor = Child(addresses)
            outcome = survivor.carry_out(attempt)
        print(json.dumps(outcome), flush=True)


def _warm_up(addresses: Addresses) -> None:
    """Do once what the drivers do at their first use; otherwise each child would repeat it."""
    with (
        contextlib.suppress(CourseError),
        explaining_all(addresses),
        contextlib.closing(LazyConnections(addresses)) as connections,
    ):
        connections.postgres.execute("SELECT now(), %s::bigint, %s::text", (1, "")).fetchone()
        connections.mongo.command("ping")
        connections.redis.get("warm")
    while threading.active_count() > 1:  # the driver's threads are ending
        time.sleep(_POLL_SECONDS)


class Child:
    """A child that carries out attempts, and keeps its connections meanwhile."""

    def __init__(self, addresses: Addresses) -> None:
        self._channel, other_end = _FORK.Pipe()
        # A daemon: it is ended with the worker.
        self._process = _FORK.Process(target=_serve, args=(other_end, addresses), daemon=True)
        self._process.start()
        other_end.close()

    def carry_out(self, attempt: OrderAttempt) -> OutcomeJSON:
        """Carry out an attempt in the child, which may end meanwhile."""
        self._channel.send(attempt)
        try:
            if self._channel.poll(ATTEMPT_SECONDS):
                outcome: OutcomeJSON = self._channel.recv()
                return outcome
        except EOFError:
            self._process.join()
            if self._process.exitcode == -signal.SIGKILL:
                return _outcome(killed=True)
            return _outcome(error="its process ended; see the log")
        self.end()
        return _outcome(error=f"it did not finish in {ATTEMPT_SECONDS} s")

    def is_alive(self) -> bool:
        """Return whether the child can carry out another attempt."""
        return self._process.is_alive()

    def end(self) -> None:
        """End the child, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._channel.close()


def _serve(channel: Connection, addresses: Addresses) -> None:
    """Carry out the attempts that arrive, until the worker has ended."""
    connections = LazyConnections(addresses)
    with contextlib.suppress(EOFError):
        while True:
            attempt = channel.recv()
            try:
                with explaining_all(addresses):
                    outcome = _outcome(order=carry_out(attempt, connections))
            except CourseError as error:
                outcome = _outcome(error=str(error))
                with contextlib.suppress(Exception):  # they may be broken
                    connections.close()
                connections = LazyConnections(addresses)
            channel.send(outcome)


def _outcome(
    *, killed: bool = False, order: int | None = None, error: str | None = None
) -> OutcomeJSON:
    return {"killed": killed, "order": order, "error": error}


if __name__ == "__main__":
    main()
