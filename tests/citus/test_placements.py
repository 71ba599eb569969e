"""Which rows are missing where a worker is away, worked out from the shards' ranges of hashes."""

from __future__ import annotations

import json

from helpers.citus.placements import Node, Shard, ShardStatus, ids_on
from helpers.citus.shard_function import hash_bigint
from helpers.settings import PROJECT

# Three keys with neighbouring hashes: the lowest of the second shard below, one within it, and its
# highest, as hashint8 answers.
_LOW, _WITHIN, _HIGH = -1073741824, -1011077333, -939524097
_KEYS = {645610953: _LOW, 4: _WITHIN}

_NODES = [Node(f"worker{number}", "") for number in (1, 2)]
_SHARDS = (
    Shard(102008, "products_102008", -(2**31), _LOW - 1, _NODES[0]),
    Shard(102009, "products_102009", _LOW, _HIGH, _NODES[1]),
    Shard(102010, "products_102010", _HIGH + 1, 2**31 - 1, _NODES[0]),
)
_BELOW, _ABOVE = 1, 506787653  # their hashes: -1905060026, and _HIGH + 1


_VECTORS = PROJECT / "tests" / "e2e" / "conformance" / "data" / "shard_vectors.json"


def test_the_hashes_are_those_of_postgresql() -> None:
    recorded = [one for one in json.loads(_VECTORS.read_text("utf-8")) if one["type"] == "bigint"]
    assert len({one["value"] for one in recorded}) > 20
    for one in recorded:
        assert hash_bigint(int(one["value"])) == one["hash"], one["value"]
    assert {key: hash_bigint(key) for key in _KEYS} == _KEYS
    assert hash_bigint(_BELOW) == -1905060026
    assert hash_bigint(_ABOVE) == _HIGH + 1


def test_a_shard_has_the_keys_from_its_lowest_hash_to_its_highest() -> None:
    keys = [_ABOVE, 4, _BELOW, 645610953]
    assert ids_on([_SHARDS[1]], keys) == [4, 645610953]
    assert ids_on([_SHARDS[2]], keys) == [_ABOVE]
    assert ids_on([_SHARDS[0], _SHARDS[2]], keys) == [_ABOVE, _BELOW]
    highest = Shard(1, "products_1", -(2**31), _LOW, _NODES[0])
    assert ids_on([highest], keys) == [_BELOW, 645610953]


def test_only_keys_of_a_lost_shard_need_it() -> None:
    standing = ShardStatus(_SHARDS, frozenset({"worker2"}))
    assert standing.unavailable_shards == (_SHARDS[1],)
    assert standing.available_shards == (_SHARDS[0], _SHARDS[2])
    assert standing.needs_unavailable_shards(None)
    assert standing.needs_unavailable_shards([_ABOVE, 645610953])
    assert standing.needs_unavailable_shards([4])
    assert not standing.needs_unavailable_shards([_BELOW, _ABOVE])
    assert not standing.needs_unavailable_shards([])
    assert standing.unavailable_shards_of([4]) == (_SHARDS[1],)
    assert standing.unavailable_shards_of([_BELOW, _ABOVE]) == ()


def test_nothing_is_lost_while_all_nodes_answer() -> None:
    standing = ShardStatus(_SHARDS, frozenset())
    assert standing.available_shards == _SHARDS
    assert not standing.needs_unavailable_shards(None)
    assert not standing.needs_unavailable_shards([4])
