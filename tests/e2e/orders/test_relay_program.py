"""The relay as a program, and within the service: it is at work until it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest

from helpers.errors import ServerError
from helpers.lab.background_programs import start_order_worker, start_service
from helpers.orders.order_states import state_of
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.settings import PROJECT
from helpers.shop.schema import drop_shop
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from helpers.stores.proxied_stores import proxied
from tests.commanding import Done, run_here
from tests.orders.agreement import assert_carried, assert_whole, outbox_rows
from tests.orders.test_saga import crash
from tests.waiting import wait_until

SOON = 0.01


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all counts read."""
    orders.stock.read(range(1, 6))
    return orders


def command(shop: Stores, *arguments: str) -> Done:
    return run_here({**os.environ, **environment_of(shop)}, "relay", *arguments)


def test_once_it_carries_and_reconciles_and_says_so(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(product, 1, 7) for product in (1, 2)]
    shop.redis.set("stock:3", 99)
    done = command(shop, "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert "product 3: was 99, set to 10" in done.stdout
    assert done.stdout.endswith("\n2 rows of the outbox carried.\n")
    assert_carried(shop)
    assert_whole(orders, shop, placed)
    assert command(shop, "--once").stdout.endswith("agree.\n0 rows of the outbox carried.\n")


def test_once_it_makes_the_shop_where_there_is_none(shop: Stores) -> None:
    drop_shop(shop)
    assert command(shop, "--once").returncode == 0
    assert outbox_rows(shop) == []


@pytest.mark.parametrize("arguments", [["--every", "0"], ["--every", "soon"]])
def test_what_is_no_pause_is_refused(shop: Stores, arguments: list[str]) -> None:
    done = command(shop, *arguments)
    assert done.returncode == 2
    assert "is no number of seconds" in done.stderr


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.verify), signal.SIGTERM]
)
def test_it_is_at_work_until_a_signal_ends_it_cleanly(
    orders: Orders, shop: Stores, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers", "relay", "--every", "0.01"],
        cwd=PROJECT,
        env={**os.environ, **environment_of(shop)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "The relay is at work.\n"
        orders.place(1, 1, 7)
        wait_until(lambda: not outbox_rows(shop))
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said, errors) == (0, "1 row of the outbox carried.\n", "")
    assert_carried(shop)


@pytest.mark.verify
def test_in_the_background_it_carries_and_ends_what_crashes_left(
    orders: Orders, shop: Stores
) -> None:
    with start_order_worker(shop, every=SOON) as running:
        os.kill(running.pid, 0)
        placed = [orders.place(one % 5 + 1, 1, 7) for one in range(10)]
        token = orders.new_token()
        crash(shop, "after", "settle", token)
        wait_until(lambda: state_of(shop, 1, token) == "complete")
        wait_until(lambda: not outbox_rows(shop))
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)
    assert_carried(shop)
    assert_whole(orders, shop, placed)


@pytest.mark.verify
def test_one_that_was_killed_is_followed_by_another(orders: Orders, shop: Stores) -> None:
    placed = []
    for customer in range(1, 4):
        with start_order_worker(shop, every=SOON) as running:
            placed.append(orders.place(1, 1, customer))
            os.kill(running.pid, signal.SIGKILL)
    while relay(shop):
        pass
    assert_carried(shop)
    assert_whole(orders, shop, placed)


@pytest.mark.verify
def test_one_that_cannot_start_says_why(shop: Stores) -> None:
    nobody = {"REDIS_URL": "redis://:s3cret@127.0.0.1:1/0"}
    said = r"The relay did not start: Redis at .*nobody listens"
    with pytest.raises(ServerError, match=said) as caught, start_order_worker(shop, environ=nobody):
        pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.verify
def test_a_store_that_is_cut_off_meanwhile_is_named_in_the_log(
    orders: Orders, shop: Stores
) -> None:
    with proxied(shop) as far, start_order_worker(far, every=SOON) as running:
        far.proxies.redis.cut()
        wait_until(lambda: "Redis at " in running.log.read_text("utf-8"))
        order = orders.place(1, 1, 7)
        far.proxies.redis.restore()
        wait_until(lambda: not outbox_rows(shop))
        assert "Traceback" not in running.log.read_text("utf-8")
    assert_carried(shop)
    assert_whole(orders, shop, [order])


@pytest.mark.verify
@pytest.mark.parametrize("options", [[], ["--no-relay"]])
def test_a_service_carries_its_orders_unless_told_not_to(
    orders: Orders, shop: Stores, options: list[str]
) -> None:
    with (
        start_service(shop, *options) as service,
        httpx.Client(base_url=service.url, headers=service.write_headers, timeout=30) as client,
    ):
        order = {"product_id": 1, "quantity": 2, "customer_id": 7}
        assert client.post("/api/orders", json=order).status_code == 201
        if not options:
            wait_until(lambda: not outbox_rows(shop))
    if options:
        assert len(outbox_rows(shop)) == 1
        assert relay(shop) == 1
    assert_carried(shop)
    assert_whole(orders, shop)
