"""Pooled stores limit connections and time, and recover from a restart of a server."""

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
from tests.shared_proxies import restored
from tests.stores.pool_users import PoolUser, using_pools
from tests.waiting import come, wait_until

MANY = 8
GENEROUS = Limits(connections=MANY, wait_seconds=60, answer_seconds=60)
SHORT = Limits(connections=1, wait_seconds=0.5, answer_seconds=0.5)
PID = "SELECT pg_backend_pid()"

Connect = Callable[[Stores, Limits], PoolUser]


@pytest.fixture(params=["threads", "loop"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Connects to stores again, for threads or for an event loop, until the test ends."""
    with contextlib.ExitStack() as opened:
        yield lambda stores, limits: opened.enter_context(
            using_pools(request.param, stores, limits)
        )


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


def test_pooled_stores_reach_the_same_databases(shared: Stores, connect: Connect) -> None:
    user = connect(shared, GENEROUS)
    assert user.query("SELECT current_database()") == [shared.mongo.name]
    _, clients = user.check_out(1)
    (found,) = [client for client in shared.redis.client_list() if int(client["id"]) in clients]
    assert found["db"] == str(shared.redis_database)


def test_strings_are_decoded_and_statements_are_autocommitted(shared: Stores) -> None:
    with connect_pooled_again(shared) as stores:
        stores.redis.set("near", "é")
        assert shared.redis.get("near") == stores.redis.get("near") == "é"
        shared.redis.delete("near")
        with stores.postgres.connection() as connection:
            assert connection.autocommit


def test_connections_closed_by_postgresql_are_not_reused(shared: Stores, connect: Connect) -> None:
    user = connect(shared, GENEROUS)
    before, _ = user.check_out(MANY)
    shared.postgres.execute(
        "SELECT pg_terminate_backend(p) FROM unnest(%s::int[]) p", [list(before)]
    )
    wait_until(lambda: alive(shared, before) == 0)
    assert user.query("SELECT 1") == [1]
    assert user.query("SELECT 1", MANY) == [1] * MANY
    after, _ = user.check_out(MANY)
    assert len(after) == MANY
    assert not before & after


def test_connections_closed_by_redis_are_not_reused(shared: Stores, connect: Connect) -> None:
    user = connect(shared, GENEROUS)
    _, before = user.check_out(MANY)
    for client in before:
        shared.redis.client_kill_filter(_id=str(client))
    assert user.ping() == [True]
    assert user.ping(MANY) == [True] * MANY
    _, after = user.check_out(MANY)
    assert len(after) == MANY
    assert not before & after


def test_a_connection_with_a_pending_notification_is_kept(shared: Stores, connect: Connect) -> None:
    user = connect(shared, SHORT)
    pid = user.query(PID)
    user.query("LISTEN near")
    for _ in range(3):
        shared.postgres.execute("NOTIFY near")
        wait_until(lambda: _has_input(user.stores))
        assert user.query(PID) == pid


def _has_input(stores: PooledStores | AsyncStores) -> bool:
    (idle,) = stores.postgres._pool
    return postgres_pools._has_input(idle.pgconn)


@pytest.mark.parametrize("store", ["PostgreSQL", "Redis"])
def test_every_request_to_an_unavailable_store_tells_the_cause_until_it_is_back(
    far: ProxiedStores, connect: Connect, store: str
) -> None:
    user = connect(far, GENEROUS)
    user.check_out(MANY)
    send = user.ping if store == "Redis" else lambda: user.query("SELECT 1")
    proxy = far.proxies.redis if store == "Redis" else far.proxies.postgres
    for _ in range(2):
        proxy.cut()
        for _ in range(MANY + 1):
            with pytest.raises(StoreError, match="it closed the connection") as caught:
                send()
            assert caught.value.store == store
        proxy.restore()
        assert send() in ([1], [True])
    user.check_out(MANY)


@pytest.mark.parametrize("store", ["PostgreSQL", "Redis"])
def test_a_request_to_an_unresponsive_store_times_out(
    far: ProxiedStores, connect: Connect, store: str
) -> None:
    user = connect(far, SHORT)
    send = user.ping if store == "Redis" else lambda: user.query("SELECT 1")
    proxy = far.proxies.redis if store == "Redis" else far.proxies.postgres
    send()
    proxy.freeze()
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        send()
    assert caught.value.store == store
    proxy.restore()
    wait_until(lambda: _responds(send))


def _responds(send: Callable[[], object]) -> bool:
    try:
        return bool(send())
    except StoreError:
        return False


def test_a_slow_statement_is_cancelled_and_its_connection_is_kept(
    shared: Stores, connect: Connect
) -> None:
    user = connect(shared, SHORT)
    pid = user.query(PID)
    with pytest.raises(StoreError) as caught:
        user.query("SELECT pg_sleep(600)")
    assert isinstance(caught.value.__cause__, psycopg.errors.QueryCanceled)
    assert user.query(PID) == pid


def test_an_exhausted_pool_raises_an_error(shared: Stores) -> None:
    with connect_pooled_again(shared, limits=SHORT) as stores:
        single_connection: Any = stores.redis.client
        with (
            stores.postgres.connection(),
            pytest.raises(StoreError, match="all our connections to it are in use"),
            stores.explaining(),
            stores.postgres.connection(),
        ):
            pass
        with (
            single_connection(),
            pytest.raises(StoreError, match="all our connections to it are in use"),
            stores.explaining(),
        ):
            stores.redis.ping()


def test_waiting_for_a_connection_to_an_unavailable_server_raises_the_cause(
    far: ProxiedStores,
) -> None:
    with (
        connect_pooled_again(far, limits=Limits(connections=1, wait_seconds=2)) as stores,
        ThreadPoolExecutor(1) as pool,
    ):

        def send() -> None:
            with stores.explaining(), stores.postgres.connection():
                pass

        with stores.postgres.connection() as connection:
            waiting = pool.submit(send)
            wait_until(lambda: stores.postgres.get_stats()["requests_waiting"] == 1)
            far.proxies.postgres.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(StoreError, match="it closed the connection"):
            waiting.result()


def test_the_number_of_connections_is_limited(shared: Stores, connect: Connect) -> None:
    user = connect(shared, replace(GENEROUS, connections=2))
    pids = set(user.query("SELECT pg_backend_pid() FROM pg_sleep(0.01)", 4 * MANY))
    assert len(pids) <= 2
    assert user.ping(4 * MANY) == [True] * 4 * MANY
    assert all(map(len, user.check_out(2)))


def test_closing_closes_all_connections(shared: Stores) -> None:
    with using_pools("threads", shared, GENEROUS) as user:
        pids, clients = user.check_out(MANY)
    wait_until(lambda: alive(shared, pids) == 0)
    wait_until(
        lambda: not clients & {int(client["id"]) for client in shared.redis.client_list()},
    )


@pytest.mark.parametrize("store", ["coordinator", "redis"])
def test_an_unavailable_store_is_named_and_nothing_stays_open(shared: Stores, store: str) -> None:
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


def test_concurrent_probes_share_an_attempt_to_connect(
    shared: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that started before the call is not shared: the server may be back since."""
    attempts = 0
    go = asyncio.Event()

    async def connect(*_: Any, **__: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await go.wait()
        raise psycopg.OperationalError(f"attempt {attempts}")

    async def main() -> list[str]:
        async with await connect_async_again(shared, limits=SHORT) as stores:
            stores.postgres._availability.is_uncertain = True
            with monkeypatch.context() as patch:
                patch.setattr(psycopg.AsyncConnection, "connect", connect)
                first = asyncio.create_task(stores.postgres.probe())
                await come(lambda: attempts > 0)
                others = [asyncio.create_task(stores.postgres.probe()) for _ in range(10)]
                await asyncio.sleep(0)
                go.set()
                found = await asyncio.gather(first, *others, return_exceptions=True)
            await stores.postgres.probe()  # the server is available
            return [str(error) for error in found]

    assert asyncio.run(main()) == ["attempt 1"] + ["attempt 2"] * 10
    assert attempts == 2


@pytest.mark.verify
def test_cancelling_the_check_of_a_connection_returns_it_to_the_pool(
    far: ProxiedStores,
) -> None:
    async def main() -> None:
        async with await connect_async_again(
            far, limits=replace(GENEROUS, connections=1)
        ) as stores:
            async with stores.postgres.connection() as connection:
                await connection.execute("LISTEN near")
            far.postgres.execute("NOTIFY near")
            await come(lambda: _has_input(stores))
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
