"""The background worker of the orders: it relays and recovers until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import redis

from helpers.errors import StoreError
from helpers.orders.order_worker import OrderWorker
from helpers.orders.orders import Orders
from helpers.orders.saga import state_of
from helpers.stores import Stores
from helpers.stores.connection_limits import Limits
from helpers.stores.proxied_stores import proxied
from helpers.stores.stores import connect_all
from tests.background_workers import NEVER, SOON, StartWorker, is_in
from tests.orders.agreement import assert_consistent, assert_relayed, outbox_rows
from tests.orders.test_orders_failures import CrashError, fail
from tests.orders.test_saga import Crash, crash
from tests.waiting import wait_until


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all stock counts in Redis."""
    orders.stock.read(range(1, 6))
    return orders


def connecting(stores: Stores, *, limits: Limits | None = None) -> Callable[[], Stores]:
    number = stores.redis.connection_pool.connection_kwargs["db"]
    return lambda: connect_all(
        stores.addresses, database=stores.mongo.name, redis_database=number, limits=limits
    )


@pytest.fixture
def worker(shop: Stores) -> OrderWorker:
    """A worker with short pauses that decides unfinished confirmations at once; not started."""
    return OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=0)


def test_the_worker_relays_orders_until_it_is_stopped(
    orders: Orders, shop: Stores, worker: OrderWorker, start_worker: StartWorker
) -> None:
    orders.place(1, 2, 7)
    assert (worker.state, worker.passes, worker.relayed) == ("starting", 0, 0)
    start_worker(worker)
    wait_until(lambda: worker.relayed == 1)
    # The worker may cancel a confirmation in progress; under its key, it is placed again.
    placed = [orders.place(product, 1, 8, key="k") for product in (1, 2, 3)]
    wait_until(lambda: worker.relayed == 4)
    wait_until(is_in(worker, "running"))
    assert worker.error is None
    assert worker.stop(wait_seconds=60)
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)


@pytest.mark.parametrize(
    ("step", "end"),
    [
        *(("confirm", "released"), ("record", "completed")),
        *(
            pytest.param(step, "completed", marks=pytest.mark.verify)
            for step in ("finish", "relay", "acknowledge")
        ),
    ],
)
def test_the_worker_recovers_an_order_after_a_crash_at_any_step(
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
    assert_relayed(shop)
    assert_consistent(orders, shop)


def test_the_worker_expires_overdue_reservations_only(
    orders: Orders, shop: Stores, worker: OrderWorker, start_worker: StartWorker
) -> None:
    orders.stock.reserve({1: 4}, token="short", hold_seconds=0.001)
    orders.stock.reserve({1: 3}, token="long", hold_seconds=NEVER)
    start_worker(worker)
    wait_until(lambda: orders.stock.reservations.state("short") == "expired")
    assert orders.stock.reservations.state("long") == "reserved"
    assert orders.stock.read([1]) == {1: 7}


def test_the_worker_leaves_recent_confirmations_to_their_clients(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    token = orders.new_token()
    crash(shop, "after", "confirm", token)
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=NEVER)
    start_worker(worker)
    wait_until(lambda: worker.passes > 2)
    assert worker.stop(wait_seconds=60)
    assert state_of(shop, 1, token) == "confirming"
    assert orders.place(1, 3, 7, token=token).quantity == 3


@pytest.mark.parametrize("every", [None, SOON])
def test_the_worker_reconciles_the_stock_if_configured(
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


def test_the_worker_reconciles_at_intervals_only(
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


def test_the_worker_calls_its_hook_and_continues_after_a_store_error(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    orders.place(1, 2, 7)
    hook = Crash("before", "acknowledge", redis.ConnectionError())
    worker = OrderWorker(connecting(shop), pause_seconds=SOON, hook=hook)
    start_worker(worker)
    wait_until(lambda: hook.calls.count(("before", "acknowledge")) > 2)
    assert worker.stop(wait_seconds=60)
    assert (worker.relayed, len(outbox_rows(shop))) == (0, 1)
    assert "Redis at" in (worker.error or "")


def test_the_worker_stops_during_a_pause(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    worker = OrderWorker(connecting(shop), pause_seconds=NEVER)
    start_worker(worker)
    wait_until(is_in(worker, "running"))
    assert worker.stop(wait_seconds=60)
    assert (worker.state, worker.error, worker.passes) == ("ended", None, 1)
    assert "order-worker" not in {thread.name for thread in threading.enumerate()}
    assert repr(worker) == "<OrderWorker, ended>"


def test_the_worker_stops_between_two_batches(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, start_worker: StartWorker
) -> None:
    monkeypatch.setattr("helpers.orders.order_worker._MOST_ROWS", 1)
    for customer in range(1, 5):
        orders.place(1, 1, customer)

    workers: list[OrderWorker] = []

    def stop(*_: object) -> None:
        workers[0]._stopping.set()

    workers.append(OrderWorker(connecting(shop), pause_seconds=NEVER, hook=stop))
    start_worker(workers[0])
    wait_until(is_in(workers[0], "ended"))
    assert workers[0].relayed == 1
    assert len(outbox_rows(shop)) == 3


@pytest.mark.parametrize(
    "store",
    ["postgres", *(pytest.param(store, marks=pytest.mark.verify) for store in ("mongo", "redis"))],
)
def test_the_worker_reports_an_unavailable_store_and_recovers(
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
        wait_until(lambda: state_of(shop, 1, token) == "completed")
        wait_until(is_in(worker, "running"))
        assert worker.error is None
        assert worker.stop(wait_seconds=60)
    assert_consistent(orders, shop)


@pytest.mark.verify
def test_two_workers_and_a_client_run_concurrently(
    orders: Orders, shop: Stores, start_worker: StartWorker
) -> None:
    workers = [
        start_worker(OrderWorker(connecting(shop), pause_seconds=SOON, in_doubt_seconds=0))
        for _ in range(2)
    ]
    placed = [orders.place(n % 5 + 1, 1, n % 3 + 1, key=f"k{n}") for n in range(30)]
    wait_until(lambda: not outbox_rows(shop))
    for worker in workers:
        assert worker.stop(wait_seconds=60)
        assert worker.error is None
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)


def test_the_worker_retries_until_the_stores_are_available(
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
def test_an_unexpected_error_ends_the_worker_and_is_reported(
    orders: Orders, shop: Stores, monkeypatch: pytest.MonkeyPatch, start_worker: StartWorker
) -> None:
    fail(monkeypatch, OrderWorker, "_run_passes", CrashError("secret"))
    worker = OrderWorker(connecting(shop), pause_seconds=SOON)
    start_worker(worker)
    wait_until(is_in(worker, "ended"))
    assert worker.error == "The background worker ended with CrashError: see the log."
    assert worker.stop(wait_seconds=60)


@pytest.mark.verify
def test_with_limits_a_request_to_an_unresponsive_store_fails(shop: Stores) -> None:
    """The store accepts requests and never responds."""
    with proxied(shop) as far:
        limits = Limits(answer_seconds=0.2)
        with connecting(far, limits=limits)() as stores:
            ask: dict[str, Callable[[], object]] = {
                "postgres": lambda: stores.postgres.execute("SELECT 1"),
                "mongo": lambda: stores.mongo.command("ping"),
                "redis": stores.redis.ping,
            }
            for proxy in far.proxies.all():
                proxy.freeze()
            for name in ("postgres", "mongo", "redis"):
                with pytest.raises(StoreError), stores.explaining():
                    ask[name]()
            far.proxies.restore()
