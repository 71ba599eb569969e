"""The read model returns what the join returns, in one round trip, and tells how stale it is."""

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
from tests.waiting import wait_until

IDS = range(1, 21)


@pytest.fixture
def shop(twenty: Stores) -> Stores:
    """Twenty products."""
    return twenty


@pytest.fixture
def model(shop: Stores) -> Iterator[ReadModel]:
    """A read model whose views are built."""
    with ReadModel(shop) as found:
        assert found.rebuild() == 20
        yield found


def assert_current(shop: Stores) -> None:
    assert read_views(shop, list(IDS)) == Views(batched(shop, IDS), 0)


def test_views_equal_the_join_and_take_one_round_trip(shop: Stores, model: ReadModel) -> None:
    shop.redis.delete("stock:4")
    assert_current(shop)
    with traced(shop) as (counted, trace):
        read_views(counted, list(IDS))
    assert trace.round_trips == {"PostgreSQL": 0, "MongoDB": 0, "Redis": 1}


def test_views_keep_the_requested_order_and_omit_unknown_products(
    shop: Stores, model: ReadModel
) -> None:
    assert [product["id"] for product in read_views(shop, [7, 99, 3]).products] == [7, 3]
    assert read_views(shop, []).products == []


def test_a_new_stock_count_is_visible_at_once(shop: Stores, model: ReadModel) -> None:
    shop.redis.set("stock:1", 3)
    assert read_views(shop, [1]).products[0]["stock"] == "3"


def test_a_new_price_is_visible_after_catch_up_and_views_tell_they_are_behind_until_then(
    shop: Stores, model: ReadModel
) -> None:
    assert set_price(shop, 1, Decimal("999.99")) == 1
    behind = read_views(shop, [1])
    assert (behind.products[0]["price"], behind.behind) == ("1200", 1)
    assert model.catch_up() == 1
    assert read_views(shop, [1]).products[0]["price"] == "999.99"
    assert_current(shop)
    assert model.catch_up() == 0


def test_an_announcement_during_catch_up_does_not_leave_the_views_behind_for_ever(
    shop: Stores, model: ReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The views include it then, but their version does not."""
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


def test_a_changed_document_is_visible_after_catch_up(shop: Stores, model: ReadModel) -> None:
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "New"}})
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"colour": "red"}})
    shop.mongo.productmetas.update_one({"product_id": 5}, {"$set": {"colour": "red"}})
    assert _caught_up(model, 2) >= 2
    assert_current(shop)
    metadata = read_views(shop, [2]).products[0]["metadata"]
    assert metadata is not None
    assert (metadata["description"], metadata["colour"]) == ("New", "red")


def test_a_deleted_document_rebuilds_all_views(shop: Stores, model: ReadModel) -> None:
    shop.mongo.productmetas.delete_one({"product_id": 2})
    assert model.catch_up() == 20
    assert read_views(shop, [2]).products[0]["metadata"] is None
    assert_current(shop)


def test_catch_up_adds_and_deletes_views(shop: Stores, model: ReadModel) -> None:
    shop.postgres.execute("DELETE FROM products WHERE id = 3")
    shop.postgres.execute("INSERT INTO products VALUES (21, 'New', 5, 'desk')")
    announce(shop.redis, [3, 21])
    model.catch_up()
    assert read_views(shop, [3, 21]) == Views(batched(shop, [3, 21]), 0)


def test_catch_up_continues_from_the_last_positions(shop: Stores, model: ReadModel) -> None:
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"description": "One"}})
    assert _caught_up(model, 1) == 1
    model.close()
    shop.mongo.productmetas.update_one({"product_id": 6}, {"$set": {"description": "Two"}})
    set_price(shop, 7, Decimal(1))
    with ReadModel(shop) as another:
        assert _caught_up(another, 2) == 2
    assert_current(shop)


def _caught_up(model: ReadModel, views: int) -> int:
    """Return how many views were rebuilt, once there are ``views``.

    MongoDB may report a change a moment after it has acknowledged the write.
    """
    rebuilt = model.catch_up()

    def enough() -> bool:
        nonlocal rebuilt
        rebuilt += model.catch_up() if rebuilt < views else 0
        return rebuilt >= views

    wait_until(enough)
    return rebuilt


def test_catch_up_without_views_builds_all(shop: Stores) -> None:
    with ReadModel(shop) as model:
        assert model.catch_up() == 20
    assert_current(shop)


def test_dropped_announcements_rebuild_all_views(shop: Stores, model: ReadModel) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    set_price(shop, 2, Decimal(2))
    set_price(shop, 3, Decimal(3))
    shop.redis.xtrim("shop:product-changes", maxlen=1, approximate=False)
    assert model.catch_up() == 20
    assert_current(shop)


def test_announcements_dropped_before_the_first_read_rebuild_all_views(
    shop: Stores, model: ReadModel
) -> None:
    set_price(shop, 1, Decimal(1))
    set_price(shop, 2, Decimal(2))
    shop.redis.xtrim("shop:product-changes", maxlen=1, approximate=False)
    assert model.catch_up() == 20
    assert_current(shop)


def test_a_recreated_stream_rebuilds_all_views(shop: Stores, model: ReadModel) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    set_price(shop, 2, Decimal(2))
    shop.redis.delete("shop:product-changes")
    set_price(shop, 3, Decimal(3))
    assert model.catch_up() == 20
    assert_current(shop)


def test_views_that_are_up_to_date_need_no_older_announcements(
    shop: Stores, model: ReadModel
) -> None:
    set_price(shop, 1, Decimal(1))
    model.catch_up()
    shop.redis.xtrim("shop:product-changes", maxlen=0, approximate=False)
    assert model.catch_up() == 0
    assert_current(shop)


def test_rebuild_repairs_a_lost_announcement(shop: Stores, model: ReadModel) -> None:
    shop.postgres.execute(
        "UPDATE products SET price = 7 WHERE id = 1"
    )  # its writer crashed before announcing it
    assert model.catch_up() == 0
    assert read_views(shop, [1]).products[0]["price"] == "1200"
    model.rebuild()
    assert_current(shop)


def test_only_one_read_model_at_a_time_builds_views(shop: Stores, model: ReadModel) -> None:
    with (
        ReadModel(shop) as another,
        model._locked(),
        pytest.raises(ReadModelError, match="Another background worker"),
    ):
        another.catch_up()
    assert model.catch_up() == 0


def test_a_worker_whose_lock_expired_does_not_write(shop: Stores, model: ReadModel) -> None:
    with model._locked():
        shop.redis.delete("shop:views:lock")  # it expired
        with pytest.raises(ReadModelError):
            model._build([1])
