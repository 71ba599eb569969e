"""Simulate concurrent buyers of a few products: plan their attempts, and run them in threads.

A plan is drawn from a seed and is the same on every machine, so that two ways to sell can be
compared under identical load.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from helpers.catalog.random_draws import zipf_ranks
from helpers.errors import ReservationError, SoldOutError
from helpers.stock.reservations import new_token
from helpers.stock.stock import Stock

T = TypeVar("T")

#: What a buyer does after reserving units; an abandoned reservation expires.
Ending = Literal["confirm", "release", "abandon"]

_ENDINGS: tuple[Ending, ...] = get_args(Ending)
_WEIGHTS = (0.7, 0.2, 0.1)


@dataclass(frozen=True)
class PurchaseAttempt:
    """One attempt of ``buyer`` (from 0) to get ``quantity`` units of a product."""

    buyer: int
    product_id: int
    quantity: int
    ending: Ending


#: Carries out one attempt and returns its outcome.
Act = Callable[[PurchaseAttempt], T]


def plan_attempts(
    count: int,
    *,
    buyers: int,
    products: Sequence[int],
    exponent: float = 1.0,
    largest: int = 1,
    seed: int = 1,
) -> list[list[PurchaseAttempt]]:
    """Return a list of attempts for each buyer, ``count`` attempts in all.

    Products follow Zipf's law with ``exponent``; the first of ``products`` is the most popular.
    Quantities are uniform from 1 to ``largest``. Of ten attempts, on average seven end with a
    confirmation, two with a release, and one is abandoned.

    Raises ``ValueError`` if an argument is invalid.
    """
    for number, least, name in (
        (count, 0, "count"),
        (buyers, 1, "buyers"),
        (largest, 1, "largest"),
    ):
        if number < least:
            raise ValueError(f"{name} is {number}: give {least} or more.")
    rank = zipf_ranks(len(products), exponent=exponent)
    plans = []
    for buyer in range(buyers):
        draw = random.Random(f"{seed}:buyer:{buyer}")
        share = count // buyers + (buyer < count % buyers)
        plans.append(
            [
                PurchaseAttempt(
                    buyer,
                    products[rank(draw.random()) - 1],
                    1 + int(draw.random() * largest),
                    draw.choices(_ENDINGS, _WEIGHTS)[0],
                )
                for _ in range(share)
            ]
        )
    return plans


def buying(stock: Stock, *, hold_seconds: float | None = None) -> Act[str]:
    """Return a function that carries out an attempt to buy from ``stock``, for ``run_buyers``.

    It returns ``"confirmed"``, ``"released"`` or ``"abandoned"``, as planned; or ``"sold out"``, or
    the state of a reservation that could not be confirmed.

    If ``stock.redis`` retries after a lost connection, the attempt is retried with the same token,
    so that nothing is reserved twice.
    """

    def buy(attempt: PurchaseAttempt) -> str:
        items = {attempt.product_id: attempt.quantity}
        try:
            reservation = stock.reserve(items, token=new_token(), hold_seconds=hold_seconds)
        except SoldOutError:
            return "sold out"
        if attempt.ending == "abandon":
            return "abandoned"
        try:
            if attempt.ending == "release":
                stock.release(reservation)
                return "released"
            stock.confirm(reservation)
        except ReservationError as error:
            return error.state
        return "confirmed"

    return buy


def run_buyers(
    plans: Sequence[Sequence[PurchaseAttempt]],
    act: Callable[[int], AbstractContextManager[Act[T]]],
) -> list[T]:
    """Carry out ``plans`` with a thread per buyer, and return the outcomes of all attempts.

    ``act(number)`` is called in the buyer's thread. It returns a context manager that opens the
    buyer's connections, yields the function that carries out an attempt, and closes the connections
    (``nullcontext(function)`` if there are none). All buyers start together when all are connected.

    The outcomes are in the order of the plans: first all of the first buyer's. If a buyer raises an
    exception, the others stop before their next attempt, and the first exception is raised when all
    have stopped.
    """
    if not plans:
        return []
    barrier = threading.Barrier(len(plans))
    stopping = threading.Event()
    failures: list[BaseException] = []  # in order of time

    def work(buyer: int) -> list[T]:
        results: list[T] = []
        try:
            with act(buyer) as carry_out:
                for attempt in plans[buyer] if _wait_for_all(barrier) else ():
                    if stopping.is_set():
                        break
                    results.append(carry_out(attempt))
        except BaseException as error:
            failures.append(error)
            stopping.set()
            barrier.abort()
            raise
        return results

    with ThreadPoolExecutor(len(plans), thread_name_prefix="buyer") as pool:
        try:
            futures = [pool.submit(work, buyer) for buyer in range(len(plans))]
            wait(futures)
        finally:
            # After an interrupt, do not wait for the rest of the plans.
            stopping.set()
            barrier.abort()
    if failures:
        raise failures[0]
    return [result for future in futures for result in future.result()]


def _wait_for_all(barrier: threading.Barrier) -> bool:
    """Wait until all buyers are ready; return false if one of them failed."""
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        return False
    return True
