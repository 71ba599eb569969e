"""Joined views equal newly encoded JSON; expired keys are returned once."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import ReadModelError
from helpers.read_model.joined_views import ExpiryTimes, JoinedViews

_IDS = st.integers(min_value=1, max_value=12)
_STOCKS = st.none() | st.integers(min_value=0, max_value=99).map(str)
_NAMES = st.sampled_from(["", "ä", 'quoted "', "stock", '"stock":null}', "\u2028"])
_CHANGES = st.lists(
    st.tuples(st.just("view"), _IDS, _NAMES)
    | st.tuples(st.just("stock"), _IDS, _STOCKS)
    | st.tuples(st.just("gone"), _IDS, st.none())
)


def view(product_id: int, name: str) -> bytes:
    return orjson.dumps({"id": product_id, "name": name, "metadata": None, "stock": None})


def put(joined: JoinedViews, product_id: int, name: str, stock: str | None) -> None:
    joined.put_view(product_id, view(product_id, name))
    joined.put_stock(product_id, stock)


@given(_CHANGES)
def test_joined_views_equal_newly_encoded_json_after_any_changes(
    changes: list[tuple[str, int, Any]],
) -> None:
    joined = JoinedViews()
    shown: dict[int, dict[str, Any]] = {}
    digests: dict[str, bytes] = {}
    for what, product_id, value in changes:
        if what == "gone":
            joined.put_view(product_id, b"")
            shown.pop(product_id, None)
        elif what == "view":
            stock = shown.get(product_id, {"stock": "7"})["stock"]
            joined.put_view(product_id, view(product_id, value))
            if product_id not in joined:
                joined.put_stock(product_id, stock)
            shown[product_id] = orjson.loads(view(product_id, value)) | {"stock": stock}
        elif product_id in shown:
            joined.put_stock(product_id, value)
            shown[product_id]["stock"] = value
        body = joined.body()
        assert body == orjson.dumps([shown[number] for number in sorted(shown)])
        assert (len(joined), set(shown)) == (
            len(shown),
            {number for number in shown if number in joined},
        )
        assert digests.setdefault(joined.digest(), body) == body
    assert len(set(digests.values())) == len(digests)


def test_the_body_is_the_same_object_until_something_differs() -> None:
    joined = JoinedViews()
    put(joined, 2, "B", "5")
    put(joined, 1, "A", None)
    body, digest = joined.body(), joined.digest()
    joined.put_view(1, view(1, "A"))
    joined.put_stock(2, "5")
    joined.put_view(3, b"")
    assert joined.body() is body
    joined.put_stock(2, "4")
    assert joined.body() != body
    joined.put_stock(2, "5")
    assert (joined.body(), joined.digest()) == (body, digest)


def test_a_product_without_a_stock_count_is_not_shown() -> None:
    joined = JoinedViews()
    joined.put_view(1, view(1, "A"))
    assert (joined.body(), len(joined), 1 in joined) == (b"[]", 0, False)
    joined.put_stock(1, None)
    assert orjson.loads(joined.body())[0]["stock"] is None


@pytest.mark.parametrize("text", [b"x", b'{"id":1}', b'{"id":1,"stock":"5"}'])
def test_an_invalid_view_raises_an_error_that_names_the_product(text: bytes) -> None:
    joined = JoinedViews()
    put(joined, 1, "A", "5")
    body = joined.body()
    with pytest.raises(ReadModelError, match=r"The view of product 1 .* Rebuild"):
        joined.put_view(1, text)
    assert joined.body() == body


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 20))))
def test_keys_expire_at_their_last_expiry_time(changes: list[tuple[bytes, float | None]]) -> None:
    expiry = ExpiryTimes()
    times: dict[bytes, float] = {}
    for now, (key, end) in enumerate(changes):
        expiry.put(key, end)
        if end is None:
            times.pop(key, None)
        else:
            times[key] = end
        assert expiry.next <= min(times.values(), default=math.inf)
        expired = {key for key, when in times.items() if when <= now}
        assert expiry.take(now) == expired
        times = {key: when for key, when in times.items() if key not in expired}
    assert expiry.take(math.inf) == set(times)
    assert expiry.next == math.inf


def test_stale_expiry_times_do_not_accumulate() -> None:
    expiry = ExpiryTimes()
    for end in range(100_000):
        expiry.put(b"a", end)
    assert len(expiry._heap) < 2000
    assert expiry.take(99_998) == set()
    assert expiry.take(99_999) == {b"a"}
