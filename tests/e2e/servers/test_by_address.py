"""Servers given by address: how nodes are found, and databases created and connected to.

``make by-address`` runs these tests and the notebooks. The tests set the addresses themselves, so
they also run on embedded servers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.citus.cluster_databases import Node, drop_database, find_nodes, nodes_of
from helpers.errors import SettingsError, StoreError
from helpers.settings import Addresses, Settings, load_settings
from helpers.shop import locate, open_shop
from helpers.shop.opening import open_databases, start_worker
from helpers.stores import Stores
from helpers.stores.async_stores import connect_async
from helpers.stores.environment import environment_of
from helpers.stores.pooled_stores import connect_pooled
from helpers.stores.proxied_stores import proxied
from tests.contents import collections_of, keys_of

pytestmark = pytest.mark.by_address

WORKERS = 2
NOWHERE = Path(os.devnull)

Open = Callable[[Addresses], AbstractContextManager[Stores]]


@pytest.fixture
def addresses(shared: Stores) -> Addresses:
    """The servers' addresses as a user would give them, with two workers.

    The shop's database may have three, because a lesson adds one.
    """
    coordinator = environment_of(shared)["POSTGRES_URL"]
    workers = shared.addresses.workers[:WORKERS]
    return replace(shared.addresses, coordinator=coordinator, workers=workers)


@pytest.fixture
def given(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an environment with these addresses, and without a data folder."""
    monkeypatch.setenv("POSTGRES_URL", addresses.coordinator)
    monkeypatch.setenv("POSTGRES_WORKER_URLS", " ".join(addresses.workers))
    monkeypatch.setenv("MONGO_URL", addresses.mongo)
    monkeypatch.setenv("REDIS_URL", addresses.redis)
    monkeypatch.setenv("SHOP_HOME", str(NOWHERE))
    return load_settings(dotenv=NOWHERE)


@pytest.fixture
def create(shared: Stores, redis_number: int) -> Iterator[Open]:
    """Create databases for one test on the servers at given addresses; drop them after it."""
    name = f"{shared.mongo.name}_by_address"
    yield lambda chosen: open_databases(name, redis_number, Settings(NOWHERE, addresses=chosen))
    shared.mongo.client.drop_database(name)
    shared.redis.flushdb()
    drop_database(nodes_of(shared.addresses), name)


def _registered(stores: Stores) -> list[tuple[str, int]]:
    """Return host and port of the workers that the coordinator has registered."""
    return stores.postgres.execute(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 ORDER BY nodeid"
    ).fetchall()


def _assert_rows_reach_both_workers(stores: Stores) -> None:
    stores.postgres.execute("CREATE TABLE spread (id bigint PRIMARY KEY)")
    stores.postgres.execute("SELECT create_distributed_table('spread', 'id', shard_count => 4)")
    stores.postgres.execute("INSERT INTO spread SELECT generate_series(1, 40)")
    placed = stores.postgres.execute(
        "SELECT count(DISTINCT nodeport) FROM citus_shards WHERE table_name = 'spread'::regclass"
    ).fetchone()
    assert placed == (WORKERS,)
    assert stores.postgres.execute("SELECT count(*) FROM spread").fetchone() == (40,)


def test_servers_given_by_address_are_not_changed(given: Settings, addresses: Addresses) -> None:
    assert locate(given) == replace(addresses, embedded=False)
    with pytest.raises(SettingsError, match="only where the course starts its own servers"):
        locate(given, workers=3)


def test_databases_are_created_empty_on_every_node_and_others_not_changed(
    given: Settings, addresses: Addresses, create: Open, stores: Stores
) -> None:
    stores.postgres.execute("CREATE TABLE kept (id int)")
    stores.mongo.kept.insert_one({"_id": 1})
    for _ in range(2):
        with create(addresses) as created:
            tables = created.postgres.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            )
            assert tables.fetchone() == (0,)
            assert collections_of(created) == []
            assert keys_of(created) == []
            _assert_rows_reach_both_workers(created)
            created.mongo.things.insert_one({"_id": 1})
            created.redis.set("thing", "1")
    assert stores.postgres.execute("SELECT to_regclass('kept')").fetchone() == ("kept",)
    assert stores.mongo.kept.count_documents({}) == 1
    assert not given.data_folder.is_dir(), "no embedded server was started"


def test_workers_without_an_address_are_read_from_the_coordinator(
    addresses: Addresses, create: Open
) -> None:
    unnamed = replace(addresses, workers=())
    assert find_nodes(addresses) == nodes_of(addresses)
    assert [(node.host, node.port) for node in find_nodes(unnamed)] == [
        (node.host, node.port) for node in nodes_of(addresses)
    ]
    with create(unnamed) as created:
        assert len(_registered(created)) == WORKERS
        _assert_rows_reach_both_workers(created)


def test_the_address_of_a_registered_ipv6_worker_has_brackets(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(1, "fd00::1", 5432), (2, "worker", 5433)]
    monkeypatch.setattr("helpers.citus.cluster_databases._registered", lambda _: rows)
    _, ipv6, other = find_nodes(replace(addresses, workers=()))
    assert "@[fd00::1]:5432/" in ipv6.url
    assert "@worker:5433/" in other.url
    assert [(node.host, node.port) for node in (ipv6, other)] == [row[1:] for row in rows]


def test_workers_are_registered_under_the_names_that_nodes_use(
    addresses: Addresses, create: Open
) -> None:
    names = tuple(("localhost", node.port) for node in nodes_of(addresses)[1:])
    named = replace(addresses, worker_names=names)
    with create(named) as created:
        assert _registered(created) == list(names)
        _assert_rows_reach_both_workers(created)
        # The environment gives another process the same addresses.
        environ = environment_of(created)
        assert load_settings(environ, dotenv=NOWHERE).addresses == replace(
            named,
            coordinator=environ["POSTGRES_URL"],
            workers=tuple(environ["POSTGRES_WORKER_URLS"].split()),
            mongo=environ["MONGO_URL"],
            redis=environ["REDIS_URL"],
        )


def test_registered_workers_without_an_address_are_an_error(addresses: Addresses) -> None:
    fewer = replace(addresses, workers=addresses.workers[:1])
    with pytest.raises(StoreError, match="2 workers and POSTGRES_WORKER_URLS names 1") as caught:
        find_nodes(fewer)
    password = addresses.coordinator.split("@")[0].rpartition(":")[2]
    assert password not in str(caught.value)


def test_start_worker_uses_the_next_worker_of_the_addresses(
    given: Settings, shared: Stores, addresses: Addresses
) -> None:
    further = Node("postgresql://u@127.0.0.1:1/d", "127.0.0.1", 1)
    named = replace(addresses, workers=(*addresses.workers, further.url))
    assert find_nodes(named)[-1] == further
    assert find_nodes(named, include_unregistered=False) == nodes_of(addresses)
    with pytest.raises(SettingsError, match="POSTGRES_WORKER_URLS names no further one"):
        start_worker(shared)


def _plain(settings: Settings) -> object:
    with open_shop(settings) as opened, opened.explaining():
        assert opened.mongo.seen.find_one() == {"_id": 1}
        assert opened.postgres.execute("SELECT id FROM seen").fetchone() == (1,)
        return opened.redis.get("seen")


def _linked(settings: Settings) -> object:
    with open_shop(settings) as opened, proxied(opened) as far:
        assert far.mongo.seen.find_one() == {"_id": 1}
        assert far.postgres.execute("SELECT id FROM seen").fetchone() == (1,)
        return far.redis.get("seen")


def _pooled(settings: Settings) -> object:
    with ExitStack() as opened:
        pooled = opened.enter_context(closing(connect_pooled(locate(settings))))
        connection = opened.enter_context(pooled.postgres.connection())
        assert connection.execute("SELECT id FROM seen").fetchone() == (1,)
        return pooled.redis.get("seen")


def _awaited(settings: Settings) -> object:
    async def read() -> object:
        async with await connect_async(locate(settings)) as opened:
            async with opened.postgres.connection() as connection:
                cursor = await connection.execute("SELECT id FROM seen")
                assert await cursor.fetchone() == (1,)
            assert await opened.mongo.seen.find_one() == {"_id": 1}
            return await opened.redis.get("seen")

    return asyncio.run(read())


@pytest.mark.parametrize("read", [_plain, _linked, _pooled, _awaited])
def test_every_kind_of_connection_reaches_the_databases_that_the_addresses_name(
    stores: Stores, read: Callable[[Settings], object]
) -> None:
    stores.postgres.execute("CREATE TABLE seen (id int)")
    stores.postgres.execute("INSERT INTO seen VALUES (1)")
    stores.mongo.seen.insert_one({"_id": 1})
    stores.redis.set("seen", "1")
    settings = load_settings(environment_of(stores), dotenv=NOWHERE)
    assert read(settings) == "1"
