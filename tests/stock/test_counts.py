"""Reading stock counts: one round trip for many; missing ones are read from the ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from helpers.errors import StockError
from helpers.stock import Freshness, Ledger, Stock
from helpers.stores import Stores
from helpers.validation import LARGEST_ID
from tests.stock.another import another
from tests.waiting import wait_until

NOT_IDS = [0, -1, True, "1", 1.0, None, LARGEST_ID + 1, b"1", (1,)]


class Untouchable:
    """A client or a ledger that must not be used: any access fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


def commands(client: redis.Redis) -> dict[str, int]:
    found: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in found.items()}


def test_missing_counts_are_read_from_the_ledger_and_cached(stock: Stock, shop: Stores) -> None:
    assert stock.read([3, 1, 5]) == {3: 10, 1: 10, 5: 0}
    assert shop.redis.mget("stock:3", "stock:1", "stock:5") == ["10", "10", "0"]
    shop.redis.set("stock:1", 7)
    assert stock.read([1, 3]) == {1: 7, 3: 10}


def test_a_missing_count_is_not_zero_and_an_unknown_product_is_none(stock: Stock) -> None:
    assert stock.read([5, 77]) == {5: 0, 77: None}
    assert list(stock.read([77, 5, 1, 5])) == [77, 5, 1]
    assert stock.read([]) == {}


def test_many_counts_are_read_in_one_round_trip(shop: Stores) -> None:
    class Counting(redis.Redis):
        sent = 0

        def execute_command(self, *args: Any, **options: Any) -> Any:
            Counting.sent += 1
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    client = Counting(connection_pool=shop.redis.connection_pool)
    ids = range(1, 1001)
    shop.redis.mset({f"stock:{product_id}": product_id for product_id in ids})
    stock = Stock(client, Untouchable())  # type: ignore[arg-type]
    assert stock.read(ids) == {product_id: product_id for product_id in ids}
    assert Counting.sent == 1


@pytest.mark.parametrize("wrong", NOT_IDS)
def test_an_invalid_product_id_raises_stock_error_before_anything_is_sent(wrong: object) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    with pytest.raises(StockError, match="is not a valid product id"):
        stock.read([1, wrong])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "text",
    [
        *("", "many", "1.5", "1e3", "９x", "007", "+5", " 5", "0x10"),
        *("9007199254740993", "-9007199254740993", "9" * 30),  # Lua's numbers are doubles
    ],
)
def test_a_count_that_is_not_a_number_is_rebuilt_from_the_ledger(
    stock: Stock, shop: Stores, text: str
) -> None:
    shop.redis.set("stock:1", text)
    assert stock.read([1, 2]) == {1: 10, 2: 10}
    assert shop.redis.get("stock:1") == "10"
    shop.redis.set("stock:1", text)
    stock.reserve({1: 3})
    assert shop.redis.get("stock:1") == "7"


def test_an_unknown_product_is_remembered_for_a_moment(stock: Stock, shop: Stores) -> None:
    stock.read([77])
    stock.ledger = stock.counts._ledger = Untouchable()  # type: ignore[assignment]
    assert stock.read([77]) == {77: None}


def test_a_delivery_makes_an_unknown_product_known_at_once(stock: Stock) -> None:
    assert stock.read([77]) == {77: None}
    stock.restock(77, 4)
    assert stock.read([77]) == {77: 4}


class SlowLedger(Ledger):
    """A ledger that returns balances only after ``go`` is set, and counts the queries."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.connections)
        self.queries = 0
        self.go = threading.Event()

    def balances(self, *arguments: Any, **options: Any) -> dict[int, int]:
        self.queries += 1
        balances = super().balances(*arguments, **options)
        assert self.go.wait(10)
        return balances


def test_of_many_concurrent_readers_only_one_reads_the_ledger(shop: Stores) -> None:
    ledger = SlowLedger(Stock.of(shop).ledger)
    stock = Stock(shop.redis, ledger, freshness=Freshness(lease_seconds=30))
    results: list[dict[int, int | None]] = []
    readers = [
        threading.Thread(target=lambda: results.append(stock.read([1, 2]))) for _ in range(16)
    ]
    for reader in readers:
        reader.start()
    ledger.go.set()
    for reader in readers:
        reader.join()
    assert results == [{1: 10, 2: 10}] * 16
    assert ledger.queries == 1


def test_an_outdated_count_is_not_stored_after_the_ledger_changed(shop: Stores) -> None:
    """The stale write of cache-aside: a client reads, the ledger changes, the client stores."""
    ledger = SlowLedger(Stock.of(shop).ledger)
    slow = Stock(shop.redis, ledger, freshness=Freshness(lease_seconds=30))
    results: list[dict[int, int | None]] = []
    reader = threading.Thread(target=lambda: results.append(slow.read([1])))
    reader.start()
    wait_until(lambda: ledger.queries > 0)
    Stock.of(shop).restock(1, 5)  # the reader has read 10 and waits
    ledger.go.set()
    reader.join()
    assert results == [{1: 15}]
    assert shop.redis.get("stock:1") == "15"
    assert ledger.queries == 2


def test_the_lease_of_a_crashed_reader_expires(shop: Stores) -> None:
    stock = Stock(shop.redis, Stock.of(shop).ledger, freshness=Freshness(lease_seconds=0.2))
    shop.redis.set("shop:lease:1", "crashed client", px=200)
    assert stock.read([1]) == {1: 10}


@pytest.fixture(params=["RESP2", "RESP3"])
def client(request: pytest.FixtureRequest, shop: Stores) -> Iterator[redis.Redis]:
    """A client of the same database with each protocol, without decoded responses."""
    with another(shop.redis, protocol=int(request.param[-1]), decode_responses=False) as found:
        yield found


def test_resp2_resp3_and_undecoded_responses_are_supported(
    client: redis.Redis, shop: Stores
) -> None:
    stock = Stock(client, Stock.of(shop).ledger)
    assert stock.read([1, 5, 77]) == {1: 10, 5: 0, 77: None}
    kept = stock.reserve({1: 2, 2: 1}, token="kept")
    assert stock.reservations.find("kept") == kept
    stock.confirm("kept")
    stock.release(stock.reserve({1: 3}))
    assert stock.reservations.state("kept") == "confirmed"
    assert stock.read([1, 2]) == {1: 8, 2: 9}


def test_scripts_are_loaded_again_after_script_flush(stock: Stock, shop: Stores) -> None:
    first = stock.reserve({1: 1})
    second = stock.reserve({1: 1})
    shop.redis.script_flush()
    stock.confirm(first)
    shop.redis.script_flush()
    stock.release(second)
    shop.redis.script_flush()
    stock.reserve({1: 9})
    assert stock.read([1]) == {1: 0}


def test_counts_with_a_time_to_live_expire_at_different_times(shop: Stores) -> None:
    stock = Stock(
        shop.redis,
        Stock.of(shop).ledger,
        freshness=Freshness(life_seconds=1000, jitter=0.2),
    )
    stock.ledger.set_on_hand(dict.fromkeys(range(1, 201), 3))
    stock.read(range(1, 201))
    lives = [shop.redis.pttl(f"stock:{product_id}") for product_id in range(1, 201)]
    assert all(0 < life <= 1_200_000 for life in lives)
    assert min(lives) < 900_000 < 1_100_000 < max(lives)


def test_an_eager_reader_renews_a_count_before_it_expires(shop: Stores) -> None:
    def stock(eagerness: float) -> Stock:
        freshness = Freshness(life_seconds=1000, jitter=0, eagerness=eagerness)
        return Stock(shop.redis, Stock.of(shop).ledger, freshness=freshness)

    patient, eager = stock(0), stock(1e9)  # the second one always renews
    for reader in (patient, eager):
        shop.redis.delete("stock:1")
        reader.read([1])
        shop.redis.pexpire("stock:1", 5000)
        assert reader.read([1]) == {1: 10}
    assert (patient.counts.renewals, eager.counts.renewals) == (0, 1)
    assert shop.redis.pttl("stock:1") > 5000


@pytest.mark.parametrize(
    "options",
    [
        {"life_seconds": 0},
        {"life_seconds": -1},
        {"jitter": 1},
        {"eagerness": -1},
        {"lease_seconds": float("nan")},
        {"life_seconds": float("inf")},
    ],
)
def test_invalid_freshness_raises_stock_error(options: dict[str, float]) -> None:
    with pytest.raises(StockError):
        Freshness(**options)


def test_no_repr_contains_a_password(stock: Stock, shop: Stores) -> None:
    password = urlsplit(shop.addresses.redis).password
    assert password is None or password not in repr(stock) + repr(stock.counts)
