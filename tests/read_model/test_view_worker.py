"""The keeper of a service: it catches up until it is stopped, whatever the stores do meanwhile."""

from __future__ import annotations

import math
import threading
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from helpers.errors import StoreError
from helpers.joins import batched
from helpers.read_model.product_changes import set_price
from helpers.read_model.view_worker import ViewWorker
from helpers.read_model.views import ReadModel, Views, read_views, view_key
from helpers.stores import Stores
from helpers.stores.proxied_stores import ProxiedStores
from helpers.stores.stores import connect_all
from tests.keeping import NEVER, SOON, Keeping, is_in
from tests.shared_proxies import restored
from tests.waiting import wait_until

COUNT = 20


@pytest.fixture
def shop(twenty: Stores) -> Stores:
    return twenty


class Connecting:
    """Connects to a shop's databases, and remembers what it gave."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.given: list[Stores] = []

    def __call__(self) -> Stores:
        number = self._stores.redis.connection_pool.connection_kwargs["db"]
        found = connect_all(
            self._stores.addresses, database=self._stores.mongo.name, redis_database=number
        )
        self.given.append(found)
        return found


@pytest.fixture
def connect(shop: Stores) -> Connecting:
    return Connecting(shop)


@pytest.fixture
def keeper(connect: Connecting) -> ViewWorker:
    """A keeper that pauses for a moment only. It is started by the test."""
    return ViewWorker(connect, pause_seconds=SOON)


def _is_current(shop: Stores) -> bool:
    ids = range(1, COUNT + 1)
    return read_views(shop, ids) == Views(batched(shop, ids), 0)


def test_it_makes_the_views_and_keeps_them_up_to_date(
    shop: Stores, keeper: ViewWorker, keep: Keeping
) -> None:
    assert (keeper.state, keeper.passes) == ("starting", 0)
    keep(keeper)
    wait_until(is_in(keeper, "keeping"))
    assert _is_current(shop)
    set_price(shop, 1, Decimal("9.90"))
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "New"}})
    wait_until(lambda: _is_current(shop))
    assert (keeper.state, keeper.error) == ("keeping", None)
    assert keeper.passes > 1


def test_it_knows_how_old_the_views_may_be(
    shop: Stores, connect: Connecting, keep: Keeping
) -> None:
    keeper = ViewWorker(connect, pause_seconds=NEVER)
    assert (keeper.age_seconds, keeper.silent_seconds) == (math.inf, math.inf)
    keep(keeper)
    wait_until(is_in(keeper, "keeping"))
    wait_until(lambda: keeper.age_seconds < NEVER)
    before = keeper.age_seconds
    wait_until(lambda: keeper.age_seconds > before)
    assert keeper.stop(wait_seconds=60)


def test_where_another_keeper_is_at_work_it_hears_of_the_stores_and_knows_no_age(
    shop: Stores, keeper: ViewWorker, keep: Keeping
) -> None:
    with ReadModel(shop) as another, another._keeping():
        keep(keeper)
        wait_until(is_in(keeper, "yielding"))
        wait_until(lambda: keeper.silent_seconds < NEVER)
        assert keeper.age_seconds == math.inf


def test_it_notices_that_postgresql_is_away_though_nothing_is_announced(
    shop: Stores, proxied_stores: ProxiedStores, keep: Keeping
) -> None:
    with restored(proxied_stores) as far:
        keeper = ViewWorker(Connecting(far), pause_seconds=SOON)
        keep(keeper)
        wait_until(is_in(keeper, "keeping"))
        far.proxies.postgres.cut()
        wait_until(is_in(keeper, "failing"))
        age, passes = keeper.age_seconds, keeper.passes
        wait_until(lambda: keeper.age_seconds > age)
        assert keeper.passes == passes
        assert "PostgreSQL at" in (keeper.error or "")
        far.proxies.restore()
        wait_until(is_in(keeper, "keeping"))
        assert keeper.stop(wait_seconds=60)


def test_it_goes_on_where_the_last_keeper_stopped(
    shop: Stores, keeper: ViewWorker, keep: Keeping
) -> None:
    with ReadModel(shop) as model:
        model.rebuild()
    shop.redis.set(view_key(5), "left alone")
    set_price(shop, 1, Decimal("9.90"))
    keep(keeper)
    wait_until(lambda: keeper.passes > 1)
    assert read_views(shop, [1]).products[0]["price"] == "9.90"
    assert shop.redis.get(view_key(5)) == "left alone"


def test_it_pauses_between_its_passes_and_is_stopped_within_a_pause(
    connect: Connecting, keep: Keeping
) -> None:
    keeper = ViewWorker(connect, pause_seconds=NEVER)
    keep(keeper)
    wait_until(is_in(keeper, "keeping"))
    assert keeper.stop(wait_seconds=60)
    assert (keeper.state, keeper.error, keeper.passes) == ("ended", None, 1)
    assert keeper.stop()
    (stores,) = connect.given
    assert stores.postgres.closed
    assert "view-keeper" not in {thread.name for thread in threading.enumerate()}
    assert repr(keeper) == "<ViewWorker, ended>"


def test_one_that_was_never_started_is_stopped(connect: Connecting) -> None:
    assert ViewWorker(connect).stop()
    assert connect.given == []


def test_it_leaves_the_views_to_another_keeper_until_that_one_is_done(
    shop: Stores, keeper: ViewWorker, keep: Keeping
) -> None:
    with ReadModel(shop) as another, another._keeping():
        keep(keeper)
        wait_until(is_in(keeper, "yielding"))
        assert (keeper.error, keeper.passes) == (None, 0)
        assert read_views(shop, [1]).products == []
    wait_until(is_in(keeper, "keeping"))
    assert _is_current(shop)


def test_stores_that_are_not_there_yet_are_tried_again(connect: Connecting, keep: Keeping) -> None:
    tries = 0

    def later() -> Stores:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StoreError("MongoDB", "there", "nobody listens there", "Start it.")
        return connect()

    keeper = ViewWorker(later, pause_seconds=SOON)
    keep(keeper)
    wait_until(lambda: keeper.error is not None or keeper.passes > 0)
    wait_until(is_in(keeper, "keeping"))
    assert (tries, keeper.error) == (4, None)
    assert keeper.stop(wait_seconds=60)


def test_a_failure_is_kept_as_a_text_and_the_pause_after_it_is_no_loop(keep: Keeping) -> None:
    tries = 0

    def never() -> Stores:
        nonlocal tries
        tries += 1
        raise StoreError("MongoDB", "there", "nobody listens there", "Start it.")

    keeper = ViewWorker(never, pause_seconds=NEVER)
    keep(keeper)
    wait_until(is_in(keeper, "failing"))
    assert keeper.error == "MongoDB at there: nobody listens there. Start it."
    assert keeper.stop(wait_seconds=60)
    assert tries == 1


def test_a_connection_that_the_server_closed_is_replaced(
    shop: Stores, connect: Connecting, keeper: ViewWorker, keep: Keeping
) -> None:
    keep(keeper)
    wait_until(is_in(keeper, "keeping"))
    for number in range(1, 4):
        backend = connect.given[-1].postgres.info.backend_pid
        shop.postgres.execute("SELECT pg_terminate_backend(%s::int, 60000)", [backend])
        set_price(shop, 1, Decimal(number))
        wait_until(lambda: _is_current(shop))
        assert len(connect.given) == number + 1
        assert all(stores.postgres.closed for stores in connect.given[:-1])


def test_stores_that_are_cut_off_are_told_of_without_a_secret_and_come_back(
    shop: Stores, proxied_stores: ProxiedStores, keep: Keeping
) -> None:
    with restored(proxied_stores) as far:
        keeper = ViewWorker(Connecting(far), pause_seconds=SOON)
        keep(keeper)
        wait_until(is_in(keeper, "keeping"))
        far.proxies.redis.cut()
        wait_until(is_in(keeper, "failing"))
        assert "Redis at" in (keeper.error or "")
        password = urlsplit(shop.addresses.redis).password
        assert password is None or password not in (keeper.error or "")
        set_price(shop, 1, Decimal(3))
        far.proxies.redis.restore()
        wait_until(lambda: _is_current(shop))
        wait_until(is_in(keeper, "keeping"))
        assert keeper.error is None
        assert keeper.stop(wait_seconds=60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_is_none_of_a_store_ends_it_and_is_told_of(keep: Keeping) -> None:
    def wrong() -> Stores:
        raise ZeroDivisionError("secret")

    keeper = ViewWorker(wrong, pause_seconds=SOON)
    keep(keeper)
    wait_until(is_in(keeper, "ended"))
    assert keeper.error == "The keeper ended with ZeroDivisionError: see the log."
    assert keeper.stop(wait_seconds=60)
