"""The read model: the same answer in one round trip, a little later, and it says how much."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from helpers.errors import ReadModelError
from helpers.joins import batched
from helpers.read_model.product_changes import announce, set_price
from helpers.read_model.views import ReadModel, Views, read_views
from helpers.stores import Stores
from helpers.stores.tracing import traced

IDS = range(1, 21)


@pytest.fixture
def shop(twenty: Stores) -> Stores:
    """Twenty products."""
    return twenty


@pytest.fixture
def model(shop: Stores) -> Iterator[ReadModel]:
    """The keeper, its views made."""
    with ReadModel(shop) as found:
        assert found.rebuild() == 20
        yield found


def assert_current(shop: Stores) -> None:
    assert read_views(shop, list(IDS)) == Views(batched(shop, IDS), 0)


def test_views_answer_what_the_join_answers_in_one_round_trip(
    shop: Stores, model: ReadModel
) -> None:
    shop.redis.delete("stock:4")
    assert_current(shop)
    with traced(shop) as (counted, trace):
        read_views(counted, list(IDS))
    assert trace.round_trips == {"PostgreSQL": 0, "MongoDB": 0, "Redis": 1}


def test_they_come_in_the_order_asked_for_without_those_that_are_not_there(
    shop: Stores, model: ReadModel
) -> None:
    assert [one["id"] for one in read_views(shop, [7, 99, 3]).products] == [7, 3]
    assert read_views(shop, []).products == []


def test_a_sale_shows_at_once(shop: Stores, model: ReadModel) -> None:
    shop.redis.set("stock:1", 3)
    assert read_views(shop, [1]).products[0]["stock"] == "3"


def test_a_price_shows_when_the_keeper_has_caught_up_and_until_then_the_views_say_so(
    shop: Stores, model: ReadModel
) -> None:
    assert set_price(shop, 1, Decimal("999.99")) == 1
    behind = read_views(shop, [1])
    assert (behind.products[0]["price"], behind.behind) == ("1200", 1)
    assert model.catch_up() == 1
    assert read_views(shop, [1]).products[0]["price"] == "999.99"
    assert_current(shop)
    assert model.catch_up() == 0


def test_what_is_announced_while_the_keeper_catches_up_is_not_behind_for_ever(
    shop: Stores, model: ReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the views then, but not in the count of what is."""
    announced = model._announced

    def just_before(position: str) -> tuple[set[int], str] | None:
        set_price(shop, 1, Decimal("999.99"))
        return announced(position)

    with monkeypatch.context() as patch:
        patch.setattr(model, "_announced", just_before)
        assert model.catch_up() == 1
    behind = read_views(shop, [1])
    assert (behind.products[0]["price"], behind.behind) == ("999.99", 1)
    assert model.catch_up() == 0
    assert_current(shop)


def test_a_changed_document_shows_when_the_keeper_has_caught_up(
    shop: Stores, model: ReadModel
) -> None:
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "New"}})
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"colour": "red"}})
    shop.mongo.productmetas.update_one({"product_id": 5}, {"$set": {"colour": "red"}})
    assert model.catch_up() == 2
    assert_current(shop)
    metadata = read_views(shop, [2]).products[0]["metadata"]
    assert metadata is not None
    assert (metadata["description"], metadata["colour"]) == ("New", "red")


def test_a_deleted_document_makes_all_views_anew(shop: Stores, model: ReadModel) -> None:
    shop.mongo.productmetas.delete_one({"product_id": 2})
    assert model.catch_up() == 20
    assert read_views(shop, [2]).products[0]["metadata"] is None
    assert_current(shop)


def test_products_come_and_go(shop: Stores, model: ReadModel) -> None:
    shop.postgres.execute("DELETE FROM products WHERE id = 3")
    shop.postgres.execute("INSERT INTO products VALUES (21, 'New', 5, 'desk')")
    announce(shop.redis, [3, 21])
    model.catch_up()
    assert read_views(shop, [3, 21]) == Views(batched(shop, [3, 21]), 0)


def test_a_new_keeper_goes_on_where_the_last_one_stopped(shop: Stores, model: ReadModel) -> None:
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "One"}})
    assert model.catch_up() == 1
    model.close()
    shop.mongo.productmetas.update_one({"product_id": 6}, {"$set": {"description": "Two"}})
    set_price(shop, 7, Decimal(1))
    with ReadModel(shop) as another:
        assert another.catch_up() == 2
    assert_current(shop)


def test_a_keeper_without_views_makes_them(shop: Stores) -> None:
    with ReadModel(shop) as model:
        assert model.catch_up() == 20
    assert_current(shop)


def test_announcements_that_are_gone_make_all_views_anew(shop: Stores, model: ReadModel) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    set_price(shop, 2, Decimal(2))
    set_price(shop, 3, Decimal(3))
    shop.redis.xtrim("shop:product-changes", maxlen=1, approximate=False)
    assert model.catch_up() == 20
    assert_current(shop)


def test_announcements_that_were_gone_before_any_was_read_make_all_views_anew(
    shop: Stores, model: ReadModel
) -> None:
    set_price(shop, 1, Decimal(1))
    set_price(shop, 2, Decimal(2))
    shop.redis.xtrim("shop:product-changes", maxlen=1, approximate=False)
    assert model.catch_up() == 20
    assert_current(shop)


def test_a_stream_that_began_anew_makes_all_views_anew(shop: Stores, model: ReadModel) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    set_price(shop, 2, Decimal(2))
    shop.redis.delete("shop:product-changes")
    set_price(shop, 3, Decimal(3))
    assert model.catch_up() == 20
    assert_current(shop)


def test_a_keeper_that_is_up_to_date_needs_no_older_announcements(
    shop: Stores, model: ReadModel
) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    shop.redis.xtrim("shop:product-changes", maxlen=0, approximate=False)
    assert model.catch_up() == 0
    assert_current(shop)


def test_an_announcement_that_was_lost_is_made_good_by_rebuilding(
    shop: Stores, model: ReadModel
) -> None:
    shop.postgres.execute("UPDATE products SET price = 7 WHERE id = 1")  # and its writer died
    assert model.catch_up() == 0
    assert read_views(shop, [1]).products[0]["price"] == "1200"
    model.rebuild()
    assert_current(shop)


def test_two_keepers_are_not_at_work_at_once(shop: Stores, model: ReadModel) -> None:
    with (
        ReadModel(shop) as another,
        model._keeping(),
        pytest.raises(ReadModelError, match="Another keeper"),
    ):
        another.catch_up()
    assert model.catch_up() == 0


def test_a_keeper_that_was_away_too_long_writes_nothing_over_its_successor(
    shop: Stores, model: ReadModel
) -> None:
    with model._keeping():
        shop.redis.delete("shop:views:keeper")  # its time ran out
        with pytest.raises(ReadModelError):
            model._make([1])
