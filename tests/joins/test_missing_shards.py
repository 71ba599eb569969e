"""Rows from the shards that are left: what the coordinator would answer, less what is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
import pytest

from helpers.api.responses import JSONBody, ReadResult
from helpers.citus.node_connections import NodeConnections
from helpers.citus.placements import Node, Shard, ShardStatus, probe
from helpers.citus.shard_function import hash_bigint
from helpers.citus.shards import shards_of
from helpers.errors import NodeUnavailableError, StoreError
from helpers.joins import Query, run
from helpers.joins.executor import answer
from helpers.joins.live_shards import Rows, Workers
from helpers.joins.missing_products import everything, on_page
from helpers.joins.missing_shards import FromPostgres, MissingShards, ask_live
from helpers.joins.requests import (
    CountCategories,
    CountProducts,
    FindIds,
    SelectProducts,
    ask,
)
from helpers.joins.resilient_executor import ResilientExecutor
from helpers.settings import Addresses
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores, connect_beside
from helpers.stores.trace import Trace
from tests.snapshots import empty_shop
from tests.waiting import come

T = TypeVar("T")

COUNT = 40
REQUESTS: list[FromPostgres] = [
    SelectProducts(),
    SelectProducts(limit=7),
    SelectProducts(after=11, limit=5),
    SelectProducts(category="laptop"),
    SelectProducts([39, 2, 1, 17, 1_000_000]),
    SelectProducts([]),
    CountProducts(),
    CountProducts("laptop", 10),
    CountCategories(),
    CountCategories(list(range(1, 21))),
]
BORDERS = [0, 1, -1, 42, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**63 - 1, -(2**63)]


@pytest.fixture(scope="module")
def shop(shared: Stores) -> Iterator[Stores]:
    """Products 1 to 40 on two workers."""
    seed(empty_shop(shared), COUNT, orders=False)
    yield shared
    empty_shop(shared)


def with_workers(shop: Stores, work: Callable[[AsyncStores, Workers], Awaitable[T]]) -> T:
    async def main(stores: AsyncStores) -> T:
        async with contextlib.aclosing(Workers(stores)) as workers:
            return await work(stores, workers)

    return awaited(shop, main)


def awaited(shop: Stores, work: Callable[[AsyncStores], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await connect_beside(shop) as stores:
            return await work(stores)

    return asyncio.run(main())


async def _look(stores: AsyncStores, addresses: Addresses | None = None) -> ShardStatus:
    async with contextlib.aclosing(NodeConnections()) as connections:
        found = addresses or stores.addresses
        return await probe(connections, stores.postgres.url, found, "products")


async def _ask_live(request: FromPostgres, standing: ShardStatus) -> tuple[Any, MissingShards]:
    async with contextlib.aclosing(NodeConnections()) as connections:
        return await ask_live(connections, request, standing)


def _worker_ids(shop: Stores) -> dict[str, list[int]]:
    """Return the products of each worker, by the nodes' own tables."""
    found: dict[str, list[int]] = {}
    rows = shop.postgres.execute(
        "SELECT nodename, nodeport, result FROM "
        "run_command_on_placements('products', 'SELECT array_agg(id) FROM %s')"
    ).fetchall()
    workers = shop.postgres.execute(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 ORDER BY nodeid"
    ).fetchall()
    for host, port, ids in rows:
        name = f"worker{workers.index((host, port)) + 1}"
        found.setdefault(name, []).extend(map(int, filter(None, ids.strip("{}").split(","))))
    return {name: sorted(ids) for name, ids in found.items()}


def test_the_hash_is_postgresqls(shop: Stores) -> None:
    ids = [*BORDERS, *range(1, 2000)]
    rows = shop.postgres.execute("SELECT hashint8(id) FROM unnest(%s::bigint[]) AS id", [ids])
    assert [hash_bigint(one) for one in ids] == [hashed for (hashed,) in rows]


def test_it_is_known_where_the_shards_stand(shop: Stores) -> None:
    standing = awaited(shop, _look)
    expected = [
        (one.id, one.low, one.high, one.node.replace(" ", ""))
        for one in shards_of(shop.postgres, "products")
    ]
    found = [(one.id, one.low, one.high, one.node.name) for one in standing.shards]
    assert sorted(found) == sorted(expected)
    assert standing.away == frozenset()
    assert (standing.live, standing.lost) == (standing.shards, ())
    assert "password" not in repr(standing)


def test_workers_that_the_addresses_do_not_name_are_reached_as_the_coordinator_does(
    shop: Stores,
) -> None:
    addresses = replace(shop.addresses, workers=())
    standing = awaited(shop, lambda stores: _look(stores, addresses))
    assert standing.away == frozenset()
    assert {one.node.name for one in standing.shards} == {"worker1", "worker2"}


def test_from_all_shards_comes_what_the_coordinator_answers(shop: Stores) -> None:
    async def work(stores: AsyncStores) -> list[tuple[Any, MissingShards]]:
        standing = await _look(stores)
        return [await _ask_live(request, standing) for request in REQUESTS]

    for request, (found, lost) in zip(REQUESTS, awaited(shop, work), strict=True):
        assert found == answer(shop, request), request
        assert not lost


@pytest.mark.parametrize("away", ["worker1", "worker2"])
@pytest.mark.parametrize("silent", [False, True], ids=["known", "falls silent meanwhile"])
def test_from_those_that_are_left_comes_the_rest(shop: Stores, silent: bool, away: str) -> None:
    async def work(stores: AsyncStores) -> list[tuple[Any, MissingShards, ShardStatus]]:
        standing = await _look(stores)
        standings = [
            _silenced(standing, away) if silent else replace(standing, away=frozenset({away}))
            for _ in REQUESTS
        ]
        return [
            (*await _ask_live(request, standing), standing)
            for request, standing in zip(REQUESTS, standings, strict=True)
        ]

    gone = _worker_ids(shop)[away]
    for request, (found, lost, standing) in zip(REQUESTS, awaited(shop, work), strict=True):
        assert found == _without(shop, request, gone), request
        _assert_lost(request, lost, standing, away, gone)


def _assert_lost(
    request_: FromPostgres, lost: MissingShards, standing: ShardStatus, away: str, gone: list[int]
) -> None:
    shards = {one.id for one in standing.shards if one.node.name == away}
    if isinstance(request_, CountProducts) or request_.ids is None:
        assert {*lost.shard_ids} == shards
        assert lost.nodes == (away,)
        assert lost.among(range(1, COUNT + 1)) == gone
    else:
        asked = [one for one in request_.ids if one in gone]
        assert {*lost.shard_ids} <= shards
        assert {*asked} <= {*lost.among(request_.ids)}
        assert bool(lost) is bool(lost.among(request_.ids))


def _silenced(standing: ShardStatus, name: str) -> ShardStatus:
    """Let a node that is thought to be there refuse every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    node = Node(name, f"host=127.0.0.1 port={port}")
    shards = (replace(one, node=node) if one.node.name == name else one for one in standing.shards)
    return ShardStatus(tuple(shards), frozenset())


def _without(shop: Stores, request: FromPostgres, gone: list[int]) -> Any:
    """Answer a request from a table that lacks some products, by hand."""
    rows = shop.postgres.execute(
        "SELECT id, name, price::text, category FROM products ORDER BY id"
    ).fetchall()
    rows = [row for row in rows if row[0] not in gone]
    if not isinstance(request, CountProducts) and request.ids is not None:
        rows = [row for row in rows if row[0] in request.ids]
    if isinstance(request, CountCategories):
        counted = Counter(row[3] for row in rows)
        return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    if request.category is not None:
        rows = [row for row in rows if row[3] == request.category]
    if request.after is not None:
        rows = [row for row in rows if row[0] > request.after]
    if isinstance(request, CountProducts):
        return len(rows)
    return [row[:3] for row in rows][: request.limit]


def test_a_node_that_is_silent_is_waited_for_only_so_long() -> None:
    """It takes connections, as a frozen one does, and says nothing."""

    async def main() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = silent.getsockname()[1]
            with pytest.raises((psycopg.OperationalError, TimeoutError)):
                async with NodeConnections().lend(f"host=127.0.0.1 port={port} user=any", 0.05):
                    raise AssertionError("it has said nothing")

    asyncio.run(main())


def test_an_answer_looks_at_the_workers_once(shop: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none at all where it needs nothing of what is lost."""

    async def work(stores: AsyncStores, workers: Workers) -> None:
        looks = 0
        standing = replace(await _look(stores), away=frozenset({"worker1"}))

        async def looked() -> ShardStatus:
            nonlocal looks
            looks += 1
            workers._last = standing
            return standing

        monkeypatch.setattr(workers, "_look", looked)
        assert await Rows(workers)(CountProducts()) == COUNT, "nobody suspects anything"
        assert looks == 0
        await workers.probe()
        rows = Rows(workers)
        there = _worker_ids(shop)
        for _ in range(3):
            assert await rows(CountProducts()) == len(there["worker2"])
        assert looks == 2
        assert rows.lost.nodes == ("worker1",)
        rows = Rows(workers)
        assert await rows(SelectProducts(there["worker2"]))
        await workers.check(there["worker2"])
        assert not rows.lost
        assert looks == 2
        with pytest.raises(NodeUnavailableError, match="worker1 does not answer") as failed:
            await workers.check(there["worker1"][:1])
        assert failed.value.nodes == ("worker1",)
        assert failed.value.store == "PostgreSQL"
        standing = replace(standing, away=frozenset({"worker1", "worker2"}))
        with pytest.raises(NodeUnavailableError, match="worker1 and worker2 do not answer"):
            await Rows(workers)(CountProducts())
        standing = replace(standing, away=frozenset())
        assert await Rows(workers)(CountProducts()) == COUNT, "they are back"
        assert not workers.away

    with_workers(shop, work)


def test_what_is_no_workers_fault_stays_an_error(shop: Stores) -> None:
    async def work(stores: AsyncStores, workers: Workers) -> None:
        asking = ResilientExecutor(stores, trace=Trace(), seconds=5, rows=Rows(workers))
        with pytest.raises(StoreError) as failed:
            await asking(SelectProducts(limit=-1))
        assert not isinstance(failed.value, NodeUnavailableError)
        assert not workers.away

    with_workers(shop, work)


def test_connections_to_nodes_are_kept_and_few(shop: Stores) -> None:
    """One that the server has closed is not lent again."""

    async def work(stores: AsyncStores) -> None:
        async with contextlib.aclosing(NodeConnections()) as connections:
            lent = 0
            most = 0

            async def ask() -> int:
                nonlocal lent, most
                async with connections.lend(stores.postgres.url, 30) as connection:
                    lent += 1
                    most = max(most, lent)
                    await connection.execute("SELECT pg_sleep(0.01)")
                    lent -= 1
                    return connection.info.backend_pid

            backends = {*await asyncio.gather(*(ask() for _ in range(20)))}
            assert most == len(backends) == 4
            assert await ask() in backends
            shop.postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [[*backends]]
            )
            find = "SELECT FROM pg_stat_activity WHERE pid = ANY(%s)"
            await come(lambda: not shop.postgres.execute(find, [[*backends]]).fetchall())
            assert await ask() not in backends

    awaited(shop, work)


def _found(shop: Stores, request: FindIds) -> list[int]:
    return run(shop, ask(request))


def test_what_may_be_missing_is_asked_of_mongodb(shop: Stores) -> None:
    everyone = list(range(1, COUNT + 1))
    assert _found(shop, everything()) == everyone
    assert _found(shop, on_page(Query(limit=5), 5)) == everyone[:5]
    assert _found(shop, on_page(Query(after=5), 9)) == [6, 7, 8, 9]
    assert _found(shop, on_page(Query(after=38), None)) == [39, 40]
    assert _found(shop, on_page(Query(ids=[3, 7, 39, 41]), None)) == [3, 7, 39]
    tagged = {one["product_id"] for one in shop.mongo.productmetas.find({"tags": "electronics"})}
    assert {*_found(shop, everything(Query(tags=["electronics"])))} == tagged


def test_those_of_another_category_are_left_out_where_documents_tell_it(shop: Stores) -> None:
    """By the field of schema version 2, or else by a tag. One that tells none may be of any."""
    documents = shop.mongo.productmetas
    rows = shop.postgres.execute("SELECT id, category FROM products ORDER BY id").fetchall()
    laptops = [one for one, category in rows if category == "laptop"]
    assert _found(shop, everything(Query(category="laptop"))) == laptops
    lamp = next(one for one, category in rows if category == "lamp")
    for changed, is_found in (({"tags": ["gift"]}, True), ({"category": "lamp"}, False)):
        documents.update_one(
            {"product_id": lamp}, {"$set": changed}, bypass_document_validation=True
        )
        found = _found(shop, everything(Query(category="laptop")))
        assert found == (sorted([*laptops, lamp]) if is_found else laptops)


def test_headers_name_as_many_as_fit_and_count_all() -> None:
    shard = Shard(102008, "products_102008", -(2**31), -1, Node("worker1", "password=secret"))
    whole = ReadResult(JSONBody(b"[]"), Trace())
    assert whole.is_complete
    assert whole.missing_headers() == {}
    partial = replace(
        whole, lost=MissingShards(frozenset({shard})), lost_products=tuple(range(1, 1001))
    )
    assert not partial.is_complete
    headers = partial.missing_headers()
    assert headers["X-Missing-Nodes"] == "worker1"
    assert headers["X-Missing-Shards"] == "102008"
    assert headers["X-Missing-Count"] == "1000"
    assert headers["X-Missing-Products"] == ", ".join(map(str, range(1, 201)))
    nameless = replace(partial, lost_products=None, missing=frozenset({"MongoDB"}))
    assert nameless.missing_headers() == {
        "X-Missing-Stores": "MongoDB",
        "X-Missing-Nodes": "worker1",
        "X-Missing-Shards": "102008",
    }
