"""The joined views are the JSON that would be written anew; ends of lives come in order, once."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import ReadModelError
from helpers.read_model.joined_views import JoinedViews, Lives

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
def test_they_are_what_would_be_written_anew_after_any_changes(
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
        assert body == orjson.dumps([shown[one] for one in sorted(shown)])
        assert (len(joined), set(shown)) == (len(shown), {one for one in shown if one in joined})
        assert digests.setdefault(joined.digest(), body) == body
    assert len(set(digests.values())) == len(digests)


def test_they_are_the_same_object_until_something_is_different() -> None:
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


def test_a_product_without_its_count_is_not_shown() -> None:
    joined = JoinedViews()
    joined.put_view(1, view(1, "A"))
    assert (joined.body(), len(joined), 1 in joined) == (b"[]", 0, False)
    joined.put_stock(1, None)
    assert orjson.loads(joined.body())[0]["stock"] is None


@pytest.mark.parametrize("text", [b"x", b'{"id":1}', b'{"id":1,"stock":"5"}'])
def test_what_is_no_view_is_refused_and_named(text: bytes) -> None:
    joined = JoinedViews()
    put(joined, 1, "A", "5")
    body = joined.body()
    with pytest.raises(ReadModelError, match=r"The view of product 1 .* Rebuild"):
        joined.put_view(1, text)
    assert joined.body() == body


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 20))))
def test_keys_end_when_their_last_life_says(changes: list[tuple[bytes, float | None]]) -> None:
    lives = Lives()
    ends: dict[bytes, float] = {}
    for now, (key, end) in enumerate(changes):
        lives.put(key, end)
        if end is None:
            ends.pop(key, None)
        else:
            ends[key] = end
        assert lives.next_end <= min(ends.values(), default=math.inf)
        ended = {one for one, when in ends.items() if when <= now}
        assert lives.take(now) == ended
        ends = {one: when for one, when in ends.items() if one not in ended}
    assert lives.take(math.inf) == set(ends)
    assert lives.next_end == math.inf


def test_ends_that_hold_no_more_do_not_pile_up() -> None:
    lives = Lives()
    for end in range(100_000):
        lives.put(b"a", end)
    assert len(lives._heap) < 2000
    assert lives.take(99_998) == set()
    assert lives.take(99_999) == {b"a"}
