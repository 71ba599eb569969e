"""The worker of the orders: it carries and recovers until it is stopped, whatever stores do."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from helpers.errors import StoreError
from helpers.orders.order_states import state_of
from helpers.orders.order_worker import OrderWorker
from helpers.orders.orders import Orders
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.proxied_stores import proxied
from helpers.stores.stores import connect_all
from tests.background_workers import NEVER, SOON, StartWorker, is_in
from tests.orders.agreement import assert_carried, assert_whole, outbox_rows
from tests.orders.test_orders_failures import CrashError, fail
from tests.orders.test_saga import Crash, crash
from tests.waiting import wait_until


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all counts read."""
    orders.stock.read(range(1, 6))
    return orders


def connecting(stores: Stores, *, limits: Limits | None = None) -> Callable[[], Stores]:
    number = stores.redis.connection_pool.connection_kwargs["db"]
    return lambda: connect_all(
        stores.addresses, database=stores.mongo.name, redis_database=number, limits=limits
    )


@pytest.fixture
def worker(shop: Stores) -> OrderWorker:
    """A worker that pauses for a moment only, and doubts at once. It is started by the test."""
    return OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=0)


def test_it_carries_what_is_ordered_while_it_is_at_work(
    orders: Orders, shop: Stores, worker: OrderWorker, start_worker: StartWorker
) -> None:
    orders.place(1, 2, 7)
    assert (worker.state, worker.passes, worker.carried) == ("starting", 0, 0)
    start_worker(worker)
    wait_until(lambda: worker.carried == 1)
    # Whoever doubts at once may undo what is under way; under its key, it is begun anew.
    placed = [orders.place(product, 1, 8, key="k") for product in (1, 2, 3)]
    wait_until(lambda: worker.carried == 4)
    wait_until(is_in(worker, "running"))
    assert worker.error is None
    assert worker.stop(wait_seconds=60)
    assert_carried(shop)
    assert_whole(orders, shop, placed)


@pytest.mark.parametrize(
    ("step", "end"),
    [
        *(("claim", "cancelled"), ("record", "complete")),
        *(
            pytest.param(step, "complete", marks=pytest.mark.verify)
            for step in ("settle", "carry", "delete")
        ),
    ],
)
def test_it_ends_what_a_crash_left_after_a_step(
    orders: Orders,
    shop: Stores,
    worker: OrderWorker,
    start_worker: StartWorker,
    step: str,
    end: str,
) -> None:
    token = orders.new_token()
    crash(shop, "after", step, token)
    start_worker(worker)
    wait_until(lambda: state_of(shop, 1, token) == end)
    assert worker.stop(wait_seconds=60)
    assert_carried(shop)
    assert_whole(orders, shop)


def test_it_gives_back_what_is_past_its_deadline_and_leaves_what_is_held(
    orders: Orders, shop: Stores, worker: OrderWorker, start_worker: StartWorker
) -> None:
    orders.stock.reserve({1: 4}, token="short", hold_seconds=0.001)
    orders.stock.reserve({1: 3}, token="long", hold_seconds=NEVER)
    start_worker(worker)
    wait_until(lambda: orders.stock.reservations.state("short") == "expired")
    assert orders.stock.reservations.state("long") == "held"
    assert orders.stock.read([1]) == {1: 7}


def test_it_leaves_what_began_to_be_confirmed_a_moment_ago(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    token = orders.new_token()
    crash(shop, "after", "claim", token)
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=NEVER)
    start_worker(worker)
    wait_until(lambda: worker.passes > 2)
    assert worker.stop(wait_seconds=60)
    assert state_of(shop, 1, token) == "claimed"
    assert orders.place(1, 3, 7, token=token).quantity == 3


@pytest.mark.parametrize("every", [None, SOON])
def test_it_compares_the_stock_with_the_ledger_where_it_is_to(
    orders: Orders, shop: Stores, every: float | None, start_worker: StartWorker
) -> None:
    shop.redis.set("stock:1", 99)
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, reconcile_seconds=every)
    start_worker(worker)
    wait_until(lambda: worker.passes > 2)
    assert shop.redis.get("stock:1") == ("99" if every is None else "10")
    if every is not None:
        shop.redis.set("stock:2", 99)
        wait_until(lambda: shop.redis.get("stock:2") == "10")
    assert worker.stop(wait_seconds=60)


def test_it_compares_them_once_in_a_while_only(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, reconcile_seconds=NEVER)
    start_worker(worker)
    wait_until(lambda: worker.passes > 0)
    shop.redis.set("stock:1", 99)
    passes = worker.passes
    wait_until(lambda: worker.passes > passes + 2)
    assert worker.stop(wait_seconds=60)
    assert shop.redis.get("stock:1") == "99"


def test_who_watches_is_told_and_an_error_of_a_store_is_got_over(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    orders.place(1, 2, 7)
    hook = Crash("before", "delete", redis.ConnectionError())
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, hook=hook)
    start_worker(worker)
    wait_until(lambda: hook.told.count(("before", "delete")) > 2)
    assert worker.stop(wait_seconds=60)
    assert (worker.carried, len(outbox_rows(shop))) == (0, 1)
    assert "Redis at" in (worker.error or "")


def test_it_is_stopped_within_a_pause(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    worker = OrderWorker(connecting(shop), pause_seconds=NEVER)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert worker.stop(wait_seconds=60)
    assert (worker.state, worker.error, worker.passes) == ("ended", None, 1)
    assert "order-worker" not in {thread.name for thread in threading.enumerate()}
    assert repr(worker) == "<OrderWorker, ended>"


def test_it_is_stopped_between_two_batches(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, start_worker: StartWorker
) -> None:
    monkeypatch.setattr("helpers.orders.order_worker._MOST", 1)
    for customer in range(1, 5):
        orders.place(1, 1, customer)

    workers: list[OrderWorker] = []

    def stop(*_: object) -> None:
        workers[0]._stopping.set()

    workers.append(OrderWorker(connecting(shop), pause_seconds=NEVER, hook=stop))
    start_worker(workers[0])
    wait_until(is_in(workers[0], "ended"))
    assert workers[0].carried == 1
    assert len(outbox_rows(shop)) == 3


@pytest.mark.parametrize(
    "store",
    ["postgres", *(pytest.param(store, marks=pytest.mark.verify) for store in ("mongo", "redis"))],
)
def test_a_store_that_is_cut_off_is_told_of_and_its_work_done_when_it_is_back(
    orders: Orders, shop: Stores, store: str, start_worker: StartWorker
) -> None:
    with proxied(shop) as far:
        worker = OrderWorker(connecting(far), pause_seconds=SOON, in_doubt_seconds=0)
        start_worker(worker)
        wait_until(is_in(worker, "running"))
        link = getattr(far.proxies, store)
        link.cut()
        token = orders.new_token()
        crash(shop, "after", "record", token)
        wait_until(is_in(worker, "failing"))
        name = {"postgres": "PostgreSQL", "mongo": "MongoDB", "redis": "Redis"}[store]
        assert (worker.error or "").startswith(f"{name} at ")
        link.restore()
        wait_until(lambda: state_of(shop, 1, token) == "complete")
        wait_until(is_in(worker, "running"))
        assert worker.error is None
        assert worker.stop(wait_seconds=60)
    assert_whole(orders, shop)


@pytest.mark.verify
def test_two_keepers_and_a_client_disturb_nobody(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    workers = [
        start_worker(OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=0))
        for _ in range(2)
    ]
    placed = [orders.place(one % 5 + 1, 1, one % 3 + 1, key=f"k{one}") for one in range(30)]
    wait_until(lambda: not outbox_rows(shop))
    for worker in workers:
        assert worker.stop(wait_seconds=60)
        assert worker.error is None
    assert_carried(shop)
    assert_whole(orders, shop, placed)


def test_stores_that_are_not_there_yet_are_tried_again(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    connect, tries = connecting(shop), 0

    def later() -> Stores:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreError("MongoDB", "there", "nobody listens there", "Start it.")
        return connect()

    worker = OrderWorker(later, pause_seconds=SOON)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert (tries, worker.error) == (3, None)
    assert worker.stop(wait_seconds=60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_is_none_of_a_store_ends_it_and_is_told_of(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, start_worker: StartWorker
) -> None:
    fail(monkeypatch, OrderWorker, "_prepare", CrashError("secret"))
    worker = OrderWorker(connecting(shop), pause_seconds=SOON)
    start_worker(worker)
    wait_until(is_in(worker, "ended"))
    assert worker.error == "The background worker ended with CrashError: see the log."
    assert worker.stop(wait_seconds=60)


@pytest.mark.verify
def test_with_limits_a_silent_store_is_given_up(shop: Stores) -> None:
    """It takes what it is asked, and says nothing."""
    with proxied(shop) as far:
        limits = Limits(answer_seconds=0.2)
        with connecting(far, limits=limits)() as stores:
            ask: dict[str, Callable[[], object]] = {
                "postgres": lambda: stores.postgres.execute("SELECT 1"),
                "mongo": lambda: stores.mongo.command("ping"),
                "redis": stores.redis.ping,
            }
            far.proxies.freeze()
            for name in ("postgres", "mongo", "redis"):
                with pytest.raises(StoreError), stores.explaining():
                    ask[name]()
            far.proxies.restore()
