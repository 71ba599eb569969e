"""The project's databases, loading a marketplace, and concurrent clients."""

from __future__ import annotations

import threading

import psycopg
import pymongo.errors
import pytest
import redis

from course.marketplace import (
    fresh_stores,
    interleave,
    interleave_before_write,
    load_marketplace,
    marketplace,
    open_project,
    proxied_with_timeouts,
    read_details,
    read_listings,
    read_units,
    run_concurrently,
)
from course.marketplace.outages import ANSWER_SECONDS
from course.marketplace.project_databases import NAME, NUMBER
from helpers import traced
from helpers.errors import SettingsError
from helpers.stores import Stores
from tests.contents import collections_of, keys_of

MARKET = marketplace(40, seed=11)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, shared: Stores) -> Stores:
    """Use the databases of this test process as the project's."""
    number = shared.redis.connection_pool.connection_kwargs["db"]
    monkeypatch.setenv(NAME, shared.mongo.name)
    monkeypatch.setenv(NUMBER, str(number))
    return shared


def test_fresh_stores_are_empty(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        assert len(keys_of(stores)) > 0
    assert stores.postgres.closed
    with fresh_stores() as stores:
        tables = stores.postgres.execute("SELECT FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == []
        assert collections_of(stores) == []
        assert keys_of(stores) == []


def test_fresh_stores_creates_missing_databases(
    monkeypatch: pytest.MonkeyPatch, project: Stores
) -> None:
    name = f"{project.mongo.name}_project"
    monkeypatch.setenv(NAME, name)
    with fresh_stores() as stores:
        assert stores.postgres.info.dbname == name
        load_marketplace(stores, MARKET)
    project.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_an_invalid_database_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NUMBER, "eight")
    with pytest.raises(SettingsError, match="'eight'"):
        open_project()


def test_the_stores_contain_the_loaded_marketplace(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        listings, details = read_listings(stores, MARKET.ids), read_details(stores, MARKET.ids)
        units = read_units(stores, MARKET.ids)
        bids = stores.postgres.execute("SELECT count(*), sum(amount) FROM bids").fetchone()
    assert listings == {
        listing.listing_id: {"title": listing.title, "price": listing.price}
        for listing in MARKET.listings
    }
    assert details == {
        listing.listing_id: listing.document["details"]
        for listing in MARKET.listings
        if listing.document
    }
    assert units == {
        listing.listing_id: listing.units
        for listing in MARKET.listings
        if listing.units is not None
    }
    assert bids == (len(MARKET.bids), sum(bid.amount for bid in MARKET.bids))


def test_loading_does_not_change_the_marketplace(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
    assert marketplace(40, seed=11) == MARKET


def test_each_read_takes_one_round_trip(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        with traced(stores) as (counted, trace):
            for read in (read_listings, read_details, read_units):
                read(counted, MARKET.ids)
    assert trace.round_trips == {"PostgreSQL": 1, "MongoDB": 1, "Redis": 1}


def test_an_invalid_count_raises_an_error(project: Stores) -> None:
    with fresh_stores() as stores:
        stores.redis.set("units:5", "many")
        with pytest.raises(ValueError, match="many"):
            read_units(stores, [5])


@pytest.mark.parametrize(("after", "expected"), [(0, "action"), (1, "own"), (2, "own"), (3, None)])
def test_an_action_runs_between_two_round_trips(
    project: Stores, after: int, expected: str | None
) -> None:
    """The first command reads the value before or after the action overwrites it."""
    with fresh_stores() as stores:
        stores.redis.set("word", "own")

        def action(_: redis.Redis) -> None:
            results.append(stores.redis.set("word", "action"))

        results: list[object] = []
        with interleave(stores, after, action) as client:
            read = client.get("word")
            client.get("other")
            with client.pipeline() as pipeline:  # one round trip
                pipeline.get("word")
                pipeline.get("word")
                pipeline.execute()
        assert len(results) == (expected is not None)
        assert read == (expected or "own")


def test_clients_run_concurrently_with_their_own_connections(project: Stores) -> None:
    barrier = threading.Barrier(8)

    def act(client: object, buyer: int) -> tuple[int, int]:
        barrier.wait(30)
        return buyer, id(client)

    with fresh_stores() as stores:
        answers = run_concurrently(stores, list(range(8)), act)
    assert [answer[0] for answer in answers] == list(range(8))  # type: ignore[index]
    assert len({answer[1] for answer in answers}) == 8  # type: ignore[index]


def test_the_exception_of_a_client_is_raised(project: Stores) -> None:
    def act(_client: object, buyer: int) -> None:
        raise psycopg.OperationalError(f"buyer {buyer}")

    with fresh_stores() as stores, pytest.raises(psycopg.OperationalError, match="buyer"):
        run_concurrently(stores, [1, 2], act)


def test_an_action_that_waits_for_the_client_does_not_block_it(project: Stores) -> None:
    """The action waits for a lock of the client, and continues when the lock is released."""
    held = threading.Lock()

    def action(_: redis.Redis) -> None:
        with held:
            events.append("action")

    events: list[str] = []
    with fresh_stores() as stores, interleave(stores, 1, action) as client, held:
        client.get("word")
        client.get("word")
        events.append("own")
    assert events == ["own", "action"]


def test_the_exception_of_an_action_is_raised(project: Stores) -> None:
    def action(_: redis.Redis) -> None:
        raise ValueError("of the action")

    with (
        fresh_stores() as stores,
        pytest.raises(ValueError, match="of the action"),
        interleave(stores, 0, action) as client,
    ):
        client.get("word")


def test_an_action_runs_before_the_first_write(project: Stores) -> None:
    with fresh_stores() as stores:
        stores.mongo.listings.insert_one({"_id": 1, "by": "nobody"})

        def action() -> None:
            stores.mongo.listings.update_one({"_id": 1}, {"$set": {"by": "action"}})

        with interleave_before_write(stores, action) as database:
            before = database.listings.find_one({"_id": 1})
            first = database.listings.update_one({"by": "nobody"}, {"$set": {"by": "own"}})
            again = database.listings.update_one({"by": "action"}, {"$set": {"by": "own"}})
    assert before == {"_id": 1, "by": "nobody"}
    assert (first.matched_count, again.matched_count) == (0, 1)


@pytest.mark.parametrize("strike", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_a_store_behind_a_proxy_becomes_unavailable_and_recovers(
    project: Stores, strike: str
) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        with proxied_with_timeouts(stores) as (near, proxies):
            waits = near.redis.connection_pool.connection_kwargs["socket_timeout"]
            assert 0 < waits <= ANSWER_SECONDS
            for read, proxy, errors in (
                (read_details, proxies.mongo, pymongo.errors.ConnectionFailure),
                (read_units, proxies.redis, (redis.ConnectionError, redis.TimeoutError)),
            ):
                whole = read(near, MARKET.ids)
                getattr(proxy, strike)()
                with pytest.raises(errors):
                    read(near, MARKET.ids)
                proxy.restore()
                assert read(near, MARKET.ids) == whole
            getattr(proxies.postgres, strike)()
            with pytest.raises(psycopg.OperationalError):
                read_listings(near, MARKET.ids)
