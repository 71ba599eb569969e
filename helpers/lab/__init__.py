"""Experiments: concurrent buyers, cache trials, other ways to join, load and availability."""

from helpers.embedded.temporary_valkey import temporary_valkey
from helpers.lab.availability import watching
from helpers.lab.background_programs import served
from helpers.lab.buyers import plan_attempts
from helpers.lab.buying import buying
from helpers.lab.cache_trials import ideal_hit_ratio, run_cache
from helpers.lab.concurrent_buyers import run_buyers
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
    "parse_server_timing",
    "plan_attempts",
    "run_buyers",
    "run_cache",
    "served",
    "temporary_valkey",
    "watching",
]
