"""Faults in the connections to a store; they work with all servers, also those given by address."""

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
from helpers.faults.server_control import UncontrolledServers, find_servers
from helpers.settings import Settings
from helpers.stores import Stores
from helpers.stores.proxied_stores import proxied

pytestmark = pytest.mark.by_address

PING: dict[str, tuple[Callable[[Stores], object], type[Exception]]] = {
    "postgres": (lambda stores: stores.postgres.execute("SELECT 1"), psycopg.OperationalError),
    "mongo": (lambda stores: stores.mongo.command("ping"), PyMongoError),
    "redis": (lambda stores: stores.redis.ping(), redis.ConnectionError),
}
ALL = pytest.mark.parametrize("store", PING)


@pytest.fixture
def faults(stores: Stores) -> Iterator[FaultInjection]:
    """Fault injection on servers of which only the addresses are known."""
    with proxied(stores) as far:
        yield FaultInjection(UncontrolledServers(stores.addresses), far)


@ALL
def test_a_delay_affects_only_its_store(faults: FaultInjection, store: str) -> None:
    faults.slow(store, 0.05)
    all_proxies = faults.stores.proxies
    proxies = {name: getattr(all_proxies, name) for name in PING}
    assert {name for name, proxy in proxies.items() if proxy.round_trip} == {store}
    start = time.perf_counter()
    PING[store][0](faults.stores)
    assert time.perf_counter() - start >= 0.05
    faults.restore(store)
    assert not any(proxy.round_trip for proxy in proxies.values())


@pytest.mark.parametrize(
    "store",
    # MongoDB's driver tries to find its server for five seconds.
    ["postgres", "redis", pytest.param("mongo", marks=pytest.mark.verify)],
)
def test_a_cut_affects_only_its_store_and_is_undone(faults: FaultInjection, store: str) -> None:
    ping, error = PING[store]
    faults.cut(store)
    with pytest.raises(error):
        ping(faults.stores)
    with pytest.raises(StoreError) as caught:
        faults.connect()
    names = {"postgres": "PostgreSQL", "mongo": "MongoDB", "redis": "Redis"}
    assert caught.value.store == names[store]
    for other in PING.keys() - {store}:
        PING[other][0](faults.stores)
    faults.restore(store)
    with faults.connect() as again:
        for ping, _ in PING.values():
            ping(again)
        assert again.mongo.name == faults.stores.mongo.name


def test_a_hanging_connection_times_out_and_recovers(faults: FaultInjection) -> None:
    with redis.Redis.from_url(faults.stores.addresses.redis, socket_timeout=0.3, retry=None) as far:
        assert far.ping()
        faults.hang("redis")
        with pytest.raises(redis.TimeoutError):
            far.ping()
        faults.restore("redis")
        assert far.ping()


def test_only_connections_to_stores_can_be_disturbed(faults: FaultInjection) -> None:
    for name in ("worker1", "mysql"):
        with pytest.raises(SettingsError, match="in front of postgres, mongo and redis"):
            faults.cut(name)
    with pytest.raises(SettingsError, match="from 0 to 60"):
        faults.slow("redis", 61)


def test_servers_given_by_address_cannot_be_controlled(
    faults: FaultInjection, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults.state() == {}
    acts = [faults.stop, faults.kill, faults.freeze, faults.thaw, faults.start, faults.restart]
    for act in acts:
        with pytest.raises(SettingsError, match=r"Only slow\(\), hang\(\) and cut\(\)") as caught:
            act("redis")
        password = stores.postgres.info.password
        assert not password or password not in str(caught.value)
    monkeypatch.setenv("PATH", "")  # no docker
    settings = Settings(data_folder=tmp_path, addresses=stores.addresses)
    assert isinstance(find_servers(settings), UncontrolledServers)
