"""Pooled stores: limited in number and in time, and not put off by a server that went and came."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from helpers.errors import StoreError
from helpers.stores import Stores, postgres_pools
from helpers.stores.async_stores import AsyncStores
from helpers.stores.connection_limits import Limits
from helpers.stores.pooled_stores import PooledStores, connect_pooled
from helpers.stores.proxied_stores import ProxiedStores
from tests.connections import connect_async_again, connect_pooled_again
from tests.sharing import restored
from tests.stores.lenders import Lender, lending
from tests.waiting import come, wait_until

MANY = 8
ROOMY = Limits(connections=MANY, wait_seconds=60, answer_seconds=60)
HASTY = Limits(connections=1, wait_seconds=0.5, answer_seconds=0.5)
PID = "SELECT pg_backend_pid()"

Lend = Callable[[Stores, Limits], Lender]


@pytest.fixture(params=["threads", "loop"])
def lend(request: pytest.FixtureRequest) -> Iterator[Lend]:
    """Connects to stores once more, for threads or for an event loop, until the test ends."""
    with contextlib.ExitStack() as opened:
        yield lambda stores, limits: opened.enter_context(lending(request.param, stores, limits))


@pytest.fixture
def far(proxied_stores: ProxiedStores) -> Iterator[ProxiedStores]:
    with restored(proxied_stores) as found:
        yield found


def alive(stores: Stores, pids: set[int]) -> int:
    row = stores.postgres.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [list(pids)]
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_same_databases_are_reached(shared: Stores, lend: Lend) -> None:
    lender = lend(shared, ROOMY)
    assert lender.ask("SELECT current_database()") == [shared.mongo.name]
    _, clients = lender.served_by(1)
    (found,) = [one for one in shared.redis.client_list() if int(one["id"]) in clients]
    assert found["db"] == str(shared.redis.connection_pool.connection_kwargs["db"])


def test_texts_are_decoded_and_each_statement_stands_for_itself(shared: Stores) -> None:
    with connect_pooled_again(shared) as stores:
        stores.redis.set("near", "é")
        assert shared.redis.get("near") == stores.redis.get("near") == "é"
        shared.redis.delete("near")
        with stores.postgres.connection() as connection:
            assert connection.autocommit


def test_connections_that_postgresql_has_closed_are_not_lent(shared: Stores, lend: Lend) -> None:
    lender = lend(shared, ROOMY)
    before, _ = lender.served_by(MANY)
    shared.postgres.execute(
        "SELECT pg_terminate_backend(p) FROM unnest(%s::int[]) p", [list(before)]
    )
    wait_until(lambda: alive(shared, before) == 0)
    assert lender.ask("SELECT 1") == [1]
    assert lender.ask("SELECT 1", MANY) == [1] * MANY
    after, _ = lender.served_by(MANY)
    assert len(after) == MANY
    assert not before & after


def test_connections_that_redis_has_closed_are_not_used(shared: Stores, lend: Lend) -> None:
    lender = lend(shared, ROOMY)
    _, before = lender.served_by(MANY)
    for client in before:
        shared.redis.client_kill_filter(_id=str(client))
    assert lender.ping() == [True]
    assert lender.ping(MANY) == [True] * MANY
    _, after = lender.served_by(MANY)
    assert len(after) == MANY
    assert not before & after


def test_a_connection_on_which_the_server_only_says_something_is_kept(
    shared: Stores, lend: Lend
) -> None:
    lender = lend(shared, HASTY)
    pid = lender.ask(PID)
    lender.ask("LISTEN near")
    for _ in range(3):
        shared.postgres.execute("NOTIFY near")
        wait_until(lambda: _is_told_something(lender.stores))
        assert lender.ask(PID) == pid


def _is_told_something(stores: PooledStores | AsyncStores) -> bool:
    (idle,) = stores.postgres._pool
    return postgres_pools._has_input(idle.pgconn)


@pytest.mark.parametrize("store", ["PostgreSQL", "Redis"])
def test_while_a_store_is_away_everybody_is_told_why_and_then_it_is_there_again(
    far: ProxiedStores, lend: Lend, store: str
) -> None:
    lender = lend(far, ROOMY)
    lender.served_by(MANY)
    ask = lender.ping if store == "Redis" else lambda: lender.ask("SELECT 1")
    link = far.proxies.redis if store == "Redis" else far.proxies.postgres
    for _ in range(2):
        link.cut()
        for _ in range(MANY + 1):
            with pytest.raises(StoreError, match="it closed the connection") as caught:
                ask()
            assert caught.value.store == store
        link.restore()
        assert ask() in ([1], [True])
    lender.served_by(MANY)


@pytest.mark.parametrize("store", ["PostgreSQL", "Redis"])
def test_a_store_that_is_silent_is_given_up(far: ProxiedStores, lend: Lend, store: str) -> None:
    lender = lend(far, HASTY)
    ask = lender.ping if store == "Redis" else lambda: lender.ask("SELECT 1")
    link = far.proxies.redis if store == "Redis" else far.proxies.postgres
    ask()
    link.freeze()
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        ask()
    assert caught.value.store == store
    link.restore()
    wait_until(lambda: _answers(ask))


def _answers(ask: Callable[[], object]) -> bool:
    try:
        return bool(ask())
    except StoreError:
        return False


def test_a_statement_that_takes_too_long_is_ended_and_its_connection_is_kept(
    shared: Stores, lend: Lend
) -> None:
    lender = lend(shared, HASTY)
    pid = lender.ask(PID)
    with pytest.raises(StoreError) as caught:
        lender.ask("SELECT pg_sleep(600)")
    assert isinstance(caught.value.__cause__, psycopg.errors.QueryCanceled)
    assert lender.ask(PID) == pid


def test_whoever_finds_all_connections_lent_is_told_so(shared: Stores) -> None:
    with connect_pooled_again(shared, limits=HASTY) as stores:
        one_connection: Any = stores.redis.client
        with (
            stores.postgres.connection(),
            pytest.raises(StoreError, match="all our connections to it are in use"),
            stores.explaining(),
            stores.postgres.connection(),
        ):
            pass
        with (
            one_connection(),
            pytest.raises(StoreError, match="all our connections to it are in use"),
            stores.explaining(),
        ):
            stores.redis.ping()


def test_whoever_waits_in_vain_because_the_server_went_away_is_told_so(far: ProxiedStores) -> None:
    with (
        connect_pooled_again(far, limits=Limits(connections=1, wait_seconds=2)) as stores,
        ThreadPoolExecutor(1) as pool,
    ):

        def ask() -> None:
            with stores.explaining(), stores.postgres.connection():
                pass

        with stores.postgres.connection() as connection:
            waiting = pool.submit(ask)
            wait_until(lambda: stores.postgres.get_stats()["requests_waiting"] == 1)
            far.proxies.postgres.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(StoreError, match="it closed the connection"):
            waiting.result()


def test_no_more_connections_are_made_than_allowed(shared: Stores, lend: Lend) -> None:
    lender = lend(shared, replace(ROOMY, connections=2))
    pids = set(lender.ask("SELECT pg_backend_pid() FROM pg_sleep(0.01)", 4 * MANY))
    assert len(pids) <= 2
    assert lender.ping(4 * MANY) == [True] * 4 * MANY
    assert all(map(len, lender.served_by(2)))


def test_closing_closes_all(shared: Stores) -> None:
    with lending("threads", shared, ROOMY) as lender:
        pids, clients = lender.served_by(MANY)
    wait_until(lambda: alive(shared, pids) == 0)
    wait_until(
        lambda: not clients & {int(one["id"]) for one in shared.redis.client_list()},
    )


@pytest.mark.parametrize("store", ["coordinator", "redis"])
def test_a_store_that_does_not_answer_is_named_and_nothing_stays_open(
    shared: Stores, store: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = getattr(shared.addresses, store)
    elsewhere = url.replace(f":{urlsplit(url).port}", f":{port}")
    before = set(threading.enumerate())
    with pytest.raises(StoreError, match="nobody listens there"):
        connect_pooled(replace(shared.addresses, **{store: elsewhere}))
    assert set(threading.enumerate()) <= before


def test_no_password_is_in_the_representation(shared: Stores) -> None:
    with connect_pooled_again(shared) as stores:
        for url in (shared.addresses.coordinator, shared.addresses.redis):
            assert str(urlsplit(url).password) not in repr(stores)


def test_those_who_wait_to_know_whether_the_server_is_there_share_an_attempt(
    shared: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began before they asked does not count: the server may have come back since."""
    attempts = 0
    go = asyncio.Event()

    async def connect(*_: Any, **__: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await go.wait()
        raise psycopg.OperationalError(f"attempt {attempts}")

    async def main() -> list[str]:
        async with await connect_async_again(shared, limits=HASTY) as stores:
            stores.postgres._availability.is_uncertain = True
            with monkeypatch.context() as patch:
                patch.setattr(psycopg.AsyncConnection, "connect", connect)
                first = asyncio.create_task(stores.postgres.probe())
                await come(lambda: attempts > 0)
                others = [asyncio.create_task(stores.postgres.probe()) for _ in range(10)]
                await asyncio.sleep(0)
                go.set()
                found = await asyncio.gather(first, *others, return_exceptions=True)
            await stores.postgres.probe()  # it is there
            return [str(one) for one in found]

    assert asyncio.run(main()) == ["attempt 1"] + ["attempt 2"] * 10
    assert attempts == 2


@pytest.mark.verify
def test_whoever_is_cancelled_while_a_connection_is_looked_at_gives_it_back(
    far: ProxiedStores,
) -> None:
    async def main() -> None:
        async with await connect_async_again(far, limits=replace(ROOMY, connections=1)) as stores:
            async with stores.postgres.connection() as connection:
                await connection.execute("LISTEN near")
            far.postgres.execute("NOTIFY near")
            await come(lambda: _is_told_something(stores))
            far.proxies.postgres.freeze()
            before = far.proxies.postgres.state().buffered_bytes
            task = asyncio.create_task(stores.postgres.getconn())
            await come(lambda: far.proxies.postgres.state().buffered_bytes != before)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            far.proxies.postgres.restore()
            async with stores.postgres.connection() as connection:
                await connection.execute("SELECT 1")

    asyncio.run(main())
