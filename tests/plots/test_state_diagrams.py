"""State diagrams: laid out from a table of transitions, told in words, nothing over another."""

from __future__ import annotations

import io
import itertools

import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from helpers.plots.state_diagrams import Transition, describe_states, draw_states
from helpers.plots.state_layout import arrange, find_columns, find_spots

STATES = ["held", "confirming", "confirmed", "released", "expired"]
TRANSITIONS = [
    ("held", "confirm", "confirming"),
    ("confirming", "ledger says yes", "confirmed"),
    ("held", "release", "released"),
    ("held", "deadline", "expired"),
    ("confirming", "ledger says no", "released"),
]
SAGA = ["started", "paid", "reserved", "shipped", "done", "refunding", "failed", "cancelled"]
SAGA_TRANSITIONS = [
    ("started", "pay", "paid"),
    ("started", "card refused", "failed"),
    ("started", "cancel", "cancelled"),
    ("paid", "reserve", "reserved"),
    ("paid", "out of stock", "refunding"),
    ("reserved", "ship", "shipped"),
    ("reserved", "carrier refuses", "refunding"),
    ("shipped", "delivered", "done"),
    ("shipped", "lost", "reserved"),
    ("refunding", "retry", "refunding"),
    ("refunding", "money returned", "cancelled"),
    ("refunding", "credit given", "cancelled"),
]

#: So many columns that the diagram goes down, with an arrow back, one to itself, one that passes.
LONG = [*SAGA, "rated", "closed"]
LONG_TRANSITIONS = [
    *SAGA_TRANSITIONS,
    ("done", "rate", "rated"),
    ("rated", "close", "closed"),
    ("started", "forget", "closed"),
]


def _texts(figure: Figure) -> dict[str, Bbox]:
    figure.draw_without_rendering()
    return {
        text.get_text(): text.get_window_extent() for axes in figure.axes for text in axes.texts
    }


@pytest.mark.parametrize(
    ("states", "transitions"),
    [(STATES, TRANSITIONS), (SAGA, SAGA_TRANSITIONS), (LONG, LONG_TRANSITIONS)],
)
def test_every_name_stands_clear_of_the_others(
    states: list[str], transitions: list[Transition]
) -> None:
    texts = _texts(draw_states(states, transitions))
    assert set(states) <= set(texts)
    shown = "\n".join(texts).split("\n")
    assert all(name in shown for _, name, _ in transitions)
    for (one, first), (other, second) in itertools.combinations(texts.items(), 2):
        assert not first.overlaps(second), (one, other)


@pytest.mark.parametrize(("states", "wide"), [("abcde", True), ("abcdef", False)])
def test_what_is_too_wide_for_a_page_goes_down(states: str, wide: bool) -> None:
    figure = draw_states(states, [(one, "to", other) for one, other in itertools.pairwise(states)])
    width, height = figure.get_size_inches()
    assert (width > height) == wide
    places = [text.get_position() for text in figure.axes[0].texts if text.get_text() in states]
    along = [x for x, _ in places] if wide else [-y for _, y in places]
    assert along == sorted(along)
    assert len(set(along)) == len(states)


def test_columns_follow_the_longest_way() -> None:
    columns, back = find_columns(STATES, [(source, to) for source, _, to in TRANSITIONS])
    assert columns == {"held": 0, "confirming": 1, "confirmed": 2, "released": 2, "expired": 1}
    assert back == []


def test_ways_back_do_not_count() -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "c")]
    columns, back = find_columns("abc", pairs)
    assert columns == {"a": 0, "b": 1, "c": 2}
    assert sorted(back) == [("c", "a"), ("c", "c")]


def test_rows_are_ordered_so_that_arrows_do_not_cross() -> None:
    pairs = [("a", "x"), ("a", "y"), ("x", "p"), ("y", "q")]
    grid = arrange({"a": 0, "x": 1, "y": 1, "q": 2, "p": 2}, pairs)
    assert (grid[1].index("x") < grid[1].index("y")) == (grid[2].index("p") < grid[2].index("q"))


def test_an_arrow_that_passes_a_column_has_a_place_there() -> None:
    grid = arrange({"a": 0, "b": 1, "c": 2}, [("a", "b"), ("b", "c"), ("a", "c")])
    assert [sorted(map(str, column)) for column in grid] == [["a"], ["('a', 'c')", "b"], ["c"]]
    spots = find_spots(grid, 3.0, 1.0)
    assert spots[1, "b"] != spots[1, ("a", "c")]


def test_it_is_told_in_words() -> None:
    assert describe_states(STATES, TRANSITIONS) == (
        "Begins as held.\n"
        "From held: to confirming by confirm, to released by release, to expired by deadline.\n"
        "From confirming: to confirmed by ledger says yes, to released by ledger says no.\n"
        "Final: confirmed, released, expired."
    )


@pytest.mark.parametrize("states", [[], ["alone"], ["one", "apart"]])
def test_little_can_be_drawn(states: list[str]) -> None:
    draw_states(states, []).savefig(io.BytesIO(), format="png")


def test_an_unknown_state_is_named() -> None:
    for tell in (describe_states, draw_states):
        with pytest.raises(ValueError, match="refund names the state refunded, which is not"):
            tell(["paid"], [("paid", "refund", "refunded")])
