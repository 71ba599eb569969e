"""Reading counts: one round trip for many, a missing one is not zero, the ledger fills it."""

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
    """A client and a ledger in one that must not be used."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


def commands(client: redis.Redis) -> dict[str, int]:
    found: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in found.items()}


def test_counts_come_from_the_ledger_and_stay(stock: Stock, shop: Stores) -> None:
    assert stock.read([3, 1, 5]) == {3: 10, 1: 10, 5: 0}
    assert shop.redis.mget("stock:3", "stock:1", "stock:5") == ["10", "10", "0"]
    shop.redis.set("stock:1", 7)
    assert stock.read([1, 3]) == {1: 7, 3: 10}


def test_a_missing_count_is_not_zero_and_an_unknown_product_has_none(stock: Stock) -> None:
    assert stock.read([5, 77]) == {5: 0, 77: None}
    assert list(stock.read([77, 5, 1, 5])) == [77, 5, 1]
    assert stock.read([]) == {}


def test_many_are_read_in_one_round_trip(shop: Stores) -> None:
    class Counting(redis.Redis):
        sent = 0

        def execute_command(self, *args: Any, **options: Any) -> Any:
            Counting.sent += 1
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    client = Counting(connection_pool=shop.redis.connection_pool)
    ids = range(1, 1001)
    shop.redis.mset({f"stock:{one}": one for one in ids})
    stock = Stock(client, Untouchable())  # type: ignore[arg-type]
    assert stock.read(ids) == {one: one for one in ids}
    assert Counting.sent == 1


@pytest.mark.parametrize("wrong", NOT_IDS)
def test_what_is_no_id_is_refused_before_anything_is_sent(wrong: object) -> None:
    stock = Stock(Untouchable(), Untouchable())  # type: ignore[arg-type]
    with pytest.raises(StockError, match="is not a valid product id"):
        stock.read([1, wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["", "many", "1.5", "1e3", "９x"])
def test_a_count_that_is_no_number_is_read_anew(stock: Stock, shop: Stores, text: str) -> None:
    shop.redis.set("stock:1", text)
    assert stock.read([1, 2]) == {1: 10, 2: 10}
    assert shop.redis.get("stock:1") == "10"


def test_a_product_that_the_ledger_does_not_know_is_not_asked_for_again_and_again(
    stock: Stock, shop: Stores
) -> None:
    stock.read([77])
    stock.ledger = stock.counts._ledger = Untouchable()  # type: ignore[assignment]
    assert stock.read([77]) == {77: None}


def test_what_was_unknown_is_known_as_soon_as_it_is_delivered(stock: Stock) -> None:
    assert stock.read([77]) == {77: None}
    stock.restock(77, 4)
    assert stock.read([77]) == {77: 4}


class SlowLedger(Ledger):
    """A ledger that waits to be told to answer, and counts how often it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.connections)
        self.asked = 0
        self.go = threading.Event()

    def balances(self, *arguments: Any, **options: Any) -> dict[int, int]:
        self.asked += 1
        answer = super().balances(*arguments, **options)
        assert self.go.wait(10)
        return answer


def test_of_many_readers_one_asks_the_ledger_and_the_others_wait(shop: Stores) -> None:
    ledger = SlowLedger(Stock.of(shop).ledger)
    stock = Stock(shop.redis, ledger, freshness=Freshness(lease_seconds=30))
    answers: list[dict[int, int | None]] = []
    readers = [
        threading.Thread(target=lambda: answers.append(stock.read([1, 2]))) for _ in range(16)
    ]
    for reader in readers:
        reader.start()
    ledger.go.set()
    for reader in readers:
        reader.join()
    assert answers == [{1: 10, 2: 10}] * 16
    assert ledger.asked == 1


def test_an_old_count_is_not_stored_over_a_newer_truth(shop: Stores) -> None:
    """The stale write of cache-aside: read, then somebody changes the ledger, then store."""
    ledger = SlowLedger(Stock.of(shop).ledger)
    slow = Stock(shop.redis, ledger, freshness=Freshness(lease_seconds=30))
    answers: list[dict[int, int | None]] = []
    reader = threading.Thread(target=lambda: answers.append(slow.read([1])))
    reader.start()
    wait_until(lambda: ledger.asked > 0)
    Stock.of(shop).restock(1, 5)  # the reader has read 10 and waits
    ledger.go.set()
    reader.join()
    assert answers == [{1: 15}]
    assert shop.redis.get("stock:1") == "15"
    assert ledger.asked == 2


def test_a_reader_that_dies_with_the_lease_holds_up_nobody_for_long(shop: Stores) -> None:
    stock = Stock(shop.redis, Stock.of(shop).ledger, freshness=Freshness(lease_seconds=0.2))
    shop.redis.set("shop:lease:1", "somebody who died", px=200)
    assert stock.read([1]) == {1: 10}


@pytest.fixture(params=["RESP2", "RESP3"])
def client(request: pytest.FixtureRequest, shop: Stores) -> Iterator[redis.Redis]:
    """The same database by each protocol, with texts not decoded."""
    with another(shop.redis, protocol=int(request.param[-1]), decode_responses=False) as found:
        yield found


def test_both_protocols_and_raw_answers_are_understood(client: redis.Redis, shop: Stores) -> None:
    stock = Stock(client, Stock.of(shop).ledger)
    assert stock.read([1, 5, 77]) == {1: 10, 5: 0, 77: None}
    kept = stock.reserve({1: 2, 2: 1}, token="kept")
    assert stock.reservations.find("kept") == kept
    stock.confirm("kept")
    stock.release(stock.reserve({1: 3}))
    assert stock.reservations.state("kept") == "confirmed"
    assert stock.read([1, 2]) == {1: 8, 2: 9}


def test_the_scripts_survive_that_the_server_forgets_them(stock: Stock, shop: Stores) -> None:
    first = stock.reserve({1: 1})
    second = stock.reserve({1: 1})
    shop.redis.script_flush()
    stock.confirm(first)
    shop.redis.script_flush()
    stock.release(second)
    shop.redis.script_flush()
    stock.reserve({1: 9})
    assert stock.read([1]) == {1: 0}


def test_counts_with_a_limited_life_end_at_different_times(shop: Stores) -> None:
    stock = Stock(
        shop.redis,
        Stock.of(shop).ledger,
        freshness=Freshness(life_seconds=1000, jitter=0.2),
    )
    stock.ledger.set_on_hand(dict.fromkeys(range(1, 201), 3))
    stock.read(range(1, 201))
    lives = [shop.redis.pttl(f"stock:{one}") for one in range(1, 201)]
    assert all(0 < life <= 1_200_000 for life in lives)
    assert min(lives) < 900_000 < 1_100_000 < max(lives)


def test_an_eager_reader_renews_a_count_before_its_end(shop: Stores) -> None:
    def stock(eagerness: float) -> Stock:
        freshness = Freshness(life_seconds=1000, jitter=0, eagerness=eagerness)
        return Stock(shop.redis, Stock.of(shop).ledger, freshness=freshness)

    patient, eager = stock(0), stock(1e9)  # the latter renews whatever is left of the life
    for one in (patient, eager):
        shop.redis.delete("stock:1")
        one.read([1])
        shop.redis.pexpire("stock:1", 5000)
        assert one.read([1]) == {1: 10}
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
def test_senseless_lives_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(StockError):
        Freshness(**options)


def test_no_password_is_in_any_representation(stock: Stock, shop: Stores) -> None:
    password = urlsplit(shop.addresses.redis).password
    assert password is None or password not in repr(stock) + repr(stock.counts)
