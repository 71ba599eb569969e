"""How often a bounded cache has what is asked for, by its size and by what it evicts.

Tried on a spare server: its keys are deleted and its memory is limited.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from helpers.embedded.temporary_valkey import Policy, TemporaryValkey
from helpers.errors import ServerError
from helpers.stock.redis_strings import as_string

# Few enough that a batch of values of 1,000 bytes fits into the 16 KiB which the server reads at
# once: for more it makes a buffer that counts as its memory, and is not small beside a small cache.
# Enough that the time is not spent on round trips.
_BATCH = 10
_CORRECTIONS = 5
_NEAR_ENOUGH = 0.02
_PREFIX = "cache:"


@dataclass(frozen=True)
class CacheRun:
    """What became of one run: the ratio of hits, and how many keys the cache held at its end."""

    hit_ratio: float
    keys: int


def run_cache(
    spare: TemporaryValkey,
    choices: Sequence[int],
    *,
    policy: Policy,
    items: int,
    fraction: float,
    value_size: int = 1000,
    seconds: float = 0.0,
) -> CacheRun:
    """Fit an empty cache to a ``fraction`` of ``items`` and ask it for ``choices``.

    ``policy`` says what it evicts, ``value_size`` is in bytes; ``seconds`` is explained
    at ``measure_hit_ratio``, the errors at ``fit_cache``.
    """
    with redis.Redis.from_url(spare.url) as client:
        fit_cache(client, items, value_size, fraction)
        client.config_set("maxmemory-policy", policy)
        ratio = measure_hit_ratio(client, choices, bytes(value_size), seconds=seconds)
        return CacheRun(ratio, client.dbsize())


def fit_cache(client: redis.Redis, items: int, value_size: int, fraction: float) -> int:
    """Let a server hold about a ``fraction`` of ``items`` values of ``value_size`` bytes each.

    The limit begins with what that many values take, and is then corrected by how many it lets the
    server hold under requests through ``client``: buffers and tables count as memory too, and are
    not small beside a small cache. It is set as ``maxmemory`` and returned, in bytes; the cache is
    empty then, and evicts keys at random.

    Raises ``ValueError`` where that is not one value, or more than all; ``ServerError`` where the
    server holds other keys than the cache's, which the limit might evict.
    """
    wanted = round(items * fraction)
    if not 1 <= wanted <= items:
        raise ValueError(
            f"A cache cannot be fitted to {fraction} of {items} items: give a fraction up to 1, "
            "and so many items that it makes at least one."
        )
    _refuse_other_keys(client)
    # Valkey 8 and newer free what is flushed in a thread of their own, unless told to wait. Until
    # then it counts as memory, and an empty cache has nothing to evict: it refuses what comes.
    client.config_set("lazyfree-lazy-user-flush", "no")
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", 0)
    client.flushdb()
    empty = _used(client)
    for batch in _batches(range(wanted)):
        _store(client, batch, bytes(value_size))
    limit = _used(client)
    per_key = max(1, (limit - empty) // wanted)
    for _ in range(_CORRECTIONS):
        client.config_set("maxmemory", limit)
        measure_hit_ratio(client, range(min(items, 2 * wanted)), bytes(value_size))
        missing = wanted - int(client.dbsize())
        client.flushdb()
        if abs(missing) <= _NEAR_ENOUGH * wanted:
            break
        limit += missing * per_key
    client.config_set("maxmemory", limit)
    return limit


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def measure_hit_ratio(
    client: redis.Redis, choices: Sequence[int], value: bytes, *, seconds: float = 0.0
) -> float:
    """Ask a cache for ``choices``, fill in what is missing, and return the ratio of hits (0 to 1).

    Requests travel in batches: the second request for a key in one batch is a hit, since a reader
    who asks for one after another would find it filled in. Without choices the ratio is 0.

    The server counts the age of a key in whole seconds: unless a run takes many of them, the least
    recently used key cannot be told from others. ``seconds`` is how long the run takes at least.
    """
    hits = 0
    done = 0
    start = time.monotonic()
    for batch in _batches(choices):
        pipeline = client.pipeline(transaction=False)
        for item in batch:
            pipeline.get(_key(item))
        found = pipeline.execute()
        missing = {item for item, held in zip(batch, found, strict=True) if held is None}
        _store(client, sorted(missing), value)
        hits += len(batch) - len(missing)
        done += len(batch)
        time.sleep(max(0.0, start + seconds * done / len(choices) - time.monotonic()))
    return hits / len(choices) if choices else 0.0


def ideal_hit_ratio(choices: Sequence[int], held: int) -> float:
    """Return the ratio of hits of a cache that always holds the ``held`` items most asked for.

    It knows ``choices`` beforehand, which no policy does. Without choices the ratio is 0.
    """
    hits = sum(times for _, times in Counter(choices).most_common(held))
    return hits / len(choices) if choices else 0.0


def _batches(items: Sequence[int]) -> Iterator[Sequence[int]]:
    return (items[first : first + _BATCH] for first in range(0, len(items), _BATCH))


def _store(client: redis.Redis, items: Sequence[int], value: bytes) -> None:
    pipeline = client.pipeline(transaction=False)
    for item in items:
        pipeline.set(_key(item), value)
    pipeline.execute()


def _key(item: int) -> str:
    return f"{_PREFIX}{item}"


def _refuse_other_keys(client: redis.Redis) -> None:
    """Raise if the server holds a key that is not the cache's, in any logical database.

    Keys are judged by their names: two counts would differ when the cache evicts between them.
    """
    own = f"db{client.get_connection_kwargs().get('db', 0)}"
    others = sum(
        int(database["keys"]) for name, database in client.info("keyspace").items() if name != own
    )
    keys = {as_string(key) for key in client.scan_iter(count=1000)}
    others += sum(not key.startswith(_PREFIX) for key in keys)
    if others:
        raise ServerError(
            f"The key-value server holds keys that are not this cache's ({others} of them), "
            "and a memory limit might evict them: give a spare server instead."
        )
