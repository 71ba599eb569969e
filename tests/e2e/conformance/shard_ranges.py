"""Compute in Python, as Citus does, the shard of a hash and the worker of a shard."""

from __future__ import annotations

_LOWEST = -(2**31)
_HIGHEST = 2**31 - 1


def increment(shards: int) -> int:
    """Return the number of hashes of each shard but the last."""
    return 2**32 // shards


def shard_index(hashed: int, shards: int) -> int:
    """Return the index of the shard with this hash."""
    return min((hashed - _LOWEST) // increment(shards), shards - 1)


def ranges(shards: int) -> list[tuple[int, int]]:
    """Return the lowest and the highest hash of each shard."""
    starts = [_LOWEST + index * increment(shards) for index in range(shards)]
    return list(zip(starts, [*(start - 1 for start in starts[1:]), _HIGHEST], strict=True))


def placements(shards: int, workers: list[int]) -> list[int]:
    """Return the worker of each shard of a new table; ``workers`` are their ports."""
    ordered = sorted(workers)
    return [ordered[index % len(ordered)] for index in range(shards)]
