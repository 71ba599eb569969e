"""Charts for the notebooks, a module per lesson; each is shown with a description in words."""

from helpers.plots.charts import describe_lines, show
from helpers.plots.join_charts import (
    draw_crossover,
    draw_latency,
    draw_pages,
    draw_staleness,
    draw_waterfall,
)
from helpers.plots.load_charts import draw_load, draw_timing
from helpers.plots.metadata_charts import draw_facets, draw_plans, draw_sizes
from helpers.plots.origins_chart import draw_origins
from helpers.plots.outage_charts import describe_availability, draw_availability
from helpers.plots.sharding_charts import draw_shard_maps, draw_skew, draw_tasks, draw_touched
from helpers.plots.stock_charts import (
    draw_expiries,
    draw_hit_ratios,
    draw_origin_calls,
    draw_oversold,
    draw_round_trips,
)

__all__ = [
    "describe_availability",
    "describe_lines",
    "draw_availability",
    "draw_crossover",
    "draw_expiries",
    "draw_facets",
    "draw_hit_ratios",
    "draw_latency",
    "draw_load",
    "draw_origin_calls",
    "draw_origins",
    "draw_oversold",
    "draw_pages",
    "draw_plans",
    "draw_round_trips",
    "draw_shard_maps",
    "draw_sizes",
    "draw_skew",
    "draw_staleness",
    "draw_tasks",
    "draw_timing",
    "draw_touched",
    "draw_waterfall",
    "show",
]
