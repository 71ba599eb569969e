"""View caches whose connection is lost, unresponsive or closed, or whose readers are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
import redis
from redis import asyncio as aioredis

from helpers.embedded.temporary_valkey import TemporaryValkey
from helpers.joins import batched, products_json
from helpers.proxy.tcp_proxy import TcpProxy
from helpers.read_model.view_cache import ProductList, ViewCache
from tests.read_model.cached_shop import CachedShop, connections
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


def test_a_cache_has_one_connection_and_none_after_it_is_closed(cached: CachedShop) -> None:
    client = cached.blocking.redis
    assert connections(client) == []
    before = len(client.client_list())
    cached.read()
    assert len(client.client_list()) == before + 1
    assert len(connections(client)) == 1
    cached.runner.run(cached.cache.aclose())
    cached.runner.run(cached.cache.aclose())
    wait_until(lambda: len(client.client_list()) <= before)  # the server has yet to notice
    with pytest.raises(redis.ConnectionError, match="is closed"):
        cached.read()


@pytest.mark.verify
def test_closing_the_cache_raises_an_error_in_its_readers(cached: CachedShop) -> None:
    async def main(turns: int) -> None:
        cache = ViewCache(cached.awaited)
        if turns % 2:
            await cache.read()
        readers = [asyncio.create_task(cache.read()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        late = asyncio.create_task(cache.read())
        await asyncio.sleep(0)
        await cache.aclose()
        found = await asyncio.gather(*readers, late, return_exceptions=True)
        assert all(isinstance(result, ProductList | redis.ConnectionError) for result in found)

    for turns in range(0, 30, 2):
        cached.runner.run(main(turns))
    wait_until(lambda: not connections(cached.blocking.redis))


def test_a_killed_connection_is_reopened_and_no_change_is_missed(cached: CachedShop) -> None:
    cached.read()
    client = cached.blocking.redis
    for number in range(5):
        (connection,) = connections(client)
        client.client_kill_filter(_id=connection)
        client.set("stock:1", 1000 + number)
        assert cached.product(1)["stock"] == str(1000 + number)
        cached.assert_current()
        assert len(connections(client)) == 1


@pytest.fixture
def proxy(temporary_redis: TemporaryValkey) -> Iterator[TcpProxy]:
    proxy = TcpProxy(temporary_redis.url)
    yield proxy
    proxy.close()


@contextlib.contextmanager
def _proxied(cached: CachedShop, proxy: TcpProxy, seconds: float) -> Iterator[ViewCache]:
    """Yield a cache whose connection is proxied."""
    awaited = aioredis.Redis.from_url(proxy.url, decode_responses=True, socket_timeout=seconds)
    cache = ViewCache(replace(cached.awaited, redis=awaited))
    yield cache
    cached.runner.run(cache.aclose())
    cached.runner.run(awaited.aclose())


@pytest.mark.verify
def test_an_unresponsive_server_times_out_and_is_read_again_later(
    cached: CachedShop, proxy: TcpProxy
) -> None:
    async def main(cache: ViewCache) -> None:
        await cache.read()
        proxy.freeze()
        cached.blocking.redis.set("stock:1", 77)
        found = await asyncio.gather(*(cache.read() for _ in range(3)), return_exceptions=True)
        # The first check times out; that of the others opens a connection, which times out too.
        assert [type(result) for result in found] == [redis.TimeoutError] * 3
        proxy.restore()
        assert (await cache.read()).body == products_json(batched(cached.blocking))

    with _proxied(cached, proxy, seconds=1) as cache:
        cached.runner.run(main(cache))


def test_an_unavailable_server_is_tried_once_more_and_then_raises_an_error(
    cached: CachedShop, proxy: TcpProxy
) -> None:
    async def main(cache: ViewCache) -> None:
        await cache.read()
        proxy.cut()
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                await cache.read()
        proxy.restore()
        assert (await cache.read()).body == products_json(batched(cached.blocking))

    with _proxied(cached, proxy, seconds=60) as cache:
        cached.runner.run(main(cache))


@pytest.mark.verify
def test_everything_is_read_again_after_a_restart(
    cached: CachedShop, temporary_redis: TemporaryValkey
) -> None:
    cached.read()
    for number in range(2):
        temporary_redis.kill()
        temporary_redis.start()
        cached.blocking.redis.set("stock:1", 500 + number)
        assert cached.product(1)["stock"] == str(500 + number)
        cached.assert_current()
    temporary_redis.kill()
    with pytest.raises(redis.ConnectionError, match="Connection refused"):
        cached.read()
    temporary_redis.start()
    cached.assert_current()


def test_a_cancelled_reader_does_not_affect_the_others(cached: CachedShop) -> None:
    async def main(turns: int) -> None:
        cached.blocking.redis.set("stock:1", turns)  # so that there is something to read
        readers = [asyncio.create_task(cached.cache.read()) for _ in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for reader in readers[::2]:
            reader.cancel()
        found = await asyncio.gather(*readers[1::2])
        assert all(orjson.loads(result.body)[0]["stock"] == str(turns) for result in found)
        assert all(reader.done() for reader in readers)

    cached.read()
    for turns in range(0, 40, 4):
        cached.runner.run(main(turns))
    cached.assert_current()
    assert len(connections(cached.blocking.redis)) == 1


@pytest.mark.verify
def test_after_all_readers_are_cancelled_the_next_one_is_served(cached: CachedShop) -> None:
    async def main(turns: int) -> None:
        cache = ViewCache(cached.awaited)
        readers = [asyncio.create_task(cache.read()) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        assert (await cache.read()).count == 20
        await cache.aclose()

    for turns in range(20):
        cached.runner.run(main(turns))
