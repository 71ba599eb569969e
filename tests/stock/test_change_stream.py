"""The stream of changes: a reader resumes where it stopped, and knows when it has missed any."""

from __future__ import annotations

import pytest

from helpers.errors import StockError
from helpers.stock import ChangeReader, Stock
from helpers.stores import Stores
from tests.stock.another import another


@pytest.fixture
def stock(stock: Stock) -> Stock:
    """The stock, with all counts read."""
    stock.read(range(1, 6))
    return stock


def seen(reader: ChangeReader) -> list[int]:
    changes = reader.read()
    assert changes.complete
    reader.done(changes)
    return sorted(changes.product_ids)


def test_a_reader_sees_what_the_ledger_and_the_end_of_reservations_change(
    stock: Stock, shop: Stores
) -> None:
    reader = ChangeReader(shop.redis, "page")
    assert seen(reader) == []
    stock.restock(1, 5)
    assert seen(reader) == [1]
    assert stock.read([1]) == {1: 15}
    assert seen(reader) == [1]
    stock.confirm(stock.reserve({2: 1, 3: 1}))
    assert seen(reader) == [2, 3]
    stock.release(stock.reserve({4: 1}))
    assert seen(reader) == [4]
    stock.reserve({4: 10})
    assert seen(reader) == [4]  # sold out
    shop.redis.set("stock:2", 99)
    stock.refresh([1, 2, 3, 4])
    assert seen(reader) == [2]
    assert seen(reader) == []


def test_a_reader_that_was_away_misses_nothing(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    stock.restock(2, 5)
    again = ChangeReader(shop.redis, "page")
    assert again.read().product_ids == (2,)
    assert again.read().product_ids == (2,)  # not yet done
    stock.restock(3, 5)
    assert ChangeReader(shop.redis, "page").read().product_ids == (2, 3)
    assert seen(again) == [2, 3]
    assert seen(ChangeReader(shop.redis, "page")) == []


def test_each_reader_has_a_place_of_its_own(stock: Stock, shop: Stores) -> None:
    one, other = ChangeReader(shop.redis, "one"), ChangeReader(shop.redis, "other")
    stock.restock(1, 5)
    assert seen(one) == [1]
    assert seen(other) == [1]


def test_a_batch_is_as_large_as_was_asked_for(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    for product in (1, 2, 3):
        stock.restock(product, 1)
    changes = reader.read(most=2)
    assert changes.product_ids == (1, 2)
    reader.done(changes)
    assert seen(reader) == [3]


def test_a_reader_whose_entries_are_gone_is_told_so(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    stock.restock(2, 5)
    stock.restock(3, 5)
    shop.redis.xtrim("shop:stock-changes", maxlen=1, approximate=False)
    changes = reader.read()
    assert (changes.complete, changes.product_ids) == (False, ())
    reader.done(changes)
    stock.restock(4, 5)
    assert seen(reader) == [4]


def test_a_reader_that_is_up_to_date_needs_no_older_entries(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    shop.redis.xtrim("shop:stock-changes", maxlen=0, approximate=False)
    assert seen(reader) == []


def test_a_reader_of_a_server_that_lost_its_data_is_told_so(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    shop.redis.flushdb()
    stock.restock(2, 5)
    changes = reader.read()
    assert not changes.complete
    reader.done(changes)
    stock.restock(3, 5)
    assert seen(reader) == [3]


def test_a_reader_of_a_stream_that_began_anew_is_told_so(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    stock.restock(2, 5)
    shop.redis.delete("shop:stock-changes")
    stock.restock(3, 5)
    assert not reader.read().complete


def test_a_reader_waits_for_a_change(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    assert reader.read(wait_seconds=0.01).product_ids == ()
    stock.restock(1, 5)
    assert reader.read(wait_seconds=10).product_ids == (1,)


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_and_raw_answers_are_understood(
    stock: Stock, shop: Stores, protocol: int
) -> None:
    with another(shop.redis, protocol=protocol, decode_responses=False) as client:
        reader = ChangeReader(client, "page")
        assert seen(reader) == []
        stock.restock(1, 5)
        stock.restock(2, 5)
        assert seen(reader) == [1, 2]


def test_a_name_that_is_none_is_refused(shop: Stores) -> None:
    with pytest.raises(StockError):
        ChangeReader(shop.redis, "a name")
