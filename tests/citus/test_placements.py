"""Which rows an unavailable worker has, computed from the shards' ranges of hashes."""

from __future__ import annotations

import json

from helpers.citus.placements import PlacementNode, ShardPlacement, ShardStatus, ids_on
from helpers.citus.shard_function import hash_bigint
from helpers.settings import PROJECT

# Hashes of hashint8: the lowest of the second shard below, one inside it, and its highest.
_LOW, _WITHIN, _HIGH = -1073741824, -1011077333, -939524097
_KEYS = {645610953: _LOW, 4: _WITHIN}

_NODES = [PlacementNode(f"worker{number}", "") for number in (1, 2)]
_SHARDS = (
    ShardPlacement(102008, "products_102008", -(2**31), _LOW - 1, _NODES[0]),
    ShardPlacement(102009, "products_102009", _LOW, _HIGH, _NODES[1]),
    ShardPlacement(102010, "products_102010", _HIGH + 1, 2**31 - 1, _NODES[0]),
)
_BELOW, _ABOVE = 1, 506787653  # their hashes: -1905060026, and _HIGH + 1


_VECTORS = PROJECT / "tests" / "e2e" / "conformance" / "data" / "shard_vectors.json"


def test_hash_bigint_returns_the_hashes_of_postgresql() -> None:
    vectors = json.loads(_VECTORS.read_text("utf-8"))
    hashes = {
        int(vector["value"]): vector["hash"] for vector in vectors if vector["type"] == "bigint"
    }
    assert len(hashes) > 20
    assert {key: hash_bigint(key) for key in hashes} == hashes
    assert {key: hash_bigint(key) for key in _KEYS} == _KEYS
    assert hash_bigint(_BELOW) == -1905060026
    assert hash_bigint(_ABOVE) == _HIGH + 1


def test_a_shard_has_the_keys_from_its_lowest_to_its_highest_hash() -> None:
    keys = [_ABOVE, 4, _BELOW, 645610953]
    assert ids_on([_SHARDS[1]], keys) == [4, 645610953]
    assert ids_on([_SHARDS[2]], keys) == [_ABOVE]
    assert ids_on([_SHARDS[0], _SHARDS[2]], keys) == [_ABOVE, _BELOW]
    highest = ShardPlacement(1, "products_1", -(2**31), _LOW, _NODES[0])
    assert ids_on([highest], keys) == [_BELOW, 645610953]


def test_only_keys_of_an_unavailable_shard_need_it() -> None:
    status = ShardStatus(_SHARDS, frozenset({"worker2"}))
    assert status.unavailable_shards == (_SHARDS[1],)
    assert status.available_shards == (_SHARDS[0], _SHARDS[2])
    assert status.needs_unavailable_shards(None)
    assert status.needs_unavailable_shards([_ABOVE, 645610953])
    assert status.needs_unavailable_shards([4])
    assert not status.needs_unavailable_shards([_BELOW, _ABOVE])
    assert not status.needs_unavailable_shards([])
    assert status.unavailable_shards_of([4]) == (_SHARDS[1],)
    assert status.unavailable_shards_of([_BELOW, _ABOVE]) == ()


def test_no_shard_is_unavailable_while_all_nodes_answer() -> None:
    status = ShardStatus(_SHARDS, frozenset())
    assert status.available_shards == _SHARDS
    assert not status.needs_unavailable_shards(None)
    assert not status.needs_unavailable_shards([4])
