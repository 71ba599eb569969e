"""Buyers at work: a thread for each, all let go at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import TypeVar

from helpers.lab.buyers import PurchaseAttempt

T = TypeVar("T")

#: Carries out one attempt, and answers how it went.
Act = Callable[[PurchaseAttempt], T]


def run_buyers(
    plans: Sequence[Sequence[PurchaseAttempt]],
    act: Callable[[int], AbstractContextManager[Act[T]]],
) -> list[T]:
    """Carry out ``plans``, a thread for each buyer, and return how every attempt went.

    ``act(number)`` is called in the thread of the buyer of that number in ``plans``, to make that
    buyer's own connections. It returns a context manager that yields what carries out an attempt
    and closes the connections at the end (``nullcontext(function)`` where there is nothing to
    close). When all buyers have theirs, all begin together; each waits before an attempt as long as
    its ``pause`` says.

    The results stand in the order of the plans: first all of the first buyer's. If a buyer raises
    an exception, the others stop before their next attempt, and the first exception is raised when
    all have ended.
    """
    if not plans:
        return []
    gate = threading.Barrier(len(plans))
    over = threading.Event()
    failures: list[BaseException] = []  # in order of time

    def work(buyer: int) -> list[T]:
        results: list[T] = []
        try:
            with act(buyer) as carry_out:
                for attempt in plans[buyer] if _pass(gate) else ():
                    if over.wait(attempt.pause):
                        break
                    results.append(carry_out(attempt))
        except BaseException as error:
            failures.append(error)
            over.set()
            gate.abort()
            raise
        return results

    with ThreadPoolExecutor(len(plans), thread_name_prefix="buyer") as pool:
        try:
            futures = [pool.submit(work, buyer) for buyer in range(len(plans))]
            wait(futures)
        finally:
            # Whoever interrupts us does not wait for the end of the plans.
            over.set()
            gate.abort()
    if failures:
        raise failures[0]
    return [result for future in futures for result in future.result()]


def _pass(gate: threading.Barrier) -> bool:
    """Wait until all buyers are there; tell whether they came."""
    try:
        gate.wait()
    except threading.BrokenBarrierError:
        return False
    return True
