"""A state diagram, drawn and told from a table of transitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from helpers.plots.palette import GRID, INK, PAPER
from helpers.plots.state_layout import (
    Pair,
    Point,
    arrange,
    find_columns,
    find_routes,
    find_spots,
)

#: From which state, by what, to which state.
Transition = tuple[str, str, str]

# About how wide a letter and how high a line of letters is, and how high a box, in inches.
_LETTER, _LINE = 0.078, 0.17
_HEIGHT = 0.62
# A page is not wide enough for more, with names that can be read.
_MOST_COLUMNS = 5


def describe_states(states: Sequence[str], transitions: Sequence[Transition]) -> str:
    """Return in words what ``draw_states`` draws, a line for each state that can be left."""
    _check(states, transitions)
    lines = [f"Begins as {states[0]}."] if states else []
    for state in states:
        ways = [f"to {target} by {name}" for source, name, target in transitions if source == state]
        if ways:
            lines.append(f"From {state}: {', '.join(ways)}.")
    final = _final(states, transitions)
    if final:
        lines.append(f"Final: {', '.join(final)}.")
    return "\n".join(lines)


def draw_states(
    states: Sequence[str], transitions: Sequence[Transition], *, colour: str = GRID
) -> Figure:
    """Draw ``states`` as boxes and ``transitions`` (from, name, to) as arrows with their names.

    The first state is the one in which everything begins; those that nothing leaves are final, and
    have a double edge. Columns go from left to right by the longest way there; an arrow back, or to
    the same state, passes above. Where there are many, all of it is turned and goes down instead.
    ``colour`` fills the boxes of states that are not final.

    Raises ``ValueError`` where a transition names a state that is not among ``states``.
    """
    _check(states, transitions)
    names = _names(transitions)
    columns, back = find_columns(states, names)
    forward = [pair for pair in names if pair not in back]
    around = [pair for pair in back if pair[0] != pair[1]]
    grid = arrange(columns, forward)
    canvas = _Canvas(states, names.values(), downward=len(grid) > _MOST_COLUMNS)
    spots = find_spots(grid, canvas.column, canvas.row)
    boxes = {state: spots[columns[state], state] for state in states}
    right = max((x for x, _ in boxes.values()), default=0.0) + canvas.width / 2
    top = max((len(column) for column in grid), default=1) * canvas.row / 2
    canvas.frame(-canvas.width / 2 - 1.0, right + 0.5, -top, top + 0.6 * len(around) + 0.1)
    for state, spot in boxes.items():
        canvas.box(spot, state, colour, final=state in _final(states, transitions))
    for pair, route in find_routes(forward, columns, spots, canvas.size).items():
        canvas.arrow(route, names[pair])
    for number, (source, target) in enumerate(around):
        level = top + 0.15 + 0.6 * number
        canvas.arrow_back(boxes[source], boxes[target], level, names[source, target])
    for state in states:
        if (state, state) in names:
            canvas.loop(boxes[state], names[state, state])
    if states:
        canvas.begin(boxes[states[0]])
    return canvas.figure


def _check(states: Sequence[str], transitions: Sequence[Transition]) -> None:
    for source, name, target in transitions:
        for state in (source, target):
            if state not in states:
                raise ValueError(
                    f"The transition {name} names the state {state}, which is not among the "
                    f"states: add it to {', '.join(states) or 'them'}, or correct its name."
                )


def _final(states: Sequence[str], transitions: Sequence[Transition]) -> list[str]:
    left = {source for source, _, target in transitions if source != target}
    return [state for state in states if state not in left]


def _names(transitions: Sequence[Transition]) -> dict[Pair, str]:
    """Return what stands at each arrow; two ways from one state to another share theirs."""
    names: dict[Pair, list[str]] = {}
    for source, name, target in transitions:
        names.setdefault((source, target), []).append(name)
    return {pair: "\n".join(lines) for pair, lines in names.items()}


class _Canvas:
    """A figure with one inch to the unit, which knows where something stands already.

    It is drawn on as if it went to the right. Where it goes ``downward``, it turns each point.
    """

    def __init__(self, states: Sequence[str], names: Iterable[str], *, downward: bool) -> None:
        lines = [name.split("\n") for name in names]
        letters = max((len(line) for name in lines for line in name), default=0)
        self._downward = downward
        self._box = (max(1.3, 0.095 * max(map(len, states), default=0) + 0.4), _HEIGHT)
        self.size = self._box[::-1] if downward else self._box
        self.width, self._height = self.size
        if downward:
            self.column = self.width + _LINE * max(map(len, lines), default=1) + 0.45
            self.row = self._height + max(0.4, _LETTER * letters - 0.4)
        else:
            self.column = self.width + max(1.3, _LETTER * letters + 0.7)
            self.row = self._height + 0.53
        self.figure = Figure()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")
        self._taken: list[tuple[float, float, float, float]] = []

    def frame(self, left: float, right: float, bottom: float, top: float) -> None:
        corners = self._turned([(left, bottom), (right, top)])
        (low_x, high_x), (low_y, high_y) = (sorted(ends) for ends in zip(*corners, strict=True))
        self.figure.set_size_inches(high_x - low_x, high_y - low_y)
        self.axes.set(xlim=(low_x, high_x), ylim=(low_y, high_y))

    def _turned(self, points: Iterable[Point]) -> list[Point]:
        return [(-y, -x) if self._downward else (x, y) for x, y in points]

    def box(self, spot: Point, name: str, colour: str, *, final: bool) -> None:
        ((x, y),), (width, height) = self._turned([spot]), self._box
        for gap in (0.0, 0.06) if final else (0.0,):
            self.axes.add_patch(
                FancyBboxPatch(
                    (x - width / 2 + gap, y - height / 2 + gap),
                    *(width - 2 * gap, height - 2 * gap),
                    boxstyle=f"round,pad=0,rounding_size={0.2 - gap}",
                    facecolor=PAPER if final else colour,
                    edgecolor=INK,
                    linewidth=1.2,
                    zorder=3,
                )
            )
        self.axes.text(x, y, name, ha="center", va="center", size=11, color=INK, zorder=4)
        self._taken.append((x, y, width, height))

    def begin(self, spot: Point) -> None:
        x, y = spot[0] - self.width / 2, spot[1]
        start = (x - 0.7, y)
        self.axes.plot(*zip(*self._turned([start]), strict=True), "o", color=INK, markersize=8)
        self._path([start, (x, y)], [Path.MOVETO, Path.LINETO])

    def arrow(self, route: Sequence[Point], text: str) -> None:
        """Draw an arrow in level curves from point to point; ``text`` stands where there is room.

        It passes the columns between as far as boxes reach, so as not to cut a corner of one.
        """
        points, codes = [route[0]], [Path.MOVETO]
        curves: list[tuple[Point, Point]] = []
        for number, (x, y) in enumerate(route[1:], 1):
            (from_x, from_y), last = points[-1], number == len(route) - 1
            to_x = x if last else x - self.width / 2
            middle = (from_x + to_x) / 2
            points += [(middle, from_y), (middle, y), (to_x, y)]
            codes += [Path.CURVE4] * 3
            curves.append(((from_x, from_y), (to_x, y)))
            if not last:
                points.append((x + self.width / 2, y))
                codes.append(Path.LINETO)
        self._path(points, codes)
        spots = [_on_curve(*curve, part) for curve in curves for part in _PARTS]
        self._write(spots, text)

    def arrow_back(self, source: Point, target: Point, level: float, text: str) -> None:
        """Draw an arrow that leaves to the right, passes above all at ``level``, and returns."""
        right, left = source[0] + self.width / 2, target[0] - self.width / 2
        out, into, lift = right + 0.3, left - 0.3, 0.2
        self._path(
            [
                *((right, source[1] + lift), (out, source[1] + lift), (out, source[1] + 2 * lift)),
                *((out, level - 0.2), (out, level), (out - 0.2, level)),
                *((into + 0.2, level), (into, level), (into, level - 0.2)),
                *((into, target[1] + 2 * lift), (into, target[1] + lift), (left, target[1] + lift)),
            ],
            [Path.MOVETO, *_CORNER, *3 * (Path.LINETO, *_CORNER)],
        )
        self._write([(into + (out - into) * part, level) for part in _PARTS], text)

    def loop(self, spot: Point, text: str) -> None:
        """Draw an arrow from a box to itself."""
        x, y = spot[0], spot[1] + self._height / 2
        ends = [(x + 0.3, y), (x + 0.3, y + 0.4), (x - 0.3, y + 0.4), (x - 0.3, y)]
        self._path(ends, [Path.MOVETO, *[Path.CURVE4] * 3])
        self._write([(x, y + 0.3)], text)

    def _path(self, points: Sequence[Point], codes: Sequence[np.uint8]) -> None:
        self.axes.add_patch(
            FancyArrowPatch(
                path=Path(self._turned(points), codes),
                arrowstyle="-|>",
                mutation_scale=13,
                color=INK,
                linewidth=1.3,
                zorder=2,
            )
        )

    def _write(self, spots: Sequence[Point], text: str) -> None:
        """Write ``text`` on the first of ``spots`` where it covers nothing, or on the first."""
        lines = text.split("\n")
        width, height = _LETTER * max(map(len, lines)) + 0.1, _LINE * len(lines) + 0.05
        places = self._turned(spots)
        free = (place for place in places if not self._covers(place, width, height))
        x, y = next(free, places[0])
        self._taken.append((x, y, width, height))
        self.axes.text(
            *(x, y, text),
            ha="center",
            va="center",
            size=9.5,
            color=INK,
            zorder=5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )

    def _covers(self, place: Point, width: float, height: float) -> bool:
        return any(
            abs(place[0] - x) < (width + wide) / 2 and abs(place[1] - y) < (height + high) / 2
            for x, y, wide, high in self._taken
        )


_CORNER = (Path.CURVE3, Path.CURVE3)

# Where on an arrow its name may stand: in the middle, or else nearer to an end.
_PARTS = (0.5, 0.4, 0.6, 0.32, 0.68)


def _on_curve(start: Point, end: Point, part: float) -> Point:
    """Return the point at ``part`` of a curve that is level at both ends."""
    rest, middle = 1 - part, (start[0] + end[0]) / 2
    near, far = rest**3 + 3 * rest**2 * part, 3 * rest * part**2 + part**3
    x = rest**3 * start[0] + 3 * rest * part * middle + part**3 * end[0]
    return (x, near * start[1] + far * end[1])
