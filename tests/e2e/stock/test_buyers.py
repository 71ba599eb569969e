"""Many buyers at once: nothing is sold twice, whatever happens to the server meanwhile."""

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
    """Eight connections to the ledger, for any number of buyers."""
    with ConnectionPool(
        shop.addresses.coordinator,
        min_size=8,
        max_size=8,
        kwargs={"dbname": shop.mongo.name, "autocommit": True},
    ) as found:
        yield found


def patient(url: str, **options: object) -> redis.Redis:
    """Return a client that tries again for a while when its server is away."""
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


def finish(stock: Stock, shop: Stores, how: Counter[str], units: int = UNITS) -> None:
    """End what was abandoned, sell what is left, and look at all of it."""
    stock.reservations._clock = lambda: 2_000_000_000_000  # long after every deadline
    expired = stock.sweep()
    assert len(expired) == how["abandoned"]
    stock.reservations._clock = lambda: 0
    left = stock.read(on_hand(shop.postgres))[1]
    if left:
        stock.confirm(stock.reserve({1: left}))
    assert sold(shop.postgres)[1] == units
    assert on_hand(shop.postgres)[1] == 0
    assert_agreement(shop.postgres, stock.redis)
    ends = Counter(state for state, _ in reservations(stock.redis).values())
    assert set(ends) <= {"confirmed", "released", "expired"}
    assert ends["expired"] == how["abandoned"]


@pytest.mark.parametrize(
    ("buyers", "attempts", "units"),
    [FEW, pytest.param(BUYERS, ATTEMPTS, UNITS, marks=pytest.mark.verify)],
)
def test_many_buyers_of_one_hot_product_get_exactly_what_is_there(
    shop: Stores, pool: ConnectionPool, buyers: int, attempts: int, units: int
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand({1: units})
    plans = plan_attempts(attempts, buyers=buyers, products=[1], largest=2)
    buyer = buyer_of(lambda: another(shop.redis), ledger)
    how = Counter(run_buyers(plans, buyer))
    assert how.total() == attempts
    assert set(how) <= {"confirmed", "released", "abandoned", "sold out"}
    stock = Stock(shop.redis, ledger)
    assert confirmed_units(shop.redis) == sold(shop.postgres)[1] <= units
    finish(stock, shop, how, units)
    assert reconcile(stock).findings == []


@pytest.mark.verify
@pytest.mark.servers
def test_the_same_with_the_server_killed_and_started_again(
    shop: Stores, pool: ConnectionPool
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand({1: UNITS})
    plans = plan_attempts(ATTEMPTS, buyers=BUYERS, products=[1], largest=2)
    with temporary_valkey() as spare:
        buyer = buyer_of(lambda: patient(spare.url), ledger)
        killer = threading.Thread(target=_kill_when_sold, args=(spare, ledger, [50, 150, 250]))
        killer.start()
        how = Counter(run_buyers(plans, buyer))
        killer.join()
        assert how.total() == ATTEMPTS
        with patient(spare.url) as client:
            stock = Stock(client, ledger)
            reconcile(stock, in_doubt_seconds=0)
            assert_agreement(shop.postgres, client)
            assert confirmed_units(client) == sold(shop.postgres)[1] <= UNITS
            finish(stock, shop, how)
            assert reconcile(stock).findings == []


def _kill_when_sold(spare: TemporaryValkey, ledger: Ledger, marks: list[int]) -> None:
    """Kill the server each time that so many units are sold, and start it again."""
    for mark in marks:
        while UNITS - ledger.balances([1])[1] < mark:
            pass
        spare.kill()
        spare.start()


@pytest.mark.verify
@pytest.mark.servers
@pytest.mark.parametrize(("password", "protocol"), [(True, 2), (False, 3)])
def test_buyers_of_many_products_with_and_without_password_by_each_protocol(
    shop: Stores, pool: ConnectionPool, password: bool, protocol: int
) -> None:
    ledger = Ledger(pool)
    ledger.set_on_hand(dict.fromkeys(range(1, 21), 20))
    plans = plan_attempts(800, buyers=16, products=range(1, 21), largest=3)
    with temporary_valkey(password=password) as spare, patient(spare.url) as client:
        buyer = buyer_of(lambda: patient(spare.url, protocol=protocol), ledger)
        how = Counter(run_buyers(plans, buyer))
        assert how["confirmed"] > 100
        stock = Stock(client, ledger)
        stock.read(range(1, 21))
        report = reconcile(stock)
        assert report.findings == []
        assert str(report).endswith("ledger, stock and reservations agree.")
        assert_agreement(shop.postgres, client)
