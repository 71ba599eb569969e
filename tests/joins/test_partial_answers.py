"""Rows from the live shards: the coordinator's result without the rows of the missing shards."""

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
from helpers.citus.placements import PlacementNode, ShardPlacement, ShardStatus, probe
from helpers.citus.shard_function import hash_bigint
from helpers.citus.shards import shards_of
from helpers.errors import NodeUnavailableError, StoreError
from helpers.joins import Query, run
from helpers.joins.driver_adapters import PostgresRequest, send
from helpers.joins.executor import ResilientExecutor
from helpers.joins.partial_answers import (
    MissingShards,
    PartialRows,
    ShardReader,
    matching_ids,
    page_ids,
    query_live_shards,
)
from helpers.joins.requests import (
    CountCategories,
    CountProducts,
    FindIds,
    SelectProducts,
    ask,
)
from helpers.settings import Addresses
from helpers.shop.seeding import seed
from helpers.stores import Stores
from helpers.stores.async_stores import AsyncStores
from helpers.stores.trace import Trace
from tests.connections import connect_async_again
from tests.snapshots import empty_shop
from tests.waiting import come

T = TypeVar("T")

COUNT = 40
REQUESTS: list[PostgresRequest] = [
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


def with_shards(shop: Stores, work: Callable[[AsyncStores, ShardReader], Awaitable[T]]) -> T:
    async def main(stores: AsyncStores) -> T:
        async with contextlib.aclosing(ShardReader(stores)) as shards:
            return await work(stores, shards)

    return in_loop(shop, main)


def in_loop(shop: Stores, work: Callable[[AsyncStores], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await connect_async_again(shop) as stores:
            return await work(stores)

    return asyncio.run(main())


async def _probe(stores: AsyncStores, addresses: Addresses | None = None) -> ShardStatus:
    async with contextlib.aclosing(NodeConnections()) as connections:
        found = addresses or stores.addresses
        return await probe(connections, stores.postgres.url, found, "products")


async def _query_live(request: PostgresRequest, status: ShardStatus) -> tuple[Any, MissingShards]:
    async with contextlib.aclosing(NodeConnections()) as connections:
        return await query_live_shards(connections, request, status)


def _worker_ids(shop: Stores) -> dict[str, list[int]]:
    """Return the products of each worker, read from the shards on the nodes."""
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


def test_hash_bigint_is_postgresqls_hashint8(shop: Stores) -> None:
    ids = [*BORDERS, *range(1, 2000)]
    rows = shop.postgres.execute("SELECT hashint8(id) FROM unnest(%s::bigint[]) AS id", [ids])
    assert [hash_bigint(product_id) for product_id in ids] == [hashed for (hashed,) in rows]


def test_a_probe_returns_all_shards_and_their_nodes(shop: Stores) -> None:
    status = in_loop(shop, _probe)
    expected = [
        (shard.id, shard.low, shard.high, shard.node.replace(" ", ""))
        for shard in shards_of(shop.postgres, "products")
    ]
    found = [(shard.id, shard.low, shard.high, shard.node.name) for shard in status.shards]
    assert sorted(found) == sorted(expected)
    assert status.unavailable_nodes == frozenset()
    assert (status.available_shards, status.unavailable_shards) == (status.shards, ())
    assert "password" not in repr(status)


def test_workers_without_an_address_are_reached_at_the_coordinators_address_for_them(
    shop: Stores,
) -> None:
    addresses = replace(shop.addresses, workers=())
    status = in_loop(shop, lambda stores: _probe(stores, addresses))
    assert status.unavailable_nodes == frozenset()
    assert {shard.node.name for shard in status.shards} == {"worker1", "worker2"}


def test_all_shards_together_return_the_coordinators_result(shop: Stores) -> None:
    async def work(stores: AsyncStores) -> list[tuple[Any, MissingShards]]:
        status = await _probe(stores)
        return [await _query_live(request, status) for request in REQUESTS]

    for request, (found, missing) in zip(REQUESTS, in_loop(shop, work), strict=True):
        assert found == send(shop, request), request
        assert not missing


@pytest.mark.parametrize("down", ["worker1", "worker2"])
@pytest.mark.parametrize("refuses", [False, True], ids=["known to be down", "goes down meanwhile"])
def test_live_shards_return_the_other_rows(shop: Stores, refuses: bool, down: str) -> None:
    async def work(stores: AsyncStores) -> list[tuple[Any, MissingShards, ShardStatus]]:
        status = await _probe(stores)
        statuses = [
            _refusing(status, down)
            if refuses
            else replace(status, unavailable_nodes=frozenset({down}))
            for _ in REQUESTS
        ]
        return [
            (*await _query_live(request, status), status)
            for request, status in zip(REQUESTS, statuses, strict=True)
        ]

    gone = _worker_ids(shop)[down]
    for request, (found, missing, status) in zip(REQUESTS, in_loop(shop, work), strict=True):
        assert found == _without(shop, request, gone), request
        _assert_missing(request, missing, status, down, gone)


def _assert_missing(
    request_: PostgresRequest,
    missing: MissingShards,
    status: ShardStatus,
    down: str,
    gone: list[int],
) -> None:
    shards = {shard.id for shard in status.shards if shard.node.name == down}
    if isinstance(request_, CountProducts) or request_.ids is None:
        assert {*missing.shard_ids} == shards
        assert missing.nodes == (down,)
        assert missing.among(range(1, COUNT + 1)) == gone
    else:
        unavailable = [product_id for product_id in request_.ids if product_id in gone]
        assert {*missing.shard_ids} <= shards
        assert {*unavailable} <= {*missing.among(request_.ids)}
        assert bool(missing) is bool(missing.among(request_.ids))


def _refusing(status: ShardStatus, name: str) -> ShardStatus:
    """Return a probe in which a node that refuses every connection responded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    node = PlacementNode(name, f"host=127.0.0.1 port={port}")
    shards = (
        replace(shard, node=node) if shard.node.name == name else shard for shard in status.shards
    )
    return ShardStatus(tuple(shards), frozenset())


def _without(shop: Stores, request: PostgresRequest, gone: list[int]) -> Any:
    """Return the expected result of a request on a table without some products."""
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


def test_connecting_to_an_unresponsive_node_times_out() -> None:
    """The node accepts connections, as a frozen process does, and sends nothing."""

    async def main() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            with pytest.raises((psycopg.OperationalError, TimeoutError)):
                async with NodeConnections().connection(
                    f"host=127.0.0.1 port={port} user=any", 0.05
                ):
                    raise AssertionError("connected to a socket that sends nothing")

    asyncio.run(main())


def test_a_response_probes_the_workers_once(shop: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all if it needs no missing shard."""

    async def work(stores: AsyncStores, shards: ShardReader) -> None:
        probes = 0
        status = replace(await _probe(stores), unavailable_nodes=frozenset({"worker1"}))

        async def fake_probe() -> ShardStatus:
            nonlocal probes
            probes += 1
            shards._last = status
            return status

        monkeypatch.setattr(shards, "_probe", fake_probe)
        assert await PartialRows(shards)(CountProducts()) == COUNT, "no worker is known to be down"
        assert probes == 0
        await shards.probe()
        rows = PartialRows(shards)
        there = _worker_ids(shop)
        for _ in range(3):
            assert await rows(CountProducts()) == len(there["worker2"])
        assert probes == 2
        assert rows.missing.nodes == ("worker1",)
        rows = PartialRows(shards)
        assert await rows(SelectProducts(there["worker2"]))
        await shards.check(there["worker2"])
        assert not rows.missing
        assert probes == 2
        with pytest.raises(NodeUnavailableError, match="worker1 does not answer") as failed:
            await shards.check(there["worker1"][:1])
        assert failed.value.nodes == ("worker1",)
        assert failed.value.store == "PostgreSQL"
        status = replace(status, unavailable_nodes=frozenset({"worker1", "worker2"}))
        with pytest.raises(NodeUnavailableError, match="worker1 and worker2 do not answer"):
            await PartialRows(shards)(CountProducts())
        status = replace(status, unavailable_nodes=frozenset())
        assert await PartialRows(shards)(CountProducts()) == COUNT, "the workers are back"
        assert not shards.unavailable

    with_shards(shop, work)


def test_an_error_that_no_worker_caused_is_raised_as_it_is(shop: Stores) -> None:
    async def work(stores: AsyncStores, shards: ShardReader) -> None:
        executor = ResilientExecutor(stores, trace=Trace(), seconds=5, rows=PartialRows(shards))
        with pytest.raises(StoreError) as failed:
            await executor.send(SelectProducts(limit=-1))
        assert not isinstance(failed.value, NodeUnavailableError)
        assert not shards.unavailable

    with_shards(shop, work)


def test_connections_to_a_node_are_limited_and_reused(shop: Stores) -> None:
    """A connection that the server has closed is not reused."""

    async def work(stores: AsyncStores) -> None:
        async with contextlib.aclosing(NodeConnections()) as connections:
            checked_out = 0
            most = 0

            async def query() -> int:
                nonlocal checked_out, most
                async with connections.connection(stores.postgres.url, 30) as connection:
                    checked_out += 1
                    most = max(most, checked_out)
                    await connection.execute("SELECT pg_sleep(0.01)")
                    checked_out -= 1
                    return connection.info.backend_pid

            backends = {*await asyncio.gather(*(query() for _ in range(20)))}
            assert most == len(backends) == 4
            assert await query() in backends
            shop.postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [[*backends]]
            )
            find = "SELECT FROM pg_stat_activity WHERE pid = ANY(%s)"
            await come(lambda: not shop.postgres.execute(find, [[*backends]]).fetchall())
            assert await query() not in backends

    in_loop(shop, work)


def _find(shop: Stores, request: FindIds) -> list[int]:
    return run(shop, ask(request))


def test_mongodb_tells_which_products_may_be_missing(shop: Stores) -> None:
    everyone = list(range(1, COUNT + 1))
    assert _find(shop, matching_ids()) == everyone
    assert _find(shop, page_ids(Query(limit=5), 5)) == everyone[:5]
    assert _find(shop, page_ids(Query(after=5), 9)) == [6, 7, 8, 9]
    assert _find(shop, page_ids(Query(after=38), None)) == [39, 40]
    assert _find(shop, page_ids(Query(ids=[3, 7, 39, 41]), None)) == [3, 7, 39]
    tagged = {
        document["product_id"] for document in shop.mongo.productmetas.find({"tags": "electronics"})
    }
    assert {*_find(shop, matching_ids(Query(tags=["electronics"])))} == tagged


def test_products_whose_documents_tell_another_category_are_not_missing(shop: Stores) -> None:
    """The category is a field in schema version 2, a tag in version 1, or unknown."""
    documents = shop.mongo.productmetas
    rows = shop.postgres.execute("SELECT id, category FROM products ORDER BY id").fetchall()
    laptops = [product_id for product_id, category in rows if category == "laptop"]
    assert _find(shop, matching_ids(Query(category="laptop"))) == laptops
    lamp = next(product_id for product_id, category in rows if category == "lamp")
    for changed, is_found in (({"tags": ["gift"]}, True), ({"category": "lamp"}, False)):
        documents.update_one(
            {"product_id": lamp}, {"$set": changed}, bypass_document_validation=True
        )
        found = _find(shop, matching_ids(Query(category="laptop")))
        assert found == (sorted([*laptops, lamp]) if is_found else laptops)


def test_headers_list_the_first_200_missing_products_and_count_all() -> None:
    shard = ShardPlacement(
        102008, "products_102008", -(2**31), -1, PlacementNode("worker1", "password=secret")
    )
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
