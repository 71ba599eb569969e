"""Charts of shards: their nodes, their sizes, and how many of them a query reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from helpers.citus.query_plans import QueryPlan
from helpers.citus.shards import Shard
from helpers.plots.charts import one_panel, panels
from helpers.plots.palette import GREY, IDLE, INK, PAPER, POSTGRES, ink_on, tint

_HATCHES = ("", "///", "...", "xxx")
_SHADES = tuple(tint(POSTGRES, share) for share in (1.0, 0.5, 0.25, 0.1))
_BY_ROWS = LinearSegmentedColormap.from_list("rows", [PAPER, POSTGRES])


def draw_shard_maps(maps: Mapping[str, Sequence[Shard]]) -> Figure:
    """Draw shards by node, a map per title; darker shards have more rows."""
    nodes = sorted({shard.node for shards in maps.values() for shard in shards})
    most = max(1, *(shard.rows for shards in maps.values() for shard in shards))
    tallest = max(len(shards) for shards in maps.values())
    width = 1.2 + 1.35 * len(nodes) * len(maps)
    figure, all_axes = panels(len(maps), width, 0.9 + 0.34 * tallest)
    for axes, (title, shards) in zip(all_axes, maps.items(), strict=True):
        _draw_shard_map(axes, shards, nodes, most)
        axes.set_title(title, size=11)
    all_axes[0].set_ylabel("shard index")
    return figure


def _draw_shard_map(axes: Axes, shards: Sequence[Shard], nodes: Sequence[str], most: int) -> None:
    grid = np.full((len(shards), len(nodes)), np.nan)
    for shard in shards:
        grid[shard.index, nodes.index(shard.node)] = shard.rows
    axes.imshow(grid, cmap=_BY_ROWS, vmin=0, vmax=most, aspect="auto")
    for shard in shards:
        axes.text(
            nodes.index(shard.node),
            shard.index,
            str(shard.rows),
            ha="center",
            va="center",
            size=9,
            color=ink_on(tint(POSTGRES, shard.rows / most)),
        )
    axes.set_xticks(range(len(nodes)), nodes)
    axes.set_yticks(range(len(shards)))
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.set_xticks(np.arange(-0.5, len(nodes)), minor=True)
    axes.grid(which="minor", axis="x", color=IDLE, linewidth=0.8)
    axes.tick_params(which="minor", length=0)


def draw_tasks(plans: Mapping[str, QueryPlan], shards: Sequence[Shard]) -> Figure:
    """Draw which of a table's shards each query reads, by node: a panel per query."""
    nodes = sorted({shard.node for shard in shards})
    width = 0.6 + 2.5 * len(plans)
    figure, all_axes = panels(len(plans), width, 0.9 + 0.3 * len(shards), sharey=True)
    for axes, (title, plan) in zip(all_axes, plans.items(), strict=True):
        for shard in shards:
            touched = shard.id in plan.shards
            axes.barh(
                shard.index,
                0.8,
                left=nodes.index(shard.node) - 0.4,
                height=0.7,
                color=POSTGRES if touched else PAPER,
                edgecolor=POSTGRES if touched else GREY,
                linewidth=1.2,
            )
        axes.set_title(f"{title}\n{plan.task_count} of {len(shards)}", size=10)
        axes.set_xticks(range(len(nodes)), nodes, size=9)
        axes.set_xlim(-0.6, len(nodes) - 0.4)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    all_axes[0].set_yticks(range(len(shards)))
    all_axes[0].set_ylabel("shard index")
    all_axes[0].invert_yaxis()
    return figure


def draw_touched(
    lengths: Sequence[int], measured: Sequence[float], expected: Sequence[float], shards: int
) -> Figure:
    """Draw how many shards a query for a list of keys reads: measured, and expected."""
    figure, axes = one_panel(6.8, 3.8)
    axes.axhline(shards, color=GREY, linestyle=":", label=f"all {shards} shards")
    axes.plot(lengths, expected, color=INK, linewidth=1.4, label="expected")
    axes.plot(lengths, measured, "o", color=POSTGRES, markersize=7, label="read from the plans")
    axes.set(xlabel="keys in the list", ylabel="tasks", ylim=(0, shards * 1.08))
    axes.legend(frameon=False, loc="lower right")
    return figure


def draw_skew(tables: Mapping[str, Sequence[Shard]]) -> Figure:
    """Draw the rows of each shard, a panel per table, with a shade per node."""
    figure, all_axes = panels(len(tables), 2.9 * len(tables), 3.2, sharey=True)
    nodes = sorted({shard.node for shards in tables.values() for shard in shards})
    for axes, (title, shards) in zip(all_axes, tables.items(), strict=True):
        for number, node in enumerate(nodes):
            own = [shard for shard in shards if shard.node == node]
            axes.bar(
                [shard.index for shard in own],
                [shard.rows for shard in own],
                color=_SHADES[number % len(_SHADES)],
                edgecolor=INK,
                linewidth=0.6,
                hatch=_HATCHES[number % len(_HATCHES)],
                label=node,
            )
        axes.set_title(title, size=11)
        axes.set_xlabel("shard index")
    all_axes[0].set_ylabel("rows")
    all_axes[-1].legend(frameon=False)
    return figure
