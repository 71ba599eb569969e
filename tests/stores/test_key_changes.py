"""The server names what changes before it acknowledges the change; silence ends the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
from redis import asyncio as aioredis

from helpers.errors import StoreError
from helpers.network.link import Link
from helpers.servers.spare import SpareValkey, spare_valkey
from helpers.stores import Stores, key_changes
from helpers.stores.connect import explaining
from helpers.stores.key_changes import KeyChanges
from tests.stock.another import another

PREFIXES = ("tracked:", "also:")
A, B = "tracked:a", "tracked:b"
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
        while client.exists(key):
            pass


def _elsewhere(client: redis.Redis) -> None:
    number = client.connection_pool.connection_kwargs["db"]
    with another(client, db=number - 1) as other:
        other.mset({A: 1, B: 1})
        other.delete(A, B)


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
    "in another database": _elsewhere,
}


@pytest.fixture
def client(shared: Stores) -> Iterator[redis.Redis]:
    yield shared.redis
    shared.redis.delete(A, B)


@contextlib.asynccontextmanager
async def _opened(url: str, number: int = 0, seconds: float = 60) -> AsyncIterator[KeyChanges]:
    async with aioredis.Redis.from_url(url) as awaited:
        awaited.connection_pool.connection_kwargs["db"] = number
        keys = KeyChanges(awaited, PREFIXES, answer_seconds=seconds)
        await keys.open()
        try:
            yield keys
        finally:
            await keys.aclose()


def _beside(stores: Stores) -> contextlib.AbstractAsyncContextManager[KeyChanges]:
    number = stores.redis.connection_pool.connection_kwargs["db"]
    return _opened(stores.addresses.redis, number)


async def _names_after(keys: KeyChanges, change: Callable[[], Any]) -> set[bytes]:
    """Return what is named after a change. Others may empty their databases: then once more."""
    while True:
        change()
        await keys.check()
        names = keys.take()
        if names is not None:
            return names


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_to_who_asks_after_it(
    shared: Stores, client: redis.Redis, what: str
) -> None:
    def change() -> None:
        client.mset({A: 1, B: 1})
        CHANGES[what](client)

    async def main() -> None:
        async with _beside(shared) as keys:
            assert await _names_after(keys, change) == _NAMED

    asyncio.run(main())


def test_every_acknowledged_change_is_named_however_fast_one_asks(
    shared: Stores, client: redis.Redis
) -> None:
    async def main() -> None:
        async with _beside(shared) as keys:
            for _ in range(2000):
                assert await _names_after(keys, lambda: client.incr(A)) == {A.encode()}

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
def spare() -> Iterator[SpareValkey]:
    with spare_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def own(spare: SpareValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(spare.url) as client:
        client.flushall()
        yield client


def _pings(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])


@pytest.mark.servers
def test_what_is_not_tracked_or_does_not_change_is_not_named(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with _opened(spare.url) as keys:
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
def test_a_check_is_one_ping_and_two_where_the_server_has_threads(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def pings_of_ten_checks(url: str, client: redis.Redis) -> int:
        async with _opened(url) as keys:
            before = _pings(client)
            for number in range(10):
                client.set(A, number)
                await keys.check()
                assert keys.take() == {A.encode()}
            return _pings(client) - before

    assert asyncio.run(pings_of_ten_checks(spare.url, own)) == 10
    with (
        spare_valkey(append_only=False, settings={"io-threads": 2}) as threaded,
        redis.Redis.from_url(threaded.url) as client,
    ):
        assert asyncio.run(pings_of_ten_checks(threaded.url, client)) == 20


@pytest.mark.servers
def test_who_may_not_ask_about_threads_asks_twice(spare: SpareValkey, own: redis.Redis) -> None:
    own.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])

    async def main() -> None:
        url = f"redis://guest:any@127.0.0.1:{spare.port}"
        async with _opened(url) as keys:
            before = _pings(own)
            await keys.check()
            assert _pings(own) - before == 2

    asyncio.run(main())
    own.acl_deluser("guest")


@pytest.mark.servers
def test_what_the_server_clears_away_or_evicts_by_itself_is_named(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with _opened(spare.url) as keys:
            own.set(A, 1, px=1)
            while own.dbsize():
                await asyncio.sleep(0)
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
    spare: SpareValkey, own: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_changes, "_MOST_NAMES", 10)

    async def main() -> None:
        async with _opened(spare.url) as keys:
            own.mset({f"tracked:{one}": 1 for one in range(10)})
            await keys.check()
            own.mset({f"also:{one}": 1 for one in range(10)})
            await keys.check()
            assert keys.take() is None
            assert keys.is_quiet

    asyncio.run(main())


@pytest.mark.servers
def test_what_is_told_while_nobody_asks_does_not_pile_up_at_the_server(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with _opened(spare.url) as keys:
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


@pytest.fixture
def link(spare: SpareValkey) -> Iterator[Link]:
    link = Link(spare.url)
    yield link
    link.close()


@pytest.mark.servers
def test_a_connection_that_is_lost_says_so_to_all_who_wait_and_stays_closed(
    own: redis.Redis, link: Link
) -> None:
    async def main() -> None:
        async with _opened(link.url) as keys:
            await keys.check()
            link.freeze()
            asked = [keys.run("GET", A), asyncio.ensure_future(keys.check())]
            await asyncio.sleep(0)
            link.cut()
            for one in asked:
                with pytest.raises(redis.ConnectionError, match="Connection closed"):
                    await one
            assert not keys.is_open
            with pytest.raises(redis.ConnectionError, match="Connection closed"):
                await keys.check()

    asyncio.run(main())


@pytest.mark.servers
def test_a_connection_that_the_server_ends_is_seen_to_be_closed(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with _opened(spare.url) as keys:
            own.client_kill_filter(_id=str(await keys.run("CLIENT", "ID")))
            while keys.is_open:
                await asyncio.sleep(0)
            with pytest.raises(redis.ConnectionError, match="Connection closed"):
                await keys.run("GET", A)

    asyncio.run(main())


@pytest.mark.servers
def test_silence_ends_the_connection_and_the_server_is_left_without_it(
    own: redis.Redis, link: Link
) -> None:
    async def main() -> None:
        async with _opened(link.url, seconds=1) as keys:
            # Not the connection has so much time, but each answer.
            loop = asyncio.get_running_loop()
            end = loop.time() + 2.5
            while loop.time() < end:
                await keys.check()
            await asyncio.sleep(1.5)
            await keys.check()
            link.freeze()
            with pytest.raises(redis.TimeoutError, match="no answer within 1 seconds"):
                await keys.check()
            assert not keys.is_open
        link.restore()

    before = len(own.client_list())
    asyncio.run(main())
    while len(own.client_list()) > before:  # the server has yet to notice
        pass


@pytest.mark.servers
def test_a_server_that_refuses_or_is_not_there_is_explained_and_nothing_stays_open(
    spare: SpareValkey, own: redis.Redis
) -> None:
    async def fails(url: str) -> str:
        with pytest.raises(StoreError) as failed, explaining("Redis", url):
            async with _opened(url):
                pass
        return str(failed.value)

    before = len(own.client_list())
    wrong = f"redis://:wrong@127.0.0.1:{spare.port}"
    assert "the user or the password is wrong" in asyncio.run(fails(wrong))
    none = f"redis://127.0.0.1:{spare.port}"
    assert "it wants" in asyncio.run(fails(none))
    with spare_valkey(append_only=False) as gone:
        pass
    assert "nobody listens there" in asyncio.run(fails(gone.url))
    while len(own.client_list()) > before:
        pass


@pytest.mark.servers
def test_an_opening_that_is_cancelled_leaves_nothing(spare: SpareValkey, own: redis.Redis) -> None:
    async def main() -> None:
        for turns in range(40):
            opening = asyncio.create_task(_open_and_close(spare.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])

    before = len(own.client_list())
    asyncio.run(main())
    while len(own.client_list()) > before:
        pass


async def _open_and_close(url: str) -> None:
    async with _opened(url):
        pass
