"""A cache with a memory limit: how many keys it holds, and its hit ratio."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from helpers.catalog.random_draws import zipf_choices
from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.lab.cache_trials import (
    CacheRun,
    fit_cache,
    ideal_hit_ratio,
    measure_hit_ratio,
    run_cache,
)

pytestmark = pytest.mark.servers

_ITEMS = 2000


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryValkey]:
    with temporary_valkey(append_only=False) as server:
        yield server


@pytest.fixture
def client(server: TemporaryValkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        yield client


@pytest.fixture(scope="module")
def choices() -> list[int]:
    return zipf_choices(20_000, range(1, _ITEMS + 1))


def test_without_a_limit_only_the_first_request_of_a_key_misses(client: redis.Redis) -> None:
    choices = [1, 2, 1, 3, *range(100), 1, 2, 3]
    hits = len(choices) - len(set(choices))
    assert measure_hit_ratio(client, choices, b"x") == hits / len(choices)
    assert measure_hit_ratio(client, choices, b"x") == 1
    assert client.dbsize() == len(set(choices))
    assert client.get("cache:3") == b"x"
    assert measure_hit_ratio(client, [], b"x") == 0


def test_a_run_can_be_spread_over_time(client: redis.Redis) -> None:
    start = time.monotonic()
    measure_hit_ratio(client, range(200), b"x", seconds=0.1)
    assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize(
    "fraction",
    [0.1, *(pytest.param(fraction, marks=pytest.mark.verify) for fraction in (0.05, 0.5, 1.0))],
)
def test_the_cache_holds_about_the_given_fraction(client: redis.Redis, fraction: float) -> None:
    limit = fit_cache(client, _ITEMS, 1000, fraction)
    assert client.dbsize() == 0
    assert client.config_get("maxmemory") == {"maxmemory": str(limit)}
    measure_hit_ratio(client, range(_ITEMS), bytes(1000))
    keys = int(client.dbsize())
    assert fraction * _ITEMS / 1.5 < keys < fraction * _ITEMS * 1.5


@pytest.mark.verify
def test_an_emptied_cache_has_no_pending_objects_in_memory(client: redis.Redis) -> None:
    for _ in range(3):
        fit_cache(client, 20_000, 100, 1.0)
        assert client.info("memory")["lazyfree_pending_objects"] == 0


@pytest.mark.verify
def test_allkeys_lfu_has_a_higher_hit_ratio_than_allkeys_random(
    server: TemporaryValkey, choices: list[int]
) -> None:
    lfu = run_cache(server, choices, policy="allkeys-lfu", items=_ITEMS, fraction=0.1)
    random = run_cache(server, choices, policy="allkeys-random", items=_ITEMS, fraction=0.1)
    assert lfu.hit_ratio > random.hit_ratio + 0.05
    for run in (lfu, random):
        assert run.hit_ratio < ideal_hit_ratio(choices, run.keys)


@pytest.mark.verify
def test_a_larger_cache_hits_more_often(server: TemporaryValkey, choices: list[int]) -> None:
    runs = [
        run_cache(server, choices, policy="allkeys-lfu", items=_ITEMS, fraction=fraction)
        for fraction in (0.05, 0.2, 0.6)
    ]
    assert runs == sorted(runs, key=lambda run: run.hit_ratio)
    assert runs == sorted(runs, key=lambda run: run.keys)


def test_a_cache_for_everything_misses_each_item_once(
    server: TemporaryValkey, choices: list[int]
) -> None:
    run = run_cache(server, choices, policy="allkeys-lru", items=_ITEMS, fraction=1.0)
    first = len(set(choices))
    assert run == CacheRun(1 - first / len(choices), first)


def test_the_ideal_cache_holds_the_most_popular_keys() -> None:
    choices = [7, 7, 7, 5, 5, 1]
    assert [ideal_hit_ratio(choices, keys) for keys in (0, 1, 2, 3, 9)] == [0, 3 / 6, 5 / 6, 1, 1]
    assert ideal_hit_ratio([], 3) == 0


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, 0.0001])
def test_the_error_names_an_invalid_fraction(client: redis.Redis, fraction: float) -> None:
    with pytest.raises(ValueError, match=f"{fraction} of {_ITEMS} items"):
        fit_cache(client, _ITEMS, 1000, fraction)
