"""The circuit breaker changes its state as in TRANSITIONS, in threads and in event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import get_args

import psycopg
import pytest
import redis
from psycopg import errors
from psycopg_pool import PoolTimeout
from pymongo.errors import AutoReconnect, DuplicateKeyError, WaitQueueTimeoutError

from helpers.errors import CircuitOpenError, SoldOutError, StoreError, StoreName
from helpers.settings import Addresses
from helpers.stores.circuit_breaker import (
    TRANSITIONS,
    Breaker,
    BreakerState,
    BreakerView,
    End,
    Move,
    breakers_of,
    guarding,
)
from helpers.stores.connection_limits import Limits, share_deadline

FAILURES = 3
PAUSE = 10.0


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return _breaker(clock)


def _breaker(clock: Clock, store: StoreName = "Redis") -> Breaker:
    return Breaker(store, "there", failures=FAILURES, pause_seconds=PAUSE, clock=clock)


def _fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.begin()("fail")


def _open(breaker: Breaker) -> None:
    _fail(breaker, FAILURES)


def _try(breaker: Breaker, clock: Clock) -> End:
    _open(breaker)
    clock.now += PAUSE
    return breaker.begin()


def test_the_changes_of_state_are_those_in_transitions() -> None:
    """Every event is tried in every state; those that change the state are in the table."""

    def into(state: BreakerState, clock: Clock, breaker: Breaker) -> End | None:
        if state == "closed":
            _fail(breaker, FAILURES - 1)  # so that the next one counts
            return breaker.begin()
        if state == "half-open":
            return _try(breaker, clock)
        _open(breaker)
        clock.now += PAUSE
        return None

    def move(by: Move, breaker: Breaker, attempt: End | None) -> None:
        if by == "try":
            try:
                breaker.begin()
            except CircuitOpenError:
                assert breaker.state == "half-open"
        elif attempt is not None:
            attempt(by)

    found = set()
    for state, by in product(get_args(BreakerState), get_args(Move)):
        clock = Clock()
        breaker = _breaker(clock)
        attempt = into(state, clock, breaker)
        assert breaker.state == state
        move(by, breaker, attempt)
        if breaker.state != state:
            found.add((state, by, breaker.state))
    assert found == set(TRANSITIONS)
    assert len(TRANSITIONS) == len(found)


def test_the_circuit_opens_after_consecutive_failures(breaker: Breaker) -> None:
    _fail(breaker, FAILURES - 1)
    breaker.begin()("succeed")
    _fail(breaker, FAILURES - 1)
    breaker.begin()("leave")
    assert breaker.view() == BreakerView("closed", FAILURES - 1, 0.0)
    _fail(breaker)
    assert breaker.view() == BreakerView("open", FAILURES, PAUSE)


def test_an_open_circuit_rejects_requests_with_a_reason(breaker: Breaker, clock: Clock) -> None:
    _open(breaker)
    clock.now += 2.5
    with pytest.raises(CircuitOpenError) as refused:
        breaker.begin()
    error = refused.value
    assert isinstance(error, StoreError)
    assert (error.store, error.failures, error.retry_seconds) == ("Redis", FAILURES, PAUSE - 2.5)
    assert str(error) == (
        "Redis at there: it failed 3 times in a row, so its circuit is open. "
        "Try again after 8 seconds."
    )


def test_a_half_open_circuit_lets_one_request_through(breaker: Breaker, clock: Clock) -> None:
    trial = _try(breaker, clock)
    assert breaker.state == "half-open"
    for _ in range(3):
        with pytest.raises(CircuitOpenError, match=r"after 1 second\."):
            breaker.begin()
    trial("succeed")
    assert breaker.view() == BreakerView("closed", 0, 0.0)
    breaker.begin()
    breaker.begin()


def test_a_failed_trial_opens_the_circuit_again(breaker: Breaker, clock: Clock) -> None:
    _try(breaker, clock)("fail")
    assert breaker.view() == BreakerView("open", FAILURES + 1, PAUSE)


def test_after_a_cancelled_trial_the_next_request_is_the_trial(
    breaker: Breaker, clock: Clock
) -> None:
    _try(breaker, clock)("leave")
    assert breaker.view() == BreakerView("open", FAILURES, 0.0)
    breaker.begin()("succeed")
    assert breaker.state == "closed"


def test_outcomes_of_requests_before_the_last_change_of_state_are_ignored(
    breaker: Breaker, clock: Clock
) -> None:
    early = [breaker.begin() for _ in range(3)]
    _open(breaker)
    early[0]("succeed")
    assert breaker.view().state == "open"
    clock.now += PAUSE
    trial = breaker.begin()
    early[1]("fail")
    assert breaker.view().state == "half-open"
    trial("succeed")
    early[2]("fail")
    trial("fail")
    assert breaker.view() == BreakerView("closed", 0, 0.0)


def test_only_one_of_many_threads_runs_the_trial(breaker: Breaker, clock: Clock) -> None:
    _open(breaker)
    clock.now += PAUSE
    together = threading.Barrier(16)
    all_have_begun = threading.Barrier(16)

    def send(_: int) -> bool:
        together.wait()
        try:
            attempt = breaker.begin()
        except CircuitOpenError:
            all_have_begun.wait()
            return False
        all_have_begun.wait()
        attempt("succeed")
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(send, range(16))) == 1
    assert breaker.state == "closed"


def test_threads_and_tasks_share_the_state(breaker: Breaker, clock: Clock) -> None:
    def failing() -> None:
        with pytest.raises(redis.ConnectionError), guarding(breaker):
            raise redis.ConnectionError

    with ThreadPoolExecutor(FAILURES) as pool:
        for future in [pool.submit(failing) for _ in range(FAILURES)]:
            future.result()

    async def main() -> None:
        reply = asyncio.Event()

        async def send() -> str:
            try:
                with guarding(breaker):
                    await reply.wait()
            except CircuitOpenError:
                return "refused"
            return "succeeded"

        assert await asyncio.gather(*(send() for _ in range(5))) == ["refused"] * 5
        clock.now += PAUSE
        tasks = [asyncio.ensure_future(send()) for _ in range(5)]
        await asyncio.sleep(0)
        reply.set()
        found = await asyncio.gather(*tasks)
        assert sorted(found) == [*["refused"] * 4, "succeeded"]
        assert breaker.state == "closed"

    asyncio.run(main())


def test_a_cancelled_trial_does_not_leave_the_circuit_half_open(
    breaker: Breaker, clock: Clock
) -> None:
    async def main() -> None:
        async def send() -> None:
            with guarding(breaker):
                await asyncio.Event().wait()

        _open(breaker)
        clock.now += PAUSE
        for _ in range(3):
            trial = asyncio.ensure_future(send())
            await asyncio.sleep(0)
            assert breaker.state == "half-open"
            trial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await trial
            assert breaker.view() == BreakerView("open", FAILURES, 0.0)
        with guarding(breaker):
            pass
        assert breaker.state == "closed"

    asyncio.run(main())


def _no_connection() -> redis.ConnectionError:
    return redis.ConnectionError("No connection available.")


@pytest.mark.parametrize(
    ("store", "raised", "counts"),
    [
        ("PostgreSQL", psycopg.OperationalError, True),
        ("PostgreSQL", errors.AdminShutdown, True),
        ("PostgreSQL", errors.CannotConnectNow, True),
        ("PostgreSQL", TimeoutError, True),
        ("PostgreSQL", PoolTimeout, False),
        # Errors of the coordinator about an unavailable worker.
        ("PostgreSQL", errors.SqlclientUnableToEstablishSqlconnection, False),
        ("PostgreSQL", errors.ConnectionFailure, False),
        ("PostgreSQL", errors.UniqueViolation, False),
        ("PostgreSQL", errors.DeadlockDetected, False),
        ("PostgreSQL", redis.ConnectionError, False),
        ("Redis", redis.ConnectionError, True),
        ("Redis", redis.TimeoutError, True),
        ("Redis", redis.ResponseError, False),
        ("Redis", _no_connection, False),
        ("MongoDB", lambda: AutoReconnect("gone"), True),
        ("MongoDB", lambda: DuplicateKeyError("twice"), False),
        ("MongoDB", lambda: WaitQueueTimeoutError("all in use"), False),
        ("Redis", lambda: SoldOutError({1: 0}), False),
        ("Redis", KeyboardInterrupt, False),
    ],
)
def test_only_errors_of_an_unavailable_store_count(
    store: StoreName, raised: Callable[[], BaseException], counts: bool, clock: Clock
) -> None:
    breaker = _breaker(clock, store)
    error = raised()
    with pytest.raises(type(error)), guarding(breaker):
        raise error
    assert breaker.view().failures == (1 if counts else 0)


def test_of_several_stores_only_the_unavailable_one_fails(clock: Clock) -> None:
    postgres, keys = _breaker(clock, "PostgreSQL"), _breaker(clock)
    _fail(postgres)
    for _ in range(FAILURES):
        with pytest.raises(redis.ConnectionError), guarding(postgres, keys):
            raise redis.ConnectionError
    assert (postgres.view().failures, keys.state) == (1, "open")
    with pytest.raises(CircuitOpenError) as refused, guarding(postgres, keys):
        raise AssertionError("a request was sent")
    assert refused.value.store == "Redis"
    # It is unknown which of them took too long.
    clock.now += PAUSE
    with pytest.raises(TimeoutError), guarding(postgres, keys):
        raise TimeoutError
    assert (postgres.view().failures, keys.state) == (1, "open")
    with guarding(postgres, keys):
        pass
    assert (postgres.view().failures, keys.state) == (0, "closed")


def test_if_one_circuit_is_open_the_trial_of_another_is_not_used_up(clock: Clock) -> None:
    postgres, keys = _breaker(clock, "PostgreSQL"), _breaker(clock)
    _open(postgres)
    clock.now += PAUSE
    _open(keys)
    with pytest.raises(CircuitOpenError), guarding(postgres, keys):
        raise AssertionError("a request was sent")
    assert postgres.view() == BreakerView("open", FAILURES, 0.0)
    assert repr(keys) == "<Breaker of Redis, open>"


def test_each_store_has_its_own_breaker_and_time_limit() -> None:
    breakers = breakers_of(
        Addresses("postgresql://me:secret@a/x", (), "mongodb://me:secret@b/x", "redis://:secret@c")
    )
    budgets = share_deadline(10)
    names: tuple[StoreName, ...] = ("PostgreSQL", "MongoDB", "Redis")
    assert [breakers[name].store for name in names] == list(names)
    assert [budgets[name] for name in names] == [4.0, 2.5, 1.5]
    assert sum(budgets.values()) < 10
    assert [Limits(answer_seconds=budgets).seconds(name) for name in names] == [4.0, 2.5, 1.5]
    assert [Limits(answer_seconds=3).seconds(name) for name in names] == [3, 3, 3]
    for name in names:
        _fail(breakers[name], 5)
        with pytest.raises(CircuitOpenError) as refused:
            breakers[name].begin()
        assert "secret" not in str(refused.value)
