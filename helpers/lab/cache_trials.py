"""Measure the hit ratio of a bounded cache, by its size and its eviction policy.

The trials delete the server's keys and limit its memory, so they run on a temporary server.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from helpers.embedded.temporary_valkey import Policy, TemporaryValkey

# Small enough that a batch of 1,000-byte values fits into the 16 KiB that the server reads at once:
# it would allocate a larger buffer, which counts as its memory. Large enough to save round trips.
_BATCH = 10
_VALUE_SIZE = 1000  # bytes
_CORRECTIONS = 5
_NEAR_ENOUGH = 0.02


@dataclass(frozen=True)
class CacheRun:
    """The result of a run: the hit ratio, and the number of keys in the cache at the end."""

    hit_ratio: float
    keys: int


def run_cache(
    server: TemporaryValkey,
    choices: Sequence[int],
    *,
    policy: Policy,
    items: int,
    fraction: float,
    seconds: float = 0.0,
) -> CacheRun:
    """Fit an empty cache to a ``fraction`` of ``items``, and request ``choices`` from it.

    ``policy`` is the eviction policy. For ``seconds`` see ``measure_hit_ratio``, for errors
    ``fit_cache``.
    """
    with redis.Redis.from_url(server.url) as client:
        fit_cache(client, items, _VALUE_SIZE, fraction)
        client.config_set("maxmemory-policy", policy)
        ratio = measure_hit_ratio(client, choices, bytes(_VALUE_SIZE), seconds=seconds)
        return CacheRun(ratio, client.dbsize())


def fit_cache(client: redis.Redis, items: int, value_size: int, fraction: float) -> int:
    """Limit a server's memory so that it holds about a ``fraction`` of ``items`` values.

    Each value has ``value_size`` bytes. The first limit is the memory that this many values take.
    It is then corrected by how many keys the server holds under load, because buffers and tables
    count as memory, too, and are not negligible for a small cache. The limit is set as
    ``maxmemory`` and returned, in bytes. Afterwards the cache is empty, and evicts keys at random.

    Raises ``ValueError`` if that is less than one value or more than all.
    """
    target = round(items * fraction)
    if not 1 <= target <= items:
        raise ValueError(
            f"A cache cannot be fitted to {fraction} of {items} items: give a fraction up to 1, "
            "and enough items that it is at least one of them."
        )
    # Valkey 8 and newer free flushed keys in a background thread by default. Until then they count
    # as memory, and since the empty cache has nothing to evict, it would refuse writes.
    client.config_set("lazyfree-lazy-user-flush", "no")
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", 0)
    client.flushdb()
    empty = _used(client)
    for batch in _batches(range(target)):
        _store(client, batch, bytes(value_size))
    limit = _used(client)
    per_key = max(1, (limit - empty) // target)
    for _ in range(_CORRECTIONS):
        client.config_set("maxmemory", limit)
        measure_hit_ratio(client, range(min(items, 2 * target)), bytes(value_size))
        missing = target - int(client.dbsize())
        client.flushdb()
        if abs(missing) <= _NEAR_ENOUGH * target:
            break
        limit += missing * per_key
    client.config_set("maxmemory", limit)
    return limit


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def measure_hit_ratio(
    client: redis.Redis, choices: Sequence[int], value: bytes, *, seconds: float = 0.0
) -> float:
    """Request ``choices`` from a cache, load what is missing, and return the hit ratio (0 to 1).

    Requests are sent in batches. A second request for a key in one batch counts as a hit: sent one
    after another, it would find the value that the first one loaded. Without choices the ratio is
    0.

    The server measures the age of a key in whole seconds, so LRU works only if the run takes many
    of them. ``seconds`` is the minimum duration of the run.
    """
    hits = 0
    done = 0
    start = time.monotonic()
    for batch in _batches(choices):
        pipeline = client.pipeline(transaction=False)
        for item in batch:
            pipeline.get(f"cache:{item}")
        found = pipeline.execute()
        missing = {item for item, held in zip(batch, found, strict=True) if held is None}
        _store(client, sorted(missing), value)
        hits += len(batch) - len(missing)
        done += len(batch)
        time.sleep(max(0.0, start + seconds * done / len(choices) - time.monotonic()))
    return hits / len(choices) if choices else 0.0


def ideal_hit_ratio(choices: Sequence[int], held: int) -> float:
    """Return the hit ratio of a cache that always holds the ``held`` most requested items.

    No eviction policy can know ``choices`` in advance. Without choices the ratio is 0.
    """
    hits = sum(times for _, times in Counter(choices).most_common(held))
    return hits / len(choices) if choices else 0.0


def _batches(items: Sequence[int]) -> Iterator[Sequence[int]]:
    return (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))


def _store(client: redis.Redis, items: Sequence[int], value: bytes) -> None:
    pipeline = client.pipeline(transaction=False)
    for item in items:
        pipeline.set(f"cache:{item}", value)
    pipeline.execute()
