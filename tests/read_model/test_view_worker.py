"""The view worker catches up until it is stopped, also if stores fail meanwhile."""

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
from helpers.stores.stores import connect_again
from tests.background_workers import NEVER, SOON, StartWorker, is_in
from tests.shared_proxies import restored
from tests.waiting import wait_until

COUNT = 20


@pytest.fixture
def shop(twenty: Stores) -> Stores:
    return twenty


class Connecting:
    """Connects to a shop's databases, and records the connections."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.opened: list[Stores] = []

    def __call__(self) -> Stores:
        stores = connect_again(self._stores)
        self.opened.append(stores)
        return stores


@pytest.fixture
def connect(shop: Stores) -> Connecting:
    return Connecting(shop)


@pytest.fixture
def worker(connect: Connecting) -> ViewWorker:
    """A worker with short pauses, which the test starts."""
    return ViewWorker(connect, pause_seconds=SOON)


def _is_current(shop: Stores) -> bool:
    ids = range(1, COUNT + 1)
    return read_views(shop, ids) == Views(batched(shop, ids), 0)


def test_the_worker_builds_the_views_and_keeps_them_up_to_date(
    shop: Stores, worker: ViewWorker, start_worker: StartWorker
) -> None:
    assert (worker.state, worker.passes) == ("starting", 0)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert _is_current(shop)
    set_price(shop, 1, Decimal("9.90"))
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "New"}})
    wait_until(lambda: _is_current(shop))
    assert (worker.state, worker.error) == ("running", None)
    assert worker.passes > 1


def test_age_seconds_grows_between_passes(
    shop: Stores, connect: Connecting, start_worker: StartWorker
) -> None:
    worker = ViewWorker(connect, pause_seconds=NEVER)
    assert (worker.age_seconds, worker.seconds_since_response) == (math.inf, math.inf)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    wait_until(lambda: worker.age_seconds < NEVER)
    before = worker.age_seconds
    wait_until(lambda: worker.age_seconds > before)
    assert worker.stop(wait_seconds=60)


def test_on_standby_the_age_is_that_of_the_other_workers_views(
    shop: Stores, worker: ViewWorker, start_worker: StartWorker
) -> None:
    with ReadModel(shop) as another:
        with another._locked():
            start_worker(worker)
            wait_until(is_in(worker, "standby"))
            wait_until(lambda: worker.seconds_since_response < NEVER)
            assert worker.age_seconds == math.inf, "there are no views yet"
        assert worker.stop(wait_seconds=60)
        another.rebuild()
        with another._locked():
            second = ViewWorker(Connecting(shop), pause_seconds=NEVER)
            start_worker(second)
            wait_until(is_in(second, "standby"))
            assert second.seconds_since_response <= second.age_seconds < NEVER
            assert second.stop(wait_seconds=60)


def test_the_worker_notices_that_postgresql_is_unavailable_without_announcements(
    shop: Stores, proxied_stores: ProxiedStores, start_worker: StartWorker
) -> None:
    with restored(proxied_stores) as far:
        worker = ViewWorker(Connecting(far), pause_seconds=SOON)
        start_worker(worker)
        wait_until(is_in(worker, "running"))
        far.proxies.postgres.cut()
        wait_until(is_in(worker, "failing"))
        age, passes = worker.age_seconds, worker.passes
        wait_until(lambda: worker.age_seconds > age)
        assert worker.passes == passes
        assert "PostgreSQL at" in (worker.error or "")
        far.proxies.restore()
        wait_until(is_in(worker, "running"))
        assert worker.stop(wait_seconds=60)


def test_the_worker_continues_from_the_last_workers_positions(
    shop: Stores, worker: ViewWorker, start_worker: StartWorker
) -> None:
    with ReadModel(shop) as model:
        model.rebuild()
    shop.redis.set(view_key(5), "unchanged")
    set_price(shop, 1, Decimal("9.90"))
    start_worker(worker)
    wait_until(lambda: worker.passes > 1)
    assert read_views(shop, [1]).products[0]["price"] == "9.90"
    assert shop.redis.get(view_key(5)) == "unchanged"


def test_the_worker_stops_during_a_pause_and_closes_its_connections(
    connect: Connecting, start_worker: StartWorker
) -> None:
    worker = ViewWorker(connect, pause_seconds=NEVER)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert worker.stop(wait_seconds=60)
    assert (worker.state, worker.error, worker.passes) == ("ended", None, 1)
    assert worker.stop()
    (stores,) = connect.opened
    assert stores.postgres.closed
    assert "view-worker" not in {thread.name for thread in threading.enumerate()}
    assert repr(worker) == "<ViewWorker, ended>"


def test_a_worker_that_was_never_started_can_be_stopped(connect: Connecting) -> None:
    assert ViewWorker(connect).stop()
    assert connect.opened == []


def test_the_worker_does_not_wait_for_a_lock_of_its_own(
    shop: Stores, worker: ViewWorker, start_worker: StartWorker
) -> None:
    """Its connection was lost during a pass, before it released the lock."""
    shop.redis.set("shop:views:lock", worker._token, ex=600)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert shop.redis.get("shop:views:lock") is None


def test_the_worker_stays_on_standby_until_another_one_releases_the_lock(
    shop: Stores, worker: ViewWorker, start_worker: StartWorker
) -> None:
    with ReadModel(shop) as another, another._locked():
        start_worker(worker)
        wait_until(is_in(worker, "standby"))
        assert (worker.error, worker.passes) == (None, 0)
        assert read_views(shop, [1]).products == []
    wait_until(is_in(worker, "running"))
    assert _is_current(shop)


def test_the_worker_retries_to_connect(connect: Connecting, start_worker: StartWorker) -> None:
    tries = 0

    def connect_at_last() -> Stores:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StoreError("MongoDB", "there", "nobody listens there", "Start it.")
        return connect()

    worker = ViewWorker(connect_at_last, pause_seconds=SOON)
    start_worker(worker)
    wait_until(lambda: worker.error is not None or worker.passes > 0)
    wait_until(is_in(worker, "running"))
    assert (tries, worker.error) == (4, None)
    assert worker.stop(wait_seconds=60)


def test_the_worker_reports_a_failure_and_pauses_after_it(start_worker: StartWorker) -> None:
    tries = 0

    def fail() -> Stores:
        nonlocal tries
        tries += 1
        raise StoreError("MongoDB", "there", "nobody listens there", "Start it.")

    worker = ViewWorker(fail, pause_seconds=NEVER)
    start_worker(worker)
    wait_until(is_in(worker, "failing"))
    assert worker.error == "MongoDB at there: nobody listens there. Start it."
    assert worker.stop(wait_seconds=60)
    assert tries == 1


def test_the_worker_replaces_a_connection_that_the_server_closed(
    shop: Stores, connect: Connecting, worker: ViewWorker, start_worker: StartWorker
) -> None:
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    for number in range(1, 4):
        backend = connect.opened[-1].postgres.info.backend_pid
        shop.postgres.execute("SELECT pg_terminate_backend(%s::int, 60000)", [backend])
        set_price(shop, 1, Decimal(number))
        wait_until(lambda: _is_current(shop))
        assert len(connect.opened) == number + 1
        assert all(stores.postgres.closed for stores in connect.opened[:-1])


def test_the_worker_reports_a_cut_without_the_password_and_recovers(
    shop: Stores, proxied_stores: ProxiedStores, start_worker: StartWorker
) -> None:
    with restored(proxied_stores) as far:
        worker = ViewWorker(Connecting(far), pause_seconds=SOON)
        start_worker(worker)
        wait_until(is_in(worker, "running"))
        far.proxies.redis.cut()
        wait_until(is_in(worker, "failing"))
        assert "Redis at" in (worker.error or "")
        password = urlsplit(shop.addresses.redis).password
        assert password is None or password not in (worker.error or "")
        set_price(shop, 1, Decimal(3))
        far.proxies.redis.restore()
        wait_until(lambda: _is_current(shop))
        wait_until(is_in(worker, "running"))
        assert worker.error is None
        assert worker.stop(wait_seconds=60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_no_store_caused_ends_the_worker(start_worker: StartWorker) -> None:
    def crash() -> Stores:
        raise ZeroDivisionError("secret")

    worker = ViewWorker(crash, pause_seconds=SOON)
    start_worker(worker)
    wait_until(is_in(worker, "ended"))
    assert worker.error == "The background worker ended with ZeroDivisionError: see the log."
    assert worker.stop(wait_seconds=60)
