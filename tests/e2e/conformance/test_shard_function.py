"""The hash of a value, its shard and its worker are those of Citus, for every key type."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.conformance.databases import Cluster, Connection, Database, rows, value
from tests.e2e.conformance.key_values import KEYS
from tests.e2e.conformance.scenarios import DATA
from tests.e2e.conformance.shard_ranges import placements, ranges, shard_index

pytestmark = pytest.mark.servers

_VECTORS: list[dict[str, Any]] = json.loads((DATA / "shard_vectors.json").read_text("utf-8"))


class Nodes:
    """A database with registered workers, and a session on each of its nodes."""

    def __init__(self, database: Database, workers: int) -> None:
        self.workers = workers
        self.ports = database.ports
        self.sessions = [database.connect(node) for node in range(workers + 1)]
        self.coordinator = self.sessions[0]
        self.coordinator.execute("DROP TYPE IF EXISTS mood")
        self.coordinator.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")

    def on(self, port: int) -> Connection:
        return self.sessions[self.ports.index(port)]

    def close(self) -> None:
        for session in self.sessions:
            session.close()


@pytest.fixture(scope="module")
def two(two_workers: Database) -> Iterator[Nodes]:
    """A database with two workers."""
    two_workers.empty()
    with contextlib.closing(Nodes(two_workers, 2)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def three(three_workers: Database) -> Iterator[Nodes]:
    """A database with three workers."""
    three_workers.empty()
    with contextlib.closing(Nodes(three_workers, 3)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def by_workers(cluster: Cluster, two: Nodes, three: Nodes) -> Iterator[dict[int, Nodes]]:
    """Databases with one, two and three workers."""
    with (
        cluster.database(workers=1) as database,
        contextlib.closing(Nodes(database, 1)) as single,
    ):
        yield {1: single, 2: two, 3: three}


_TYPES = sorted({vector["type"] for vector in _VECTORS})


def _marked(keys: Iterable[str], chosen: tuple[str, ...]) -> list[Any]:
    """Return all keys as parameters; those that are not chosen are marked ``verify``."""
    return [key if key in chosen else pytest.param(key, marks=pytest.mark.verify) for key in keys]


@pytest.mark.parametrize("key", _marked(_TYPES, ("bigint", "text", "uuid")))
def test_recorded_values_have_the_recorded_hash_and_shard(key: str, two: Nodes) -> None:
    """The functions return the hash and shard of every vector, and its row is in that shard."""
    chosen = [vector for vector in _VECTORS if vector["type"] == key]
    assert len({vector["shard_count"] for vector in chosen}) == 5
    for shards, group in groupby(chosen, key=lambda vector: int(vector["shard_count"])):
        vectors = list(group)
        values = [str(vector["value"]) for vector in vectors]
        with _table(two, key, shards) as first:
            computed = _hash_and_shard(two.coordinator, key, values)
            assert computed == [
                (vector["hash"], first + vector["shard_index"]) for vector in vectors
            ]
            _fill(two.coordinator, key, values)
            expected = [vector["shard_index"] for vector in vectors]
            assert _shard_indexes(two, first, expected) == expected


@pytest.mark.verify
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_row_is_in_its_computed_shard(
    data: st.DataObject, by_workers: dict[int, Nodes]
) -> None:
    """For any key type, values, shard count and number of workers."""
    key = data.draw(st.sampled_from(sorted(KEYS)), label="key")
    shards = data.draw(st.integers(1, 64), label="shards")
    workers = data.draw(st.integers(1, 3), label="workers")
    values = data.draw(st.lists(KEYS[key], min_size=1, max_size=12), label="values")
    _check(by_workers[workers], key, shards, values)


@pytest.mark.parametrize("key", _marked(sorted(KEYS), ("integer", "mood", "timestamptz")))
def test_every_key_type_is_placed_in_the_computed_shards(key: str, three: Nodes) -> None:
    """Each key type is tried with seven shards, whose ranges are uneven."""

    @settings(max_examples=1, deadline=None, derandomize=True)
    @given(st.lists(KEYS[key], min_size=20, max_size=20))
    def check(values: list[str]) -> None:
        _check(three, key, 7, values)

    check()


# With 32 shards, each has 2 ** 27 hashes: keys whose hash is the lowest or the highest of a shard.
_LOWEST_OF_A_SHARD = (31749897, 31877846, 61957482)
_HIGHEST_OF_A_SHARD = (283333144, 315645816, 453691513)


def test_a_range_includes_its_lowest_and_its_highest_hash(three: Nodes) -> None:
    """A random key is unlikely to have such a hash."""
    keys = (*_LOWEST_OF_A_SHARD, *_HIGHEST_OF_A_SHARD)
    computed = rows(three.coordinator, "SELECT worker_hash(k) FROM unnest(%s::int[]) k", list(keys))
    limits = ranges(32)
    for (hashed,) in computed[:3]:
        assert hashed in {low for low, _ in limits}
    for (hashed,) in computed[3:]:
        assert hashed in {high for _, high in limits}
    _check(three, "integer", 32, [str(key) for key in keys])


@pytest.mark.verify
def test_rows_are_in_the_computed_shards_of_1024(three: Nodes) -> None:
    """There are three workers."""
    _check(three, "bigint", 1024, [str(7 * number) for number in range(500)])


def _check(nodes: Nodes, key: str, shards: int, values: list[str]) -> None:
    with _table(nodes, key, shards) as first:
        found = rows(
            nodes.coordinator,
            "SELECT shardid, shardminvalue::int, shardmaxvalue::int, nodeport "
            "FROM pg_dist_shard JOIN pg_dist_shard_placement USING (shardid) ORDER BY shardid",
        )
        ids = range(first, first + shards)
        ports = placements(shards, nodes.ports[1 : nodes.workers + 1])
        assert found == [
            (shard, *limits, port)
            for shard, limits, port in zip(ids, ranges(shards), ports, strict=True)
        ]
        computed = _hash_and_shard(nodes.coordinator, key, values)
        expected = [shard_index(hashed, shards) for hashed, _ in computed]
        assert [shard - first for _, shard in computed] == expected
        _fill(nodes.coordinator, key, values)
        assert _shard_indexes(nodes, first, expected) == expected


@contextlib.contextmanager
def _table(nodes: Nodes, key: str, shards: int) -> Iterator[int]:
    """Create the distributed table ``spread``, yield its first shard id, and drop it."""
    nodes.coordinator.execute(f"CREATE TABLE spread (k {key}, n int)")
    try:
        nodes.coordinator.execute(
            "SELECT create_distributed_table('spread', 'k', colocate_with => 'none', "
            f"shard_count => {shards})"
        )
        [(first, count)] = rows(
            nodes.coordinator, "SELECT min(shardid), count(*) FROM pg_dist_shard"
        )
        assert count == shards
        yield first
    finally:
        nodes.coordinator.execute("DROP TABLE spread")


def _hash_and_shard(connection: Connection, key: str, values: list[str]) -> list[tuple[Any, ...]]:
    kind = key.split(" COLLATE")[0]
    return rows(
        connection,
        f"SELECT worker_hash(v::{kind}), get_shard_id_for_distribution_column('spread', v::{kind}) "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS given (v, n) ORDER BY n",
        values,
    )


def _fill(connection: Connection, key: str, values: list[str]) -> None:
    """Insert the values, each with its number in the list."""
    kind = key.split(" COLLATE")[0]
    connection.execute(
        f"INSERT INTO spread SELECT v::{kind}, n - 1 "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS given (v, n)",
        [values],
    )


def _shard_indexes(nodes: Nodes, first: int, expected: list[int]) -> list[int | None]:
    """Return the index of the shard that has each row, by queries on the workers.

    Only the shards in which a row is expected are queried: together they must have all rows.
    """
    assert value(nodes.coordinator, "SELECT count(*) FROM spread") == len(expected)
    found: list[int | None] = [None] * len(expected)
    ports = placements(max(expected) + 1, nodes.ports[1 : nodes.workers + 1])
    for index in set(expected):
        numbers = rows(nodes.on(ports[index]), f"SELECT n FROM public.spread_{first + index}")
        for (number,) in numbers:
            assert found[number] is None, "a row is in one shard"
            found[number] = index
    return found
