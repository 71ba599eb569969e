"""The connection that is told of changes: lost, silent, refused and cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import redis

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.errors import StoreError
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.stores.connect import explaining
from tests.e2e.stores.tracked import A, opened
from tests.waiting import come, wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def spare() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def own(spare: TemporaryValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(spare.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def link(spare: TemporaryValkey) -> Iterator[TcpProxy]:
    link = TcpProxy(spare.url)
    yield link
    link.close()


def test_a_connection_that_is_lost_says_so_to_all_who_wait_and_stays_closed(
    own: redis.Redis, link: TcpProxy
) -> None:
    async def main() -> None:
        async with opened(link.url) as keys:
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


def test_a_connection_that_the_server_ends_is_seen_to_be_closed(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(spare.url) as keys:
            own.client_kill_filter(_id=str(await keys.run("CLIENT", "ID")))
            await come(lambda: not keys.is_open)
            with pytest.raises(redis.ConnectionError, match="Connection closed"):
                await keys.run("GET", A)

    asyncio.run(main())


@pytest.mark.verify
def test_silence_ends_the_connection_and_the_server_is_left_without_it(
    own: redis.Redis, link: TcpProxy
) -> None:
    async def main() -> None:
        async with opened(link.url, seconds=1) as keys:
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
    wait_until(lambda: len(own.client_list()) <= before)  # the server has yet to notice


def test_a_server_that_refuses_or_is_not_there_is_explained_and_nothing_stays_open(
    spare: TemporaryValkey, own: redis.Redis
) -> None:
    async def fails(url: str) -> str:
        with pytest.raises(StoreError) as failed, explaining("Redis", url):
            async with opened(url):
                pass
        return str(failed.value)

    before = len(own.client_list())
    wrong = f"redis://:wrong@127.0.0.1:{spare.port}"
    assert "the user or the password is wrong" in asyncio.run(fails(wrong))
    none = f"redis://127.0.0.1:{spare.port}"
    assert "it wants" in asyncio.run(fails(none))
    with socket.socket() as bound:  # which does not listen
        bound.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{bound.getsockname()[1]}"
        assert "nobody listens there" in asyncio.run(fails(nowhere))
    wait_until(lambda: len(own.client_list()) <= before)


@pytest.mark.parametrize(
    "many_turns", [range(0, 40, 5), pytest.param(range(40), marks=pytest.mark.verify)], ids=repr
)
def test_an_opening_that_is_cancelled_leaves_nothing(
    spare: TemporaryValkey, own: redis.Redis, many_turns: range
) -> None:
    async def main() -> None:
        for turns in many_turns:
            opening = asyncio.create_task(_open_and_close(spare.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])

    before = len(own.client_list())
    asyncio.run(main())
    wait_until(lambda: len(own.client_list()) <= before)


async def _open_and_close(url: str) -> None:
    async with opened(url):
        pass
