"""Live views whose connection is lost, silent or closed, and whose readers are cancelled."""

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
from helpers.read_model.live_views import LiveList, LiveViews
from tests.read_model.live import Live, connections
from tests.waiting import wait_until

pytestmark = pytest.mark.servers


def test_it_has_one_connection_and_none_when_it_is_closed(live: Live) -> None:
    client = live.waiting.redis
    assert connections(client) == []
    before = len(client.client_list())
    live.read()
    assert len(client.client_list()) == before + 1
    assert len(connections(client)) == 1
    live.runner.run(live.views.aclose())
    live.runner.run(live.views.aclose())
    wait_until(lambda: len(client.client_list()) <= before)  # the server has yet to notice
    with pytest.raises(redis.ConnectionError, match="no longer read"):
        live.read()


@pytest.mark.verify
def test_who_waits_while_it_is_closed_is_told(live: Live) -> None:
    async def main(turns: int) -> None:
        views = LiveViews(live.awaited)
        if turns % 2:
            await views.read()
        readers = [asyncio.create_task(views.read()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        late = asyncio.create_task(views.read())
        await asyncio.sleep(0)
        await views.aclose()
        found = await asyncio.gather(*readers, late, return_exceptions=True)
        assert all(isinstance(one, LiveList | redis.ConnectionError) for one in found)

    for turns in range(0, 30, 2):
        live.runner.run(main(turns))
    wait_until(lambda: not connections(live.waiting.redis))


def test_a_connection_that_was_killed_is_opened_anew_and_nothing_is_missed(live: Live) -> None:
    live.read()
    client = live.waiting.redis
    for number in range(5):
        (connection,) = connections(client)
        client.client_kill_filter(_id=connection)
        client.set("stock:1", 1000 + number)
        assert live.product(1)["stock"] == str(1000 + number)
        live.assert_current()
        assert len(connections(client)) == 1


@pytest.fixture
def link(spare: TemporaryValkey) -> Iterator[TcpProxy]:
    link = TcpProxy(spare.url)
    yield link
    link.close()


@contextlib.contextmanager
def _through(live: Live, link: TcpProxy, seconds: float) -> Iterator[LiveViews]:
    """Views whose connection leads through ``link``."""
    awaited = aioredis.Redis.from_url(link.url, decode_responses=True, socket_timeout=seconds)
    views = LiveViews(replace(live.awaited, redis=awaited))
    yield views
    live.runner.run(views.aclose())
    live.runner.run(awaited.aclose())


@pytest.mark.verify
def test_a_silent_server_is_waited_for_no_longer_than_that_and_then_read_anew(
    live: Live, link: TcpProxy
) -> None:
    async def main(views: LiveViews) -> None:
        await views.read()
        link.freeze()
        live.waiting.redis.set("stock:1", 77)
        found = await asyncio.gather(*(views.read() for _ in range(3)), return_exceptions=True)
        # The first is late; the others' check opens a connection, which is late as well.
        assert [type(one) for one in found] == [redis.TimeoutError] * 3
        link.restore()
        assert (await views.read()).body == products_json(batched(live.waiting))

    with _through(live, link, seconds=1) as views:
        live.runner.run(main(views))


def test_a_server_that_cannot_be_reached_is_tried_once_more_and_then_said(
    live: Live, link: TcpProxy
) -> None:
    async def main(views: LiveViews) -> None:
        await views.read()
        link.cut()
        for _ in range(3):
            with pytest.raises(redis.ConnectionError):
                await views.read()
        link.restore()
        assert (await views.read()).body == products_json(batched(live.waiting))

    with _through(live, link, seconds=60) as views:
        live.runner.run(main(views))


@pytest.mark.verify
def test_a_server_that_was_killed_and_started_again_is_read_anew(
    live: Live, spare: TemporaryValkey
) -> None:
    live.read()
    for number in range(2):
        spare.kill()
        spare.start()
        live.waiting.redis.set("stock:1", 500 + number)
        assert live.product(1)["stock"] == str(500 + number)
        live.assert_current()
    spare.kill()
    with pytest.raises(redis.ConnectionError, match="Connection refused"):
        live.read()
    spare.start()
    live.assert_current()


def test_a_reader_who_is_cancelled_at_any_time_harms_nobody(live: Live) -> None:
    async def main(turns: int) -> None:
        live.waiting.redis.set("stock:1", turns)  # so that there is something to read
        readers = [asyncio.create_task(live.views.read()) for _ in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for one in readers[::2]:
            one.cancel()
        found = await asyncio.gather(*readers[1::2])
        assert all(orjson.loads(one.body)[0]["stock"] == str(turns) for one in found)
        assert all(one.done() for one in readers)

    live.read()
    for turns in range(0, 40, 4):
        live.runner.run(main(turns))
    live.assert_current()
    assert len(connections(live.waiting.redis)) == 1


@pytest.mark.verify
def test_when_all_readers_are_cancelled_the_next_one_is_served(live: Live) -> None:
    async def main(turns: int) -> None:
        views = LiveViews(live.awaited)
        readers = [asyncio.create_task(views.read()) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for one in readers:
            one.cancel()
        await asyncio.wait(readers)
        assert (await views.read()).count == 20
        await views.aclose()

    for turns in range(20):
        live.runner.run(main(turns))
