"""The stream of changes: a reader resumes at its position, and is told if it missed changes."""

from __future__ import annotations

import pytest

from helpers.errors import StockError
from helpers.stock import ChangeReader, Stock
from helpers.stores import Stores
from tests.stock.another import another


@pytest.fixture
def stock(stock: Stock) -> Stock:
    """The stock, with all counts in Redis."""
    stock.read(range(1, 6))
    return stock


def seen(reader: ChangeReader) -> list[int]:
    changes = reader.read()
    assert changes.complete
    reader.done(changes)
    return sorted(changes.product_ids)


def test_a_reader_gets_changes_of_the_ledger_and_of_ended_reservations(
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


def test_a_reader_continues_from_its_position_after_a_restart(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    stock.restock(2, 5)
    again = ChangeReader(shop.redis, "page")
    assert again.read().product_ids == (2,)
    assert again.read().product_ids == (2,)  # ``done`` was not called
    stock.restock(3, 5)
    assert ChangeReader(shop.redis, "page").read().product_ids == (2, 3)
    assert seen(again) == [2, 3]
    assert seen(ChangeReader(shop.redis, "page")) == []


def test_each_reader_has_its_own_position(stock: Stock, shop: Stores) -> None:
    one, other = ChangeReader(shop.redis, "one"), ChangeReader(shop.redis, "other")
    stock.restock(1, 5)
    assert seen(one) == [1]
    assert seen(other) == [1]


def test_read_returns_at_most_the_given_number_of_entries(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    for product in (1, 2, 3):
        stock.restock(product, 1)
    changes = reader.read(most=2)
    assert changes.product_ids == (1, 2)
    reader.done(changes)
    assert seen(reader) == [3]


def test_a_reader_is_told_if_entries_were_trimmed(stock: Stock, shop: Stores) -> None:
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


def test_a_reader_that_is_up_to_date_ignores_trimmed_entries(stock: Stock, shop: Stores) -> None:
    reader = ChangeReader(shop.redis, "page")
    stock.restock(1, 5)
    assert seen(reader) == [1]
    shop.redis.xtrim("shop:stock-changes", maxlen=0, approximate=False)
    assert seen(reader) == []


def test_a_reader_is_told_if_the_server_lost_its_data(stock: Stock, shop: Stores) -> None:
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


def test_a_reader_is_told_if_the_stream_was_recreated(stock: Stock, shop: Stores) -> None:
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
def test_resp2_resp3_and_undecoded_responses_are_supported(
    stock: Stock, shop: Stores, protocol: int
) -> None:
    with another(shop.redis, protocol=protocol, decode_responses=False) as client:
        reader = ChangeReader(client, "page")
        assert seen(reader) == []
        stock.restock(1, 5)
        stock.restock(2, 5)
        assert seen(reader) == [1, 2]


def test_an_invalid_reader_name_raises_stock_error(shop: Stores) -> None:
    with pytest.raises(StockError):
        ChangeReader(shop.redis, "a name")
