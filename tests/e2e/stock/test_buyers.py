"""Many concurrent buyers: no unit is sold twice, even if the server is killed meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import redis
from psycopg_pool import ConnectionPool
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.lab.buyers import Act, buying, plan_attempts, run_buyers
from helpers.stock import Ledger, Stock, reconcile
from helpers.stores import Stores
from tests.stock.agreement import assert_agreement, on_hand, reservations, sold
from tests.stock.another import another

Buyer = Callable[[int], AbstractContextManager[Act[str]]]

BUYERS, ATTEMPTS, UNITS = 64, 10_000, 400
FEW = (16, 600, 60)


@pytest.fixture
def pool(shop: Stores) -> Iterator[ConnectionPool]:
    """Eight connections to the ledger, shared by all buyers."""
    with ConnectionPool(
        shop.addresses.coordinator,
        min_size=8,
        max_size=8,
        kwargs={"dbname": shop.mongo.name, "autocommit": True},
    ) as found:
        yield found


def patient(url: str, **options: object) -> redis.Redis:
    """Return a client that retries for 20 seconds if its server is unavailable."""
    return redis.Redis.from_url(
        url, decode_responses=True, retry=Retry(ConstantBackoff(0.05), 400), **options
    )


def buyer_of(connect: Callable[[], redis.Redis], ledger: Ledger) -> Buyer:
    @contextlib.contextmanager
    def buyer(_: int) -> Iterator[Act[str]]:
        with connect() as client:
            yield buying(Stock(client, ledger), hold_seconds=3600)

    return buyer


def confirmed_units(client: redis.Redis) -> int:
    found = reservations(client).values()
    return sum(units.total() for state, units in found if state == "confirmed")


def finish(stock: Stock, shop: Stores, endings: Counter[str], units: int = UNITS) -> None:
    """Expire abandoned reservations, sell the rest, and assert that everything agrees."""
    stock.reservations._clock = lambda: 2_000_000_000_000  # long after every deadline
    expired = stock.sweep()
    assert len(expired) == endings["abandoned"]
    stock.reservations._clock = lambda: 0
    left = stock.read(on_hand(shop.postgres))[1]
    if left:
        stock.confirm(stock.reserve({1: left}))
    assert sold(shop.postgres)[1] == units
    assert on_hand(shop.postgres)[1] == 0
    assert_agreement(shop.postgres, stock.redis)
    states = Counter(state for state, _ in reservations(stock.redis).values())
    assert set(states) <= {"confirmed", "released", "expired"}
    assert states["expired"] == endings["abandoned"]


@pytest.mark.parametrize(
    ("buyers", "attempts", "units"),
    [FEW, pytest.param(BUYERS, ATTEMPTS, UNITS, marks=pytest.mark.verify)],
)
def test_concurrent_buyers_of_one_product_buy_exactly_its_stock(
    shop: Stores, pool: ConnectionPool, buyers: int, attempts: int, units: int
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand({1: units})
    plans = plan_attempts(attempts, buyers=buyers, products=[1], largest=2)
    buyer = buyer_of(lambda: another(shop.redis), ledger)
    endings = Counter(run_buyers(plans, buyer))
    assert endings.total() == attempts
    assert set(endings) <= {"confirmed", "released", "abandoned", "sold out"}
    stock = Stock(shop.redis, ledger)
    assert confirmed_units(shop.redis) == sold(shop.postgres)[1] <= units
    finish(stock, shop, endings, units)
    assert reconcile(stock).findings == []


@pytest.mark.verify
@pytest.mark.servers
def test_concurrent_buyers_while_redis_is_killed_and_restarted(
    shop: Stores, pool: ConnectionPool
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand({1: UNITS})
    plans = plan_attempts(ATTEMPTS, buyers=BUYERS, products=[1], largest=2)
    with temporary_valkey() as server:
        buyer = buyer_of(lambda: patient(server.url), ledger)
        killer = threading.Thread(target=_kill_when_sold, args=(server, ledger, [50, 150, 250]))
        killer.start()
        endings = Counter(run_buyers(plans, buyer))
        killer.join()
        assert endings.total() == ATTEMPTS
        with patient(server.url) as client:
            stock = Stock(client, ledger)
            reconcile(stock, in_doubt_seconds=0)
            assert_agreement(shop.postgres, client)
            assert confirmed_units(client) == sold(shop.postgres)[1] <= UNITS
            finish(stock, shop, endings)
            assert reconcile(stock).findings == []


def _kill_when_sold(server: TemporaryValkey, ledger: Ledger, marks: list[int]) -> None:
    """Kill and restart the server each time so many units are sold."""
    for mark in marks:
        while UNITS - ledger.balances([1])[1] < mark:
            pass
        server.kill()
        server.start()


@pytest.mark.verify
@pytest.mark.servers
@pytest.mark.parametrize(("password", "protocol"), [(True, 2), (False, 3)])
def test_buyers_of_many_products_with_each_protocol(
    shop: Stores, pool: ConnectionPool, password: bool, protocol: int
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand(dict.fromkeys(range(1, 21), 20))
    plans = plan_attempts(800, buyers=16, products=range(1, 21), largest=3)
    with temporary_valkey(password=password) as server, patient(server.url) as client:
        buyer = buyer_of(lambda: patient(server.url, protocol=protocol), ledger)
        endings = Counter(run_buyers(plans, buyer))
        assert endings["confirmed"] > 100
        stock = Stock(client, ledger)
        stock.read(range(1, 21))
        report = reconcile(stock)
        assert report.findings == []
        assert str(report).endswith("ledger, stock and reservations agree.")
        assert_agreement(shop.postgres, client)
