"""The server names what changes before it acknowledges the change; silence ends the connection."""

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
    """Leave it to whoever reads it, or to the server itself, to clear the keys away."""
    for key in (A, B):
        client.set(key, 1, px=1)
        wait_until(lambda: not client.exists(key))  # noqa: B023  # at once


# Each is done while both keys are there.
CHANGES: dict[str, Change] = {
    "written, as it was": lambda client: client.mset({A: 1, B: 1}),
    "counted down in a script": _script,
    "changed in a transaction": _transaction,
    "deleted": lambda client: client.delete(A, B),
    "unlinked": lambda client: client.unlink(A, B),
    "renamed": lambda client: client.rename(A, B),
    "another type": lambda client: (client.delete(A), client.lpush(A, 1), client.set(B, 2)),
    "given a life": lambda client: (client.expire(A, 100), client.pexpire(B, 100_000)),
    "expired": _expired,
}


@pytest.fixture
def client(shared: Stores) -> Iterator[redis.Redis]:
    yield shared.redis
    shared.redis.delete(A, B)


def _beside(stores: Stores) -> contextlib.AbstractAsyncContextManager[KeyChanges]:
    number = stores.redis.connection_pool.connection_kwargs["db"]
    return opened(stores.addresses.redis, number)


async def _names_after(
    keys: KeyChanges, change: Callable[[], Any], prepare: Callable[[], Any] = lambda: None
) -> set[bytes]:
    """Return what is named after a change. Others may empty their databases: then once more."""
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
def test_a_change_is_named_to_who_asks_after_it(
    shared: Stores, client: redis.Redis, what: str
) -> None:
    async def main() -> None:
        async with _beside(shared) as keys:
            names = await _names_after(
                keys, lambda: CHANGES[what](client), lambda: client.mset({A: 1, B: 1})
            )
            assert names >= _NAMED

    asyncio.run(main())


@pytest.mark.parametrize("times", [100, pytest.param(2000, marks=pytest.mark.verify)])
def test_every_acknowledged_change_is_named_however_fast_one_asks(
    shared: Stores, client: redis.Redis, times: int
) -> None:
    async def main() -> None:
        async with _beside(shared) as keys:
            for _ in range(times):
                assert A.encode() in await _names_after(keys, lambda: client.incr(A))

    asyncio.run(main())


def test_an_emptied_database_makes_any_key_suspect(shared: Stores, client: redis.Redis) -> None:
    async def main() -> None:
        async with _beside(shared) as keys:
            client.set(A, 1)
            client.flushdb()
            await keys.check()
            assert not keys.is_quiet
            assert keys.take() is None

    asyncio.run(main())


def test_it_talks_to_the_database_of_the_client(shared: Stores, client: redis.Redis) -> None:
    async def main() -> None:
        client.set(A, "here")
        async with _beside(shared) as keys:
            assert await keys.run("GET", A) == b"here"
            assert await asyncio.gather(*(keys.run("ECHO", one) for one in range(50))) == [
                b"%d" % one for one in range(50)
            ]
            with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
                await keys.run("GET")
            assert await keys.run("GET", A) == b"here"

    asyncio.run(main())


def test_whoever_is_cancelled_leaves_the_answers_to_others_as_they_are(
    shared: Stores, client: redis.Redis
) -> None:
    async def main() -> None:
        async with _beside(shared) as keys:
            for _ in range(20):
                asked = [asyncio.ensure_future(keys.run("ECHO", one)) for one in range(6)]
                checking = asyncio.create_task(keys.check())
                await asyncio.sleep(0)
                for one in asked[::2]:
                    one.cancel()
                checking.cancel()
                assert await asyncio.gather(*asked[1::2]) == [b"1", b"3", b"5"]
                assert await keys.run("ECHO", "after") == b"after"

    asyncio.run(main())


# From here on, servers of our own: what they tell and count is of our doing alone.


@pytest.fixture(scope="module")
def spare() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def own(spare: TemporaryValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(spare.url) as client:
        client.flushall()
        yield client


def _pings(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])


@pytest.mark.servers
def test_what_is_not_tracked_or_does_not_change_is_not_named(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(spare.url) as keys:
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
def test_databases_are_not_told_apart(spare: TemporaryValkey, own: redis.Redis) -> None:
    async def main() -> None:
        with another(own, db=3) as other:
            async with opened(spare.url) as keys:
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
def test_a_check_is_one_ping_and_two_where_the_server_has_threads(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def pings_of_ten_checks(url: str, client: redis.Redis) -> int:
        async with opened(url) as keys:
            before = _pings(client)
            for number in range(10):
                client.set(A, number)
                await keys.check()
                assert keys.take() == {A.encode()}
            return _pings(client) - before

    assert asyncio.run(pings_of_ten_checks(spare.url, own)) == 10
    with (
        temporary_valkey(append_only=False, settings={"io-threads": 2}) as threaded,
        redis.Redis.from_url(threaded.url) as client,
    ):
        assert asyncio.run(pings_of_ten_checks(threaded.url, client)) == 20


@pytest.mark.servers
def test_who_may_not_ask_about_threads_asks_twice(spare: TemporaryValkey, own: redis.Redis) -> None:
    own.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])

    async def main() -> None:
        url = f"redis://guest:any@127.0.0.1:{spare.port}"
        async with opened(url) as keys:
            before = _pings(own)
            await keys.check()
            assert _pings(own) - before == 2

    asyncio.run(main())
    own.acl_deluser("guest")


@pytest.mark.verify
@pytest.mark.servers
def test_what_the_server_clears_away_or_evicts_by_itself_is_named(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(spare.url) as keys:
            own.set(A, 1, px=1)
            await come(lambda: own.dbsize() == 0)
            own.mset({f"tracked:{one}": bytes(1000) for one in range(2000)})
            await keys.check()
            assert A.encode() in (keys.take() or ())
            own.config_set("maxmemory-policy", "allkeys-random")
            own.config_set("maxmemory", int(own.info("memory")["used_memory"]) - 500_000)
            own.get("untracked")  # commands evict before they are done
            own.set("untracked", 1)
            left = {*own.keys()}
            gone = {b"tracked:%d" % one for one in range(2000)} - left
            await keys.check()
            assert gone
            assert gone <= (keys.take() or set())

    asyncio.run(main())
    own.config_set("maxmemory", 0)
    own.config_set("maxmemory-policy", "noeviction")


@pytest.mark.servers
def test_more_names_than_anybody_wants_are_all_keys(
    spare: TemporaryValkey, own: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_changes, "_MAX_NAMES", 10)

    async def main() -> None:
        async with opened(spare.url) as keys:
            own.mset({f"tracked:{one}": 1 for one in range(10)})
            await keys.check()
            own.mset({f"also:{one}": 1 for one in range(10)})
            await keys.check()
            assert keys.take() is None
            assert keys.is_quiet

    asyncio.run(main())


@pytest.mark.verify
@pytest.mark.servers
def test_what_is_told_while_nobody_asks_does_not_pile_up_at_the_server(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(spare.url) as keys:
            number = await keys.run("CLIENT", "ID")
            with own.pipeline(transaction=False) as pipeline:
                for one in range(60_000):
                    pipeline.set(f"tracked:{one:050}", 1)
                await asyncio.to_thread(pipeline.execute)
            for _ in range(10_000):  # until the last of it, which is on its way, is read
                (listed,) = own.client_list(client_id=[str(number)])
                if listed["omem"] == "0":
                    break
                await asyncio.sleep(0)
            assert listed["omem"] == "0"
            await keys.check()
            assert len(keys.take() or ()) == 60_000

    asyncio.run(main())
