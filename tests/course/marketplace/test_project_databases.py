"""The project's databases, its layout, and the rivals that its checks send."""

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

MARKET = marketplace(40, seed=11)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, shared: Stores) -> Stores:
    """Let the project's databases be those of this test process."""
    number = shared.redis.connection_pool.connection_kwargs["db"]
    monkeypatch.setenv(NAME, shared.mongo.name)
    monkeypatch.setenv(NUMBER, str(number))
    return shared


def test_fresh_stores_are_empty_whatever_was_there(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        assert stores.redis.dbsize() > 0
    assert stores.postgres.closed
    with fresh_stores() as stores:
        tables = stores.postgres.execute("SELECT FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == []
        assert stores.mongo.list_collection_names() == []
        assert stores.redis.dbsize() == 0


def test_fresh_stores_are_made_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch, project: Stores
) -> None:
    name = f"{project.mongo.name}_project"
    monkeypatch.setenv(NAME, name)
    with fresh_stores() as stores:
        assert stores.postgres.info.dbname == name
        load_marketplace(stores, MARKET)
    project.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NUMBER, "eight")
    with pytest.raises(SettingsError, match="'eight'"):
        open_project()


def test_the_layout_holds_what_the_marketplace_has(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        listings, details = read_listings(stores, MARKET.ids), read_details(stores, MARKET.ids)
        units = read_units(stores, MARKET.ids)
        bids = stores.postgres.execute("SELECT count(*), sum(amount) FROM bids").fetchone()
    assert listings == {
        one.listing_id: {"title": one.title, "price": one.price} for one in MARKET.listings
    }
    assert details == {
        one.listing_id: one.document["details"] for one in MARKET.listings if one.document
    }
    assert units == {one.listing_id: one.units for one in MARKET.listings if one.units is not None}
    assert bids == (len(MARKET.bids), sum(bid.amount for bid in MARKET.bids))


def test_loading_does_not_change_the_marketplace(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
    assert marketplace(40, seed=11) == MARKET


def test_each_store_is_asked_once(project: Stores) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        with traced(stores) as (counted, trace):
            for read in (read_listings, read_details, read_units):
                read(counted, MARKET.ids)
    assert trace.round_trips == {"PostgreSQL": 1, "MongoDB": 1, "Redis": 1}


def test_a_count_that_is_no_number_is_an_error(project: Stores) -> None:
    with fresh_stores() as stores:
        stores.redis.set("units:5", "many")
        with pytest.raises(ValueError, match="many"):
            read_units(stores, [5])


@pytest.mark.parametrize(("after", "expected"), [(0, "rival"), (1, "own"), (2, "own"), (3, None)])
def test_a_rival_comes_between_two_round_trips(
    project: Stores, after: int, expected: str | None
) -> None:
    """The first value is read by the first command, the key is taken away by the rival."""
    with fresh_stores() as stores:
        stores.redis.set("word", "own")

        def rival() -> None:
            came.append(stores.redis.set("word", "rival"))

        came: list[object] = []
        with interleave(stores, after, rival) as client:
            read = client.get("word")
            client.get("other")
            with client.pipeline() as pipeline:  # one round trip, whatever is in it
                pipeline.get("word")
                pipeline.get("word")
                pipeline.execute()
        assert len(came) == (expected is not None)
        assert read == (expected or "own")


def test_buyers_act_at_once_each_with_a_connection(project: Stores) -> None:
    barrier = threading.Barrier(8)

    def act(client: object, buyer: int) -> tuple[int, int]:
        barrier.wait(30)
        return buyer, id(client)

    with fresh_stores() as stores:
        answers = run_concurrently(stores, list(range(8)), act)
    assert [answer[0] for answer in answers] == list(range(8))  # type: ignore[index]
    assert len({answer[1] for answer in answers}) == 8  # type: ignore[index]


def test_a_buyers_exception_is_raised(project: Stores) -> None:
    def act(_client: object, buyer: int) -> None:
        raise psycopg.OperationalError(f"buyer {buyer}")

    with fresh_stores() as stores, pytest.raises(psycopg.OperationalError, match="buyer"):
        run_concurrently(stores, [1, 2], act)


def test_a_rival_that_waits_for_us_does_not_keep_us_waiting(project: Stores) -> None:
    """As one does whose lock we hold: it goes on when we have given the lock back."""
    held = threading.Lock()

    def rival() -> None:
        with held:
            events.append("rival")

    events: list[str] = []
    with fresh_stores() as stores, interleave(stores, 1, rival) as client, held:
        client.get("word")
        client.get("word")
        events.append("own")
    assert events == ["own", "rival"]


def test_a_rivals_exception_is_raised(project: Stores) -> None:
    def rival() -> None:
        raise ValueError("the rival's")

    with (
        fresh_stores() as stores,
        pytest.raises(ValueError, match="the rival's"),
        interleave(stores, 0, rival) as client,
    ):
        client.get("word")


def test_a_rival_writes_just_before_the_first_write(project: Stores) -> None:
    with fresh_stores() as stores:
        stores.mongo.listings.insert_one({"_id": 1, "by": "nobody"})

        def rival() -> None:
            stores.mongo.listings.update_one({"_id": 1}, {"$set": {"by": "rival"}})

        with interleave_before_write(stores, rival) as database:
            before = database.listings.find_one({"_id": 1})
            first = database.listings.update_one({"by": "nobody"}, {"$set": {"by": "own"}})
            again = database.listings.update_one({"by": "rival"}, {"$set": {"by": "own"}})
    assert before == {"_id": 1, "by": "nobody"}
    assert (first.matched_count, again.matched_count) == (0, 1)


@pytest.mark.parametrize("strike", ["cut", pytest.param("freeze", marks=pytest.mark.verify)])
def test_within_reach_a_store_can_be_taken_away_and_comes_back(
    project: Stores, strike: str
) -> None:
    with fresh_stores() as stores:
        load_marketplace(stores, MARKET)
        with proxied_with_timeouts(stores) as (near, links):
            waits = near.redis.connection_pool.connection_kwargs["socket_timeout"]
            assert 0 < waits <= ANSWER_SECONDS
            for read, link, errors in (
                (read_details, links.mongo, pymongo.errors.ConnectionFailure),
                (read_units, links.redis, (redis.ConnectionError, redis.TimeoutError)),
            ):
                whole = read(near, MARKET.ids)
                getattr(link, strike)()
                with pytest.raises(errors):
                    read(near, MARKET.ids)
                link.restore()
                assert read(near, MARKET.ids) == whole
            getattr(links.postgres, strike)()
            with pytest.raises(psycopg.OperationalError):
                read_listings(near, MARKET.ids)
