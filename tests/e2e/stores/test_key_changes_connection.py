"""The connection that receives key changes: lost, unresponsive, rejected and cancelled."""

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
def temporary_redis() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def client(temporary_redis: TemporaryValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(temporary_redis.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def proxy(temporary_redis: TemporaryValkey) -> Iterator[TcpProxy]:
    proxy = TcpProxy(temporary_redis.url)
    yield proxy
    proxy.close()


def test_a_lost_connection_raises_an_error_in_all_callers_and_stays_closed(
    client: redis.Redis, proxy: TcpProxy
) -> None:
    async def main() -> None:
        async with opened(proxy.url) as keys:
            await keys.check()
            proxy.freeze()
            replies = [keys.run("GET", A), asyncio.ensure_future(keys.check())]
            await asyncio.sleep(0)
            proxy.cut()
            for reply in replies:
                with pytest.raises(redis.ConnectionError, match="Connection closed"):
                    await reply
            assert not keys.is_open
            with pytest.raises(redis.ConnectionError, match="Connection closed"):
                await keys.check()

    asyncio.run(main())


def test_a_connection_closed_by_the_server_is_noticed(
    temporary_redis: TemporaryValkey, client: redis.Redis
) -> None:
    async def main() -> None:
        async with opened(temporary_redis.url) as keys:
            client.client_kill_filter(_id=str(await keys.run("CLIENT", "ID")))
            await come(lambda: not keys.is_open)
            with pytest.raises(redis.ConnectionError, match="Connection closed"):
                await keys.run("GET", A)

    asyncio.run(main())


@pytest.mark.verify
def test_a_timeout_closes_the_connection(client: redis.Redis, proxy: TcpProxy) -> None:
    async def main() -> None:
        async with opened(proxy.url, seconds=1) as keys:
            # The limit is for each reply, not for the connection.
            loop = asyncio.get_running_loop()
            end = loop.time() + 2.5
            while loop.time() < end:
                await keys.check()
            await asyncio.sleep(1.5)
            await keys.check()
            proxy.freeze()
            with pytest.raises(redis.TimeoutError, match="no answer within 1 seconds"):
                await keys.check()
            assert not keys.is_open
        proxy.restore()

    before = len(client.client_list())
    asyncio.run(main())
    wait_until(lambda: len(client.client_list()) <= before)  # the server may notice later


def test_a_failure_to_connect_is_explained_and_nothing_stays_open(
    temporary_redis: TemporaryValkey, client: redis.Redis
) -> None:
    async def fails(url: str) -> str:
        with pytest.raises(StoreError) as failed, explaining("Redis", url):
            async with opened(url):
                pass
        return str(failed.value)

    before = len(client.client_list())
    wrong = f"redis://:wrong@127.0.0.1:{temporary_redis.port}"
    assert "the user or the password is wrong" in asyncio.run(fails(wrong))
    none = f"redis://127.0.0.1:{temporary_redis.port}"
    assert "it requires" in asyncio.run(fails(none))
    with socket.socket() as bound:  # does not listen
        bound.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{bound.getsockname()[1]}"
        assert "nobody listens there" in asyncio.run(fails(nowhere))
    wait_until(lambda: len(client.client_list()) <= before)


@pytest.mark.parametrize(
    "many_turns", [range(0, 40, 5), pytest.param(range(40), marks=pytest.mark.verify)], ids=repr
)
def test_cancelling_open_leaves_no_connection(
    temporary_redis: TemporaryValkey, client: redis.Redis, many_turns: range
) -> None:
    async def main() -> None:
        for turns in many_turns:
            opening = asyncio.create_task(_open_and_close(temporary_redis.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])

    before = len(client.client_list())
    asyncio.run(main())
    wait_until(lambda: len(client.client_list()) <= before)


async def _open_and_close(url: str) -> None:
    async with opened(url):
        pass
