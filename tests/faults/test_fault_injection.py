"""What a drill does to the way to a store; it works for any servers, also those by address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pymongo.errors import PyMongoError

from helpers.errors import SettingsError, StoreError
from helpers.faults import FaultInjection
from helpers.faults.server_control import ForeignServers, find_servers
from helpers.settings import Settings
from helpers.stores import Stores
from helpers.stores.proxied_stores import proxied

pytestmark = pytest.mark.by_address

ASK: dict[str, tuple[Callable[[Stores], object], type[Exception]]] = {
    "postgres": (lambda stores: stores.postgres.execute("SELECT 1"), psycopg.OperationalError),
    "mongo": (lambda stores: stores.mongo.command("ping"), PyMongoError),
    "redis": (lambda stores: stores.redis.ping(), redis.ConnectionError),
}
ALL = pytest.mark.parametrize("store", ASK)


@pytest.fixture
def drills(stores: Stores) -> Iterator[FaultInjection]:
    """Fault injection on servers of which the addresses are known, and no more."""
    with proxied(stores) as far:
        yield FaultInjection(ForeignServers(stores.addresses), far)


@ALL
def test_one_way_is_slowed_and_the_others_are_not(drills: FaultInjection, store: str) -> None:
    with drills.slowed(store, 0.05):
        links = drills.stores.proxies
        added = {"postgres": links.postgres, "mongo": links.mongo, "redis": links.redis}
        assert {name for name, link in added.items() if link.round_trip} == {store}
        start = time.perf_counter()
        ASK[store][0](drills.stores)
        assert time.perf_counter() - start >= 0.05
    assert not any(link.round_trip for link in added.values())


@pytest.mark.parametrize(
    "store",
    # MongoDB's driver looks for its server for five seconds.
    ["postgres", "redis", pytest.param("mongo", marks=pytest.mark.verify)],
)
def test_one_way_is_cut_and_comes_back(drills: FaultInjection, store: str) -> None:
    ask, error = ASK[store]
    with drills.cut_off(store):
        with pytest.raises(error):
            ask(drills.stores)
        with pytest.raises(StoreError) as caught:
            drills.connect()
        names = {"postgres": "PostgreSQL", "mongo": "MongoDB", "redis": "Redis"}
        assert caught.value.store == names[store]
        for other in ASK.keys() - {store}:
            ASK[other][0](drills.stores)
    with drills.connect() as again:
        for ask, _ in ASK.values():
            ask(again)
        assert again.mongo.name == drills.stores.mongo.name


def test_a_way_that_hangs_holds_what_is_sent(drills: FaultInjection) -> None:
    with redis.Redis.from_url(drills.stores.addresses.redis, socket_timeout=0.3, retry=None) as far:
        assert far.ping()
        with drills.hanging("redis"), pytest.raises(redis.TimeoutError):
            far.ping()
        assert far.ping()


def test_only_ways_to_stores_can_be_drilled(drills: FaultInjection) -> None:
    for name in ("worker1", "mysql"):
        with pytest.raises(SettingsError, match="each of postgres, mongo and redis"):
            drills.cut(name)
    with pytest.raises(SettingsError, match="from 0 to 60"):
        drills.slow("redis", 61)


def test_servers_by_address_are_beyond_reach(
    drills: FaultInjection, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drills.state() == {}
    acts = [drills.stop, drills.kill, drills.freeze, drills.thaw, drills.start, drills.restart]
    for act in acts:
        with pytest.raises(SettingsError, match=r"only slow\(\), hang\(\) and cut\(\)") as caught:
            act("redis")
        password = stores.postgres.info.password
        assert not password or password not in str(caught.value)
    monkeypatch.setenv("PATH", "")  # no docker
    settings = Settings(data_folder=tmp_path, addresses=stores.addresses)
    assert isinstance(find_servers(settings), ForeignServers)
