"""Where the states and arrows of a state diagram go: columns, rows, and ways around boxes.

All of it is for a diagram that goes to the right; one that goes down is the same, turned.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence

#: An arrow by its ends: from which state to which.
Pair = tuple[str, str]

#: In inches, to the right and upwards.
Point = tuple[float, float]

#: A place in a column: a state, or a bend of an arrow that passes the column by.
Place = str | Pair

_SWEEPS = 8


def find_columns(
    states: Sequence[str], pairs: Collection[Pair]
) -> tuple[dict[str, int], list[Pair]]:
    """Return the column of each state, by the longest way there, and the pairs that lead back."""
    order, back = _search(states, pairs)
    columns = dict.fromkeys(states, 0)
    for state in order:
        for pair in pairs:
            if pair[0] == state and pair not in back:
                columns[pair[1]] = max(columns[pair[1]], columns[state] + 1)
    return columns, back


def _search(states: Sequence[str], pairs: Collection[Pair]) -> tuple[list[str], list[Pair]]:
    """Go every way once; return the states, each after those before it, and the pairs back."""
    back: list[Pair] = []
    order: list[str] = []
    above: list[str] = []

    def visit(state: str) -> None:
        above.append(state)
        for pair in pairs:
            if pair[0] == state:
                if pair[1] in above:
                    back.append(pair)
                elif pair[1] not in order:
                    visit(pair[1])
        above.pop()
        order.append(state)

    for state in states:
        if state not in order:
            visit(state)
    return order[::-1], back


def arrange(columns: Mapping[str, int], pairs: Sequence[Pair]) -> list[list[Place]]:
    """Return the places of each column from top to bottom, so that few arrows cross."""
    grid: list[list[Place]] = [[] for _ in range(max(columns.values(), default=-1) + 1)]
    for state, column in columns.items():
        grid[column].append(state)
    chains = [_chain(pair, columns) for pair in pairs]
    for chain, (source, target) in zip(chains, pairs, strict=True):
        for column in range(columns[source] + 1, columns[target]):
            grid[column].append(chain[column - columns[source]])
    best = [list(column) for column in grid]
    for sweep in range(_SWEEPS):
        rightward = sweep % 2 == 0
        for places in grid if rightward else grid[::-1]:
            _sort_by_neighbours(places, grid, chains, rightward=rightward)
        if _crossings(grid, chains) < _crossings(best, chains):
            best = [list(column) for column in grid]
    return best


def _chain(pair: Pair, columns: Mapping[str, int]) -> list[Place]:
    bends: list[Place] = [pair] * (columns[pair[1]] - columns[pair[0]] - 1)
    return [pair[0], *bends, pair[1]]


def _sort_by_neighbours(
    column: list[Place],
    grid: Sequence[Sequence[Place]],
    chains: Sequence[Sequence[Place]],
    *,
    rightward: bool,
) -> None:
    """Order ``column`` by where, on average, the neighbours on one side of each place stand."""
    at = next(number for number, other in enumerate(grid) if other is column)
    beside = at - 1 if rightward else at + 1
    if not 0 <= beside < len(grid):
        return
    rows = _rows(grid[beside])
    own = _rows(column)

    def mean(place: Place) -> float:
        steps = [
            pair if rightward else pair[::-1] for c in chains for pair in itertools.pairwise(c)
        ]
        found = [rows[near] for near, here in steps if here == place and near in rows]
        return sum(found) / len(found) if found else own[place]

    column.sort(key=mean)


def find_spots(
    grid: Sequence[Sequence[Place]], step: float, row_step: float
) -> dict[tuple[int, Place], Point]:
    """Return where each place of each column is drawn, ``step`` from one column to the next."""
    return {
        (number, place): (number * step, -row * row_step)
        for number, column in enumerate(grid)
        for place, row in _rows(column).items()
    }


def find_routes(
    pairs: Sequence[Pair],
    columns: Mapping[str, int],
    spots: Mapping[tuple[int, Place], Point],
    size: tuple[float, float],
) -> dict[Pair, list[Point]]:
    """Return the points through which each arrow passes, from edge to edge of two boxes.

    ``size`` is the width and the height of every box.
    """
    width, height = size
    routes = {}
    for source, target in pairs:
        chain = _chain((source, target), columns)
        routes[source, target] = [
            spots[columns[source] + step, place] for step, place in enumerate(chain)
        ]
    ports = {}
    for pair in pairs:
        # Arrows at one edge of a box stand in the order of the points that they lead to.
        out = sorted((routes[other][1][1], other) for other in routes if other[0] == pair[0])
        into = sorted((routes[other][-2][1], other) for other in routes if other[1] == pair[1])
        ports[pair] = (
            _port([other for _, other in out].index(pair), len(out), height),
            _port([other for _, other in into].index(pair), len(into), height),
        )
    for pair, (leave, enter) in ports.items():
        (x, y), *bends, (end_x, end_y) = routes[pair]
        routes[pair] = [(x + width / 2, y + leave), *bends, (end_x - width / 2, end_y + enter)]
    return routes


def _port(number: int, count: int, height: float) -> float:
    return (number - (count - 1) / 2) * min(0.3 * height, 0.75 * height / count)


def _rows(column: Sequence[Place]) -> dict[Place, float]:
    return {place: row - (len(column) - 1) / 2 for row, place in enumerate(column)}


def _crossings(grid: Sequence[Sequence[Place]], chains: Sequence[Sequence[Place]]) -> int:
    count = 0
    for left, right in itertools.pairwise(grid):
        steps = [
            (left.index(here), right.index(there))
            for chain in chains
            for here, there in itertools.pairwise(chain)
            if here in left and there in right
        ]
        for (a, b), (c, d) in itertools.combinations(steps, 2):
            count += (a - c) * (b - d) < 0
    return count
