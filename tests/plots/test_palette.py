"""The palette: each store has one colour everywhere, and colour is never the only distinction."""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from helpers.citus.shards import Shard
from helpers.errors import StoreName
from helpers.lab.availability import KINDS, Availability, Sample
from helpers.lab.load import Load
from helpers.metadata.mongo_plans import DocumentPlan
from helpers.plots import palette
from helpers.plots.charts import STYLES
from helpers.plots.join_charts import (
    draw_crossover,
    draw_latency,
    draw_pages,
    draw_staleness,
    draw_waterfall,
)
from helpers.plots.load_charts import draw_load
from helpers.plots.metadata_charts import draw_plans, draw_sizes
from helpers.plots.origins_chart import draw_origins
from helpers.plots.outage_charts import draw_availability
from helpers.plots.palette import SERIES, STORE_COLOURS, STORE_HATCHES, contrast, ink_on
from helpers.plots.sharding_charts import draw_shard_maps, draw_skew, draw_touched
from helpers.plots.stock_charts import (
    draw_expiries,
    draw_hit_ratios,
    draw_origin_calls,
    draw_oversold,
    draw_round_trips,
)
from helpers.settings import PROJECT
from helpers.stores.trace import STORES, Span
from tests.plots.vision import VISIONS, distance, lightness

# Distances in CIELAB, where a difference of about 2.3 is just noticeable.
MIN_DISTANCE = 15
MIN_LIGHTNESS_DIFFERENCE = 10

STOREFRONT = PROJECT / "helpers" / "api" / "storefront"


def _page_colours() -> tuple[dict[str, str], dict[str, str], str]:
    """Return the storefront's colours in light and in dark mode, by name, and the other rules."""
    style = (STOREFRONT / "style.css").read_text("utf-8")
    light, _, rest = style.partition("@media (prefers-color-scheme: dark)")
    dark, _, after = rest.partition("/* ---- Base")
    first, second = (
        {name: colour.upper() for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]+);", part)}
        for part in (light, dark)
    )
    return first, second, after


PAGE_LIGHT, PAGE_DARK, PAGE_RULES = _page_colours()
PALETTE = {
    value.upper()
    for value in (*vars(palette).values(), *PAGE_LIGHT.values(), *PAGE_DARK.values())
    if isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value)
}
HEX = re.compile(r"(?<![\w&])#(?:[0-9A-Fa-f]{8}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})\b")
NAMED = re.compile(r"""\b(?:\w*colou?rs?|fc|ec|cmap|c)\s*=\s*["'](?!none["']|#)""")

TIMES = [(1, 0.1), (9, 0.2)]
WAYS = [f"way {number}" for number in range(len(SERIES))]
SHARDS = [Shard(i, 100 + i, 0, 1, f"worker {1 + i % 4}", 10 * i) for i in range(8)]
SEEN = Availability([Sample(at, 0.1, kind) for at, kind in enumerate(KINDS)])

#: Charts of stores, and of what belongs to one.
STORE_CHARTS: dict[str, Callable[[], Figure]] = {
    "waterfall": lambda: draw_waterfall(
        [Span(s, "ask", 0.1 * i, 0.5) for i, s in enumerate(STORES)]
    ),
    "shard map": lambda: draw_shard_maps({"products": SHARDS}),
    "skew": lambda: draw_skew({"orders": SHARDS}),
    "touched": lambda: draw_touched([1, 2], [1.0, 2.0], [1.0, 1.9], 8),
    "plans": lambda: draw_plans({"one": DocumentPlan("COLLSCAN", None, 0, 10, 4)}),
    "sizes": lambda: draw_sizes({"all": [1, 9], "three": [1, 2]}, 50),
    "expiries": lambda: draw_expiries([60.0], [59.0, 61.0]),
}
#: Charts of other things: strategies, outcomes, states.
OTHER_CHARTS: dict[str, Callable[[], Figure]] = {
    "latency": lambda: draw_latency({way: {0.0: TIMES} for way in WAYS}),
    "crossover": lambda: draw_crossover(dict.fromkeys(WAYS, TIMES), 0.3),
    "pages": lambda: draw_pages(dict.fromkeys(WAYS, TIMES)),
    "staleness": lambda: draw_staleness({"join": (0.1, 0.0), "model": (0.01, 0.2)}),
    "load": lambda: draw_load({way: [Load(1, 1, {}, 0, 1.0, (0.1,), 0.0)] for way in WAYS}),
    "availability": lambda: draw_availability({"with": SEEN}),
    "round trips": lambda: draw_round_trips({way: {1.0: TIMES} for way in WAYS}),
    "oversold": lambda: draw_oversold({way: [(1, 0), (64, i)] for i, way in enumerate(WAYS)}),
    "origin calls": lambda: draw_origin_calls({"none": {"calls": 9, "waits": 7, "late": 1}}),
    "hit ratios": lambda: draw_hit_ratios({way: [(0.1, 0.5)] for way in WAYS}, [(0.1, 0.6)]),
}
ALL_CHARTS = {**STORE_CHARTS, **OTHER_CHARTS}


@cache
def chart(name: str) -> Figure:
    """Return a chart, drawn once for all tests, which do not change it."""
    return ALL_CHARTS[name]()


@pytest.mark.parametrize("vision", VISIONS)
def test_store_colours_are_distinguishable_with_every_vision(vision: str) -> None:
    for one, other in itertools.combinations(STORE_COLOURS.values(), 2):
        assert distance(one, other, vision) >= MIN_DISTANCE, (one, other)


def test_store_colours_are_distinguishable_in_greyscale() -> None:
    for one, other in itertools.combinations(STORE_COLOURS.values(), 2):
        assert abs(lightness(one) - lightness(other)) >= MIN_LIGHTNESS_DIFFERENCE, (one, other)
    assert len(set(STORE_HATCHES.values())) == len(STORE_HATCHES) == len(STORE_COLOURS)


@pytest.mark.parametrize("vision", VISIONS)
def test_series_colours_differ_from_each_other_and_from_stores(vision: str) -> None:
    for one, other in itertools.combinations((*SERIES, *STORE_COLOURS.values()), 2):
        assert distance(one, other, vision) >= MIN_DISTANCE, (one, other)


def test_lines_also_differ_by_marker_and_dashes() -> None:
    markers, dashes = [style[1] for style in STYLES], [style[2] for style in STYLES]
    assert len(set(markers)) == len(set(dashes)) == len(STYLES) == 8
    assert [style[0] for style in STYLES][: len(SERIES)] == list(SERIES)


@pytest.mark.parametrize("store", STORE_COLOURS)
def test_text_on_a_store_colour_has_enough_contrast(store: StoreName) -> None:
    colour = STORE_COLOURS[store]
    assert contrast(ink_on(colour), colour) >= 4.5


def test_contrast_matches_wcag() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert palette.tint("#0072B2", 0.5) == "#80B8D8"


def test_simulated_vision_matches_its_source() -> None:
    """White stays white with every vision; red and green become similar with deuteranopia."""
    for vision in VISIONS:
        assert distance("#FFFFFF", "#FFFFFF", vision) == 0
    assert lightness("#FFFFFF") == pytest.approx(100, abs=0.01)
    assert distance("#CC5500", "#808000", "deuteranopia") < distance(
        "#CC5500", "#808000", "all colours"
    )


def _colours(figure: Figure) -> set[str]:
    """Return the colours of everything in a figure."""
    figure.draw_without_rendering()
    found = set()
    for artist in figure.findobj():
        for name in ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor"):
            try:
                colour = getattr(artist, name)()
                found.add(to_hex(colour, keep_alpha=False).upper())
            except (AttributeError, ValueError):  # no colour, several, or "none"
                continue
        if isinstance(artist, AxesImage):
            found.add(to_hex(artist.get_cmap()(1.0)).upper())
    return found


@pytest.mark.parametrize("name", OTHER_CHARTS)
def test_store_colours_are_used_for_stores_only(name: str) -> None:
    assert _colours(chart(name)).isdisjoint(STORE_COLOURS.values())


@pytest.mark.parametrize("name", STORE_CHARTS)
def test_charts_of_stores_use_store_colours(name: str) -> None:
    assert not _colours(chart(name)).isdisjoint(STORE_COLOURS.values())


def _marks(figure: Figure) -> Iterator[list[tuple[str, object, object, object]]]:
    """Yield for each legend the look of its entries: colour, hatch or marker, dashes, width."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    for legend in filter(None, legends):
        looks: list[tuple[str, object, object, object]] = []
        for handle in legend.legend_handles:
            if isinstance(handle, Patch):
                face, edge = to_hex(handle.get_facecolor()), to_hex(handle.get_edgecolor())
                if handle.get_hatch():  # drawn in the edge colour
                    assert abs(lightness(face) - lightness(edge)) >= MIN_LIGHTNESS_DIFFERENCE
                looks.append((face, handle.get_hatch() or "", "", ""))
            elif isinstance(handle, Line2D):
                dashes = str(handle._dash_pattern)  # type: ignore[attr-defined]
                width = handle.get_linewidth()
                looks.append((to_hex(handle.get_color()), handle.get_marker(), dashes, width))
        yield looks


@pytest.mark.parametrize("name", ALL_CHARTS)
def test_legend_entries_are_distinguishable_in_greyscale(name: str) -> None:
    for looks in _marks(chart(name)):
        for one, other in itertools.combinations(looks, 2):
            light = abs(lightness(one[0]) - lightness(other[0]))
            assert one[1:] != other[1:] or light >= MIN_LIGHTNESS_DIFFERENCE, (one, other)


def test_origins_use_the_colour_of_each_store() -> None:
    product = {"id": 1, "name": "A", "price": "1", "metadata": {"tags": []}, "stock": "2"}
    figure = draw_origins(product)  # type: ignore[arg-type]
    assert set(STORE_COLOURS.values()) <= _colours(figure)
    texts = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    for store, colour in STORE_COLOURS.items():
        assert texts[store] == ink_on(colour)


@pytest.mark.parametrize("folder", ["helpers", "course", "benchmarks", "notebooks", "project"])
def test_no_colour_is_defined_outside_the_palette(folder: str) -> None:
    for path in sorted((PROJECT / folder).rglob("*.py")):
        if path != Path(str(palette.__file__)):
            text = path.read_text("utf-8")
            assert not HEX.findall(text), path
            assert "matplotlib" not in text or not NAMED.search(text), path
    for path in sorted((PROJECT / folder).glob("*.ipynb")):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                assert not HEX.findall(source), (path.name, cell["id"])
                assert not re.search(r"\.style\b|background_gradient", source), cell["id"]


def test_success_and_failure_colours_have_enough_contrast_on_paper() -> None:
    for colour in (palette.GOOD, palette.ALERT, palette.INK):
        assert contrast(colour, palette.PAPER) >= 4.5


def test_storefront_colours_come_from_the_palette() -> None:
    shared = {store.lower(): colour for store, colour in STORE_COLOURS.items()}
    shared |= {"ink": palette.INK, "paper": palette.PAPER, "alert": palette.ALERT}
    assert {name: PAGE_LIGHT[name] for name in shared} == shared
    assert PAGE_DARK.keys() == PAGE_LIGHT.keys() - {store.lower() for store in STORE_COLOURS}
    for store, colour in STORE_COLOURS.items():
        rules = PAGE_RULES.partition(f'[data-store="{store}"] {{')[2].partition("}")[0]
        assert f"--store: var(--{store.lower()});" in rules
        assert f"--on-store: {ink_on(colour).lower()};" in rules
    for path in sorted(STOREFRONT.iterdir()):
        text = path.read_text("utf-8")
        found = {colour.upper() for colour in HEX.findall(text)} if path.suffix != ".js" else set()
        assert found <= PALETTE, path.name
        if path.suffix == ".css" and path.name != "style.css":
            assert not found, path.name


@pytest.mark.parametrize("page", [PAGE_LIGHT, PAGE_DARK], ids=["light", "dark"])
def test_storefront_text_has_enough_contrast_in_light_and_dark_mode(page: dict[str, str]) -> None:
    for ink, background in itertools.product(
        ("ink", "quiet", "alert"), ("paper", "page-background")
    ):
        assert contrast(page[ink], page[background]) >= 4.5, (ink, background)


OVERVIEW = PROJECT / "docs" / "overview.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_overview_uses_the_colours_of_the_stores() -> None:
    text = OVERVIEW.read_text("utf-8")
    assert {colour.upper() for colour in HEX.findall(text)} <= PALETTE
    root = ET.fromstring(text)
    boxes = [
        {key: float(box.get(key, 0)) for key in ("x", "y", "width", "height")}
        | {"fill": str(box.get("fill"))}
        for box in root.iter(f"{SVG}rect")
    ]
    names = {str(text.text): text for text in root.iter(f"{SVG}text")}
    for name, store in (
        *((store, store) for store in STORE_COLOURS),
        *((part, "PostgreSQL") for part in ("coordinator", "worker 1", "worker 2")),
        *(("description, tags, specifications", "MongoDB"), ("stock:1, stock:2, …", "Redis")),
    ):
        x, y = float(names[name].get("x", 0)), float(names[name].get("y", 0))
        around = [
            box
            for box in boxes
            if 0 <= x - float(box["x"]) <= float(box["width"])
            and 0 <= y - float(box["y"]) <= float(box["height"])
        ]
        assert around[-1]["fill"] == STORE_COLOURS[store], name
        assert names[name].get("fill", "").upper() == ink_on(STORE_COLOURS[store]), name


def test_the_overview_has_a_text_description() -> None:
    root = ET.fromstring(OVERVIEW.read_text("utf-8"))
    assert root.get("role") == "img"
    labels = root.get("aria-labelledby", "").split()
    texts = {
        part.get("id"): part.text or ""
        for part in root
        if part.tag in {f"{SVG}title", f"{SVG}desc"}
    }
    assert set(labels) == set(texts)
    assert all(store in texts["description"] for store in STORE_COLOURS)
