"""The server announces a key change before it acknowledges the change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.stores import Stores, key_changes
from helpers.stores.key_changes import KeyChanges
from tests.e2e.stores.tracked import A, B, opened
from tests.stock.another import another
from tests.waiting import come, wait_until

_NAMED = {A.encode(), B.encode()}

Change = Callable[[redis.Redis], Any]


def _script(client: redis.Redis) -> None:
    client.eval("redis.call('DECRBY', KEYS[1], 1) redis.call('SET', KEYS[2], 1)", 2, A, B)


def _transaction(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr(A)
        pipeline.delete(B)
        pipeline.execute()


def _expired(client: redis.Redis) -> None:
    """Let the keys expire: a read or the server itself deletes them."""
    for key in (A, B):
        client.set(key, 1, px=1)
        wait_until(lambda: not client.exists(key))  # noqa: B023  # at once


# Each is made while both keys exist.
CHANGES: dict[str, Change] = {
    "written unchanged": lambda client: client.mset({A: 1, B: 1}),
    "counted down in a script": _script,
    "changed in a transaction": _transaction,
    "deleted": lambda client: client.delete(A, B),
    "unlinked": lambda client: client.unlink(A, B),
    "renamed": lambda client: client.rename(A, B),
    "another type": lambda client: (client.delete(A), client.lpush(A, 1), client.set(B, 2)),
    "given an expiry time": lambda client: (client.expire(A, 100), client.pexpire(B, 100_000)),
    "expired": _expired,
}


@pytest.fixture
def client(shared: Stores) -> Iterator[redis.Redis]:
    yield shared.redis
    shared.redis.delete(A, B)


def _tracking(stores: Stores) -> contextlib.AbstractAsyncContextManager[KeyChanges]:
    return opened(stores.addresses.redis, stores.redis_database or 0)


async def _names_after(
    keys: KeyChanges, change: Callable[[], Any], prepare: Callable[[], Any] = lambda: None
) -> set[bytes]:
    """Return the keys announced after a change; repeat if another test flushes a database."""
    while True:
        prepare()
        await keys.check()
        keys.take()
        change()
        await keys.check()
        names = keys.take()
        if names is not None:
            return names


@pytest.mark.parametrize("what", CHANGES)
def test_a_check_after_a_change_returns_its_keys(
    shared: Stores, client: redis.Redis, what: str
) -> None:
    async def main() -> None:
        async with _tracking(shared) as keys:
            names = await _names_after(
                keys, lambda: CHANGES[what](client), lambda: client.mset({A: 1, B: 1})
            )
            assert names >= _NAMED

    asyncio.run(main())


@pytest.mark.parametrize("times", [100, pytest.param(2000, marks=pytest.mark.verify)])
def test_no_acknowledged_change_is_missed(shared: Stores, client: redis.Redis, times: int) -> None:
    async def main() -> None:
        async with _tracking(shared) as keys:
            for _ in range(times):
                assert A.encode() in await _names_after(keys, lambda: client.incr(A))

    asyncio.run(main())


def test_flushing_a_database_reports_any_key(shared: Stores, client: redis.Redis) -> None:
    async def main() -> None:
        async with _tracking(shared) as keys:
            client.set(A, 1)
            client.flushdb()
            await keys.check()
            assert not keys.is_quiet
            assert keys.take() is None

    asyncio.run(main())


def test_commands_run_in_the_database_of_the_client(shared: Stores, client: redis.Redis) -> None:
    async def main() -> None:
        client.set(A, "here")
        async with _tracking(shared) as keys:
            assert await keys.run("GET", A) == b"here"
            assert await asyncio.gather(*(keys.run("ECHO", number) for number in range(50))) == [
                b"%d" % number for number in range(50)
            ]
            with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
                await keys.run("GET")
            assert await keys.run("GET", A) == b"here"

    asyncio.run(main())


def test_cancelling_one_caller_does_not_affect_the_replies_to_others(
    shared: Stores, client: redis.Redis
) -> None:
    async def main() -> None:
        async with _tracking(shared) as keys:
            for _ in range(20):
                replies = [asyncio.ensure_future(keys.run("ECHO", number)) for number in range(6)]
                checking = asyncio.create_task(keys.check())
                await asyncio.sleep(0)
                for reply in replies[::2]:
                    reply.cancel()
                checking.cancel()
                assert await asyncio.gather(*replies[1::2]) == [b"1", b"3", b"5"]
                assert await keys.run("ECHO", "after") == b"after"

    asyncio.run(main())


# From here on, temporary servers, so that they report and count only what these tests do.


@pytest.fixture(scope="module")
def temporary_redis() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def own(temporary_redis: TemporaryValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(temporary_redis.url) as client:
        client.flushall()
        yield client


def _pings(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])


@pytest.mark.servers
def test_untracked_and_unchanged_keys_are_not_reported(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(temporary_redis.url) as keys:
            own.set("untracked", 1)
            own.get(A)
            own.delete(A)
            await keys.check()
            assert keys.is_quiet
            assert keys.take() == set()
            own.set("also:1", 1)
            await keys.check()
            assert keys.take() == {b"also:1"}
            assert keys.take() == set()

    asyncio.run(main())


@pytest.mark.servers
def test_changes_in_all_logical_databases_are_reported(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        with another(own, db=3) as other:
            async with opened(temporary_redis.url) as keys:
                other.set(A, 1)
                await keys.check()
                assert keys.take() == {A.encode()}
                own.set(B, 1)
                other.flushdb()
                await keys.check()
                assert keys.take() is None
                assert own.get(B) == b"1"

    asyncio.run(main())


@pytest.mark.verify
@pytest.mark.servers
def test_a_check_is_one_ping_or_two_if_the_server_has_io_threads(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    async def pings_of_ten_checks(url: str, client: redis.Redis) -> int:
        async with opened(url) as keys:
            before = _pings(client)
            for number in range(10):
                client.set(A, number)
                await keys.check()
                assert keys.take() == {A.encode()}
            return _pings(client) - before

    assert asyncio.run(pings_of_ten_checks(temporary_redis.url, own)) == 10
    with (
        temporary_valkey(append_only=False, settings={"io-threads": 2}) as threaded,
        redis.Redis.from_url(threaded.url) as client,
    ):
        assert asyncio.run(pings_of_ten_checks(threaded.url, client)) == 20


@pytest.mark.servers
def test_without_permission_for_config_a_check_is_two_pings(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    own.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])

    async def main() -> None:
        url = f"redis://guest:any@127.0.0.1:{temporary_redis.port}"
        async with opened(url) as keys:
            before = _pings(own)
            await keys.check()
            assert _pings(own) - before == 2

    asyncio.run(main())
    own.acl_deluser("guest")


@pytest.mark.verify
@pytest.mark.servers
def test_expired_and_evicted_keys_are_reported(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(temporary_redis.url) as keys:
            own.set(A, 1, px=1)
            await come(lambda: own.dbsize() == 0)
            own.mset({f"tracked:{number}": bytes(1000) for number in range(2000)})
            await keys.check()
            assert A.encode() in (keys.take() or ())
            own.config_set("maxmemory-policy", "allkeys-random")
            own.config_set("maxmemory", int(own.info("memory")["used_memory"]) - 500_000)
            own.get("untracked")  # the server evicts keys before it runs a command
            own.set("untracked", 1)
            left = {*own.keys()}
            gone = {b"tracked:%d" % number for number in range(2000)} - left
            await keys.check()
            assert gone
            assert gone <= (keys.take() or set())

    asyncio.run(main())
    own.config_set("maxmemory", 0)
    own.config_set("maxmemory-policy", "noeviction")


@pytest.mark.servers
def test_too_many_names_are_reported_as_any_key(
    temporary_redis: TemporaryValkey, own: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_changes, "_MAX_NAMES", 10)

    async def main() -> None:
        async with opened(temporary_redis.url) as keys:
            own.mset({f"tracked:{number}": 1 for number in range(10)})
            await keys.check()
            own.mset({f"also:{number}": 1 for number in range(10)})
            await keys.check()
            assert keys.take() is None
            assert keys.is_quiet

    asyncio.run(main())


@pytest.mark.verify
@pytest.mark.servers
def test_announced_keys_do_not_accumulate_in_the_servers_buffer(
    temporary_redis: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(temporary_redis.url) as keys:
            client_id = await keys.run("CLIENT", "ID")
            with own.pipeline(transaction=False) as pipeline:
                for number in range(60_000):
                    pipeline.set(f"tracked:{number:050}", 1)
                await asyncio.to_thread(pipeline.execute)
            for _ in range(10_000):  # until the last bytes are read
                (listed,) = own.client_list(client_id=[str(client_id)])
                if listed["omem"] == "0":
                    break
                await asyncio.sleep(0)
            assert listed["omem"] == "0"
            await keys.check()
            assert len(keys.take() or ()) == 60_000

    asyncio.run(main())
