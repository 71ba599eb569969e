"""Experiments: concurrent buyers, cache trials, alternatives to the join, load, availability."""

from helpers.embedded.temporary_valkey import temporary_valkey
from helpers.lab.availability import monitor
from helpers.lab.background_programs import start_service
from helpers.lab.buyers import buying, plan_attempts, run_buyers
from helpers.lab.cache_trials import ideal_hit_ratio, run_cache
from helpers.lab.join_alternatives import flat_json, join_with_pandas, make_flat
from helpers.lab.load import measure
from helpers.lab.server_timing import parse_server_timing

__all__ = [
    "buying",
    "flat_json",
    "ideal_hit_ratio",
    "join_with_pandas",
    "make_flat",
    "measure",
    "monitor",
    "parse_server_timing",
    "plan_attempts",
    "run_buyers",
    "run_cache",
    "start_service",
    "temporary_valkey",
]
