"""The three drivers through proxies that delay, freeze and cut connections."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
import redis
from pymongo.errors import PyMongoError

from helpers.errors import SettingsError
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores, proxied
from helpers.stores.stores import connect_all
from helpers.stores.tracing import traced
from tests.shared_proxies import restored
from tests.waiting import wait_until

REQUESTS: dict[str, Callable[[Stores], object]] = {
    "PostgreSQL": lambda stores: stores.postgres.execute("SELECT 1").fetchone(),
    "MongoDB": lambda stores: stores.mongo.command("ping"),
    "Redis": lambda stores: stores.redis.ping(),
}
LARGE = 20_000_000


@pytest.fixture(scope="module")
def proxied_stores(shared: Stores) -> Iterator[ProxiedStores]:
    with proxied(shared) as found:
        yield found


@pytest.fixture
def far(proxied_stores: ProxiedStores) -> Iterator[ProxiedStores]:
    """The proxied stores, restored."""
    with restored(proxied_stores) as found:
        yield found


def _fill(stores: Stores) -> None:
    stores.postgres.execute("CREATE TABLE near (n int)")
    stores.postgres.execute("INSERT INTO near VALUES (1)")
    stores.mongo.near.insert_one({"_id": 1})
    stores.redis.set("near", "1")


def _read(stores: Stores) -> tuple[object, object, object]:
    return (
        stores.postgres.execute("SELECT * FROM near").fetchall(),
        list(stores.mongo.near.find()),
        stores.redis.get("near"),
    )


def test_proxied_stores_reach_the_same_databases(stores: Stores) -> None:
    _fill(stores)
    with proxied(stores) as far:
        assert _read(far) == _read(stores) == ([(1,)], [{"_id": 1}], "1")
        assert far.postgres.info.port != stores.postgres.info.port
        for proxy in (far.proxies.postgres, far.proxies.mongo, far.proxies.redis):
            assert proxy.state().connections >= 1
    assert _read(stores) == ([(1,)], [{"_id": 1}], "1")


def test_no_driver_gets_a_reply_before_the_round_trip(far: ProxiedStores) -> None:
    for seconds in (0.005, 0.02):
        far.proxies.set_round_trip(seconds)
        for name, send in REQUESTS.items():
            for _ in range(3):
                start = time.perf_counter()
                send(far)
                assert time.perf_counter() - start >= seconds, name


def test_a_round_trip_can_be_set_from_the_beginning(shared: Stores) -> None:
    with proxied(shared, round_trip=0.02) as far:
        start = time.perf_counter()
        assert far.redis.ping()
        assert time.perf_counter() - start >= 0.02


@pytest.mark.verify
def test_large_values_pass_in_both_directions(stores: Stores) -> None:
    text = random.Random(1).randbytes(LARGE // 2).hex()
    known = hashlib.sha256(text.encode()).hexdigest()
    with proxied(stores) as far:
        row = far.postgres.execute(
            "SELECT v, encode(sha256(v::bytea), 'hex') FROM (SELECT %s::text) AS t (v)", [text]
        ).fetchone()
        assert row == (text, known)
        far.redis.set("large", text)
        assert far.redis.get("large") == text == stores.redis.get("large")
        part = text[:10_000_000]  # a document has 16 MB at most
        far.mongo.large.insert_one({"_id": 1, "v": part})
        found = far.mongo.large.find_one()
        assert found is not None
        assert found["v"] == part


def _fails(far: ProxiedStores) -> None:
    with pytest.raises(psycopg.OperationalError):
        far.postgres.execute("SELECT 1")
    # Its driver selects a server again and again, until its timeout expires.
    with pytest.raises(PyMongoError), pymongo.timeout(1):
        far.mongo.command("ping")
    with pytest.raises(redis.ConnectionError):
        far.redis.ping()


def test_drivers_fail_after_a_cut_and_recover_after_a_restore(
    far: ProxiedStores,
) -> None:
    for proxy in far.proxies.all():
        proxy.cut()
    _fails(far)
    far.proxies.restore()
    assert far.redis.ping()
    assert far.mongo.command("ping")["ok"] == 1
    assert far.postgres.closed  # a single connection does not reconnect
    with psycopg.connect(far.addresses.coordinator) as again:
        assert again.execute("SELECT 1").fetchone() == (1,)


def test_a_single_store_can_be_cut(far: ProxiedStores) -> None:
    far.proxies.redis.cut()
    with pytest.raises(redis.ConnectionError):
        far.redis.ping()
    assert far.postgres.execute("SELECT 1").fetchone() == (1,)
    assert far.mongo.command("ping")["ok"] == 1


def test_a_frozen_proxy_makes_the_driver_time_out(far: ProxiedStores) -> None:
    proxy = far.proxies.redis
    with redis.Redis.from_url(far.addresses.redis, socket_timeout=0.5, retry=None) as impatient:
        assert impatient.ping()
        proxy.freeze()
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
    assert proxy.state().buffered_bytes > 0


def test_buffered_data_arrives_after_a_freeze(far: ProxiedStores, shared: Stores) -> None:
    shared.redis.delete("late")
    assert far.redis.ping()  # so that there is a connection
    connection = far.redis.connection_pool.get_connection()
    far.proxies.redis.freeze()
    connection.send_command("SET", "late", "1")  # type: ignore[no-untyped-call]
    wait_until(lambda: far.proxies.redis.state().buffered_bytes > 0)
    assert shared.redis.get("late") is None
    far.proxies.restore()
    assert connection.read_response() in (b"OK", "OK")
    far.redis.connection_pool.release(connection)
    assert shared.redis.get("late") == "1"
    shared.redis.delete("late")


@pytest.mark.parametrize(
    "command",
    ["close", *(pytest.param(name, marks=pytest.mark.verify) for name in ("cut", "freeze"))],
)
def test_proxies_stop_in_any_state(shared: Stores, command: str) -> None:
    with proxied(shared) as far:
        for proxy in (far.proxies.postgres, far.proxies.redis):
            getattr(proxy, command)()
        if command != "close":
            far.proxies.mongo.freeze()
        processes = [far.proxies.postgres._process, far.proxies.mongo._process]
    assert all(process.returncode == 0 for process in processes)


def test_an_invalid_round_trip_is_rejected(shared: Stores) -> None:
    with pytest.raises(SettingsError, match="from 0 to 60"), proxied(shared, round_trip=-1):
        pass


def test_a_redis_address_without_a_database_number(shared: Stores) -> None:
    parts = urlsplit(shared.addresses.redis)
    addresses = replace(shared.addresses, redis=parts._replace(path="").geturl())
    with connect_all(addresses) as near, proxied(near) as far, traced(far) as (counted, _):
        assert counted.redis.ping()


def test_no_password_is_in_the_representation(far: ProxiedStores) -> None:
    shown = repr(far) + repr(far.proxies) + repr(far.addresses)
    for password in (far.postgres.info.password, "secret"):
        assert not password or f":{password}@" not in shown
