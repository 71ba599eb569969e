"""Crash a process at a chosen step: a child process places an order and kills itself there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from helpers.errors import FaultError
from helpers.faults.order_attempts import OrderAttempt, Strategy, check_crash
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_END_SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt, as its client sees it.

    ``killed`` says that the process killed itself and the client got no response. Otherwise the
    client got ``order``, a number, or ``error``, a sentence.
    """

    killed: bool
    order: int | None
    error: str | None


class Crashes:
    """Places orders in child processes that kill themselves at a given step.

    Created by ``crashing``. Not thread-safe.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    def kill_at(
        self,
        moment: str,
        step: str,
        *,
        product: int,
        quantity: int = 1,
        customer: int,
        key: str,
        times: int = 1,
        strategy: Strategy = "saga",
    ) -> list[Outcome]:
        """Place an order in a process that kills itself ``before`` or ``after`` a step.

        The attempt is repeated ``times`` times with the same key, each time in a new process, as a
        client retries. A process that does not reach the step, because an earlier attempt has done
        it, survives and responds.

        Raises ``SettingsError`` if there is no such moment, step or strategy, and ``FaultError`` if
        the processes cannot be started any more.
        """
        crash = check_crash(strategy, moment, step)
        attempt = OrderAttempt(strategy, product, quantity, customer, key, crash)
        return [self._carry_out(attempt) for _ in range(times)]

    def place(
        self,
        *,
        product: int,
        quantity: int = 1,
        customer: int,
        key: str,
        strategy: Strategy = "saga",
    ) -> Outcome:
        """Place an order in a process that keeps running, as another instance of the service does.

        Raises ``FaultError`` if that process cannot be started or has ended.
        """
        return self._carry_out(OrderAttempt(strategy, product, quantity, customer, key))

    def _carry_out(self, attempt: OrderAttempt) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(attempt.as_json()).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            log = self._log.read().decode("utf-8", "replace").strip()[-500:]
            raise FaultError(
                f"The parent of the crashing processes has ended: {log or 'its log is empty'}. "
                "Leave the block, and enter it again."
            )
        return Outcome(**json.loads(line))


@contextlib.contextmanager
def crashing(stores: Stores) -> Iterator[Crashes]:
    """Yield a ``Crashes`` that places orders in the databases of ``stores``.

    All its processes end with the block, and soon after this process dies.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.faults.crash_worker"],
            cwd=PROJECT,
            # A library with its own threads cannot be forked safely.
            env={**os.environ, **environment_of(stores), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield Crashes(process, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # children may wait for a server
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
