"""The relay as a program and within the service: it runs until it is stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from helpers.lab.background_programs import start_service
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.saga import state_of
from helpers.settings import PROJECT
from helpers.shop.schema import drop_shop
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from helpers.stores.proxied_stores import proxied
from tests.command_line import Done, run_main
from tests.orders.agreement import assert_consistent, assert_relayed, outbox_rows
from tests.orders.test_saga import crash
from tests.waiting import wait_until


@pytest.fixture
def orders(orders: Orders) -> Orders:
    """The orders, with all stock counts in Redis."""
    orders.stock.read(range(1, 6))
    return orders


def command(shop: Stores, *arguments: str, **environ: str) -> Done:
    return run_main({**os.environ, **environment_of(shop), **environ}, "relay", *arguments)


@contextlib.contextmanager
def start_relay(shop: Stores, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the relay; at the end, stop it as its operator does."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "helpers", "relay", "--every", "0.01"],
            cwd=PROJECT,
            env={**os.environ, **environment_of(shop)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "The relay is running.\n", log.read_text("utf-8")
            yield process
            process.terminate()
            process.wait(60)
        finally:
            process.kill()


def test_once_relays_and_reconciles_and_prints_the_result(orders: Orders, shop: Stores) -> None:
    placed = [orders.place(product, 1, 7) for product in (1, 2)]
    shop.redis.set("stock:3", 99)
    done = command(shop, "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert "product 3: was 99, set to 10" in done.stdout
    assert done.stdout.endswith("\n2 rows of the outbox carried.\n")
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)
    assert command(shop, "--once").stdout.endswith("agree.\n0 rows of the outbox carried.\n")


def test_once_creates_a_missing_shop(shop: Stores) -> None:
    drop_shop(shop)
    assert command(shop, "--once").returncode == 0
    assert outbox_rows(shop) == []


@pytest.mark.parametrize("arguments", [["--every", "0"], ["--every", "soon"]])
def test_an_invalid_pause_is_a_usage_error(shop: Stores, arguments: list[str]) -> None:
    done = command(shop, *arguments)
    assert done.returncode == 2
    assert "is not a number of seconds" in done.stderr


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.verify), signal.SIGTERM]
)
def test_the_relay_runs_until_a_signal_stops_it(
    orders: Orders, shop: Stores, number: signal.Signals, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with start_relay(shop, log) as process:
        orders.place(1, 1, 7)
        wait_until(lambda: not outbox_rows(shop))
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "1 row of the outbox carried.\n")
    assert log.read_text("utf-8") == ""
    assert_relayed(shop)


@pytest.mark.verify
def test_the_relay_recovers_orders_after_crashes(
    orders: Orders, shop: Stores, tmp_path: Path
) -> None:
    with start_relay(shop, tmp_path / "log"):
        placed = [orders.place(n % 5 + 1, 1, 7) for n in range(10)]
        token = orders.new_token()
        crash(shop, "after", "finish", token)
        wait_until(lambda: state_of(shop, 1, token) == "completed")
        wait_until(lambda: not outbox_rows(shop))
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)


@pytest.mark.verify
def test_another_relay_continues_after_one_was_killed(
    orders: Orders, shop: Stores, tmp_path: Path
) -> None:
    placed = []
    for customer in range(1, 4):
        with start_relay(shop, tmp_path / "log") as process:
            placed.append(orders.place(1, 1, customer))
            process.kill()
    while relay(shop):
        pass
    assert_relayed(shop)
    assert_consistent(orders, shop, placed)


@pytest.mark.verify
def test_a_relay_that_cannot_start_reports_the_reason(shop: Stores) -> None:
    done = command(shop, REDIS_URL="redis://:s3cret@127.0.0.1:1/0")
    assert done.returncode == 2
    assert re.match(r"Redis at .*nobody listens", done.stderr)
    assert "s3cret" not in done.stderr


@pytest.mark.verify
def test_an_unavailable_store_is_named_in_the_log(
    orders: Orders, shop: Stores, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with proxied(shop) as far, start_relay(far, log):
        far.proxies.redis.cut()
        wait_until(lambda: "Redis at " in log.read_text("utf-8"))
        order = orders.place(1, 1, 7)
        far.proxies.redis.restore()
        wait_until(lambda: not outbox_rows(shop))
        assert "Traceback" not in log.read_text("utf-8")
    assert_relayed(shop)
    assert_consistent(orders, shop, [order])


@pytest.mark.verify
@pytest.mark.parametrize("options", [[], ["--no-relay"]])
def test_a_service_relays_its_orders_unless_disabled(
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
    assert_relayed(shop)
    assert_consistent(orders, shop)
