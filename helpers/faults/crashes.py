"""Crashes at a moment of a step: a process that places an order and really kills itself there."""

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
from helpers.faults.order_attempts import OrderAttempt, Way, check_crash
from helpers.settings import PROJECT
from helpers.stores import Stores
from helpers.stores.environment import environment_of

_END_SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, as its client sees it.

    ``killed``: its process killed itself, and the client got no answer. Otherwise it got ``order``,
    a number, or ``error``, a sentence.
    """

    killed: bool
    order: int | None
    error: str | None


class Crashes:
    """Places orders in processes of their own, which die where they are told to.

    ``crashing`` makes it. It may not be used by several threads at once.
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
        way: Way = "saga",
    ) -> list[Outcome]:
        """Place an order in a process that kills itself ``before`` or ``after`` a step.

        The same is tried ``times`` times, each in a new process, as by a client that asks again
        under its key. A process that does not come to the step lives, and answers: as by a later
        time, where an earlier one has done the step already.

        Raises ``SettingsError`` where there is no such moment, step or way, and ``FaultError``
        where the processes cannot be made any more.
        """
        crash = check_crash(way, moment, step)
        attempt = OrderAttempt(way, product, quantity, customer, key, crash)
        return [self._carry_out(attempt) for _ in range(times)]

    def place(
        self, *, product: int, quantity: int = 1, customer: int, key: str, way: Way = "saga"
    ) -> Outcome:
        """Place an order in a process that lives on, as another instance of the service would.

        Raises ``FaultError`` where that process cannot be made, or has ended.
        """
        return self._carry_out(OrderAttempt(way, product, quantity, customer, key))

    def _carry_out(self, attempt: OrderAttempt) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(attempt.as_json()).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            said = self._log.read().decode("utf-8", "replace").strip()[-500:]
            raise FaultError(
                f"The process that forks those that crash has ended: {said or 'it said nothing'}. "
                "Begin anew."
            )
        return Outcome(**json.loads(line))


@contextlib.contextmanager
def crashing(stores: Stores) -> Iterator[Crashes]:
    """Yield what places orders in the databases of ``stores`` and crashes at it.

    All its processes end with the block, and soon after the death of this process.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers.faults.crash_worker"],
            cwd=PROJECT,
            # What computes with threads of its own would not survive the forks.
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


def kill_at(
    stores: Stores,
    moment: str,
    step: str,
    *,
    product: int,
    quantity: int = 1,
    customer: int,
    key: str,
    times: int = 1,
    way: Way = "saga",
) -> list[Outcome]:
    """Place an order that is killed at a moment of a step: ``Crashes.kill_at``, once."""
    check_crash(way, moment, step)  # before a process is started for it
    with crashing(stores) as crashes:
        return crashes.kill_at(
            moment,
            step,
            product=product,
            quantity=quantity,
            customer=customer,
            key=key,
            times=times,
            way=way,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # of its session, some may hang at a server
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
