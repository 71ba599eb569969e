"""Charts of MongoDB queries: documents examined and returned, facets, document sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers.metadata.mongo_plans import DocumentPlan
from helpers.plots.charts import label_rows, one_panel, panels
from helpers.plots.palette import IDLE, INK, MONGO


def draw_plans(plans: Mapping[str, DocumentPlan]) -> Figure:
    """Draw for each query, by title, how many documents were examined and returned."""
    figure, axes = one_panel(8.2, 1.1 + 0.62 * len(plans))
    most = max(max(plan.documents_examined, 1) for plan in plans.values())
    for row, plan in enumerate(plans.values()):
        idle = max(plan.documents_examined - plan.returned, 0)
        axes.barh(row, plan.returned, color=MONGO, edgecolor=INK, linewidth=0.6)
        axes.barh(
            *(row, idle),
            left=plan.returned,
            color=IDLE,
            edgecolor=INK,
            linewidth=0.6,
            hatch="///",
        )
        axes.text(
            plan.documents_examined + 0.015 * most,
            row,
            f"{plan.stage}{f' {plan.index}' if plan.index else ''}\n"
            f"{plan.documents_examined} examined, {plan.returned} returned",
            va="center",
            size=8.5,
            color=INK,
        )
    label_rows(axes, list(plans))
    axes.set(xlabel="documents examined", xlim=(0, 1.45 * most))
    axes.legend(
        handles=[
            Patch(facecolor=MONGO, edgecolor=INK, label="returned"),
            Patch(facecolor=IDLE, edgecolor=INK, hatch="///", label="examined in vain"),
        ],
        frameon=False,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
    return figure


def draw_facets(facets: Mapping[str, Sequence[tuple[object, int]]]) -> Figure:
    """Draw facets as a sidebar shows them: a panel per facet, a bar per value."""
    figure, all_axes = panels(len(facets), 3.1 * len(facets), 3.4)
    for axes, (title, counts) in zip(all_axes, facets.items(), strict=True):
        axes.barh(range(len(counts)), [count for _, count in counts], color=MONGO)
        label_rows(axes, [str(value) for value, _ in counts])
        axes.set_title(title, size=11)
        axes.set_xlabel("products")
    return figure


def draw_sizes(sizes: Mapping[str, Sequence[int]], step: int) -> Figure:
    """Draw how a document grows with its reviews: a line of sizes in bytes per model.

    ``step`` is the number of reviews between two sizes.
    """
    figure, axes = one_panel(6.6, 3.4)
    styles = [(INK, "--"), (MONGO, "-")]
    for (title, line), (colour, style) in zip(sizes.items(), styles, strict=False):
        at = [step * number for number in range(len(line))]
        axes.plot(at, line, color=colour, linestyle=style, linewidth=2, label=title)
    axes.set(xlabel="reviews of the product", ylabel="bytes of its document", ylim=(0, None))
    axes.legend(frameon=False)
    return figure
