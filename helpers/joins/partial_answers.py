"""Read PostgreSQL's rows while a worker is unavailable, and tell which rows are missing.

The coordinator can answer a query over all shards only if all workers respond. If it fails at one,
or takes long, the workers are probed. If one is unavailable, the query runs on the live shards, on
all their nodes concurrently, and the results are merged as the coordinator would merge them. The
missing rows are known by their shards and by the hash of a product's id; MongoDB knows which
products these are.

While a worker is known to be unavailable, no query that needs it is sent to the coordinator:
each response starts with another probe, so that the first one after the worker's return is
complete.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import psycopg

from helpers.catalog.categories import CATEGORIES
from helpers.citus.node_connections import NodeConnections
from helpers.citus.placements import PlacementNode, ShardPlacement, ShardStatus, ids_on, probe
from helpers.errors import NodeUnavailableError
from helpers.joins.driver_adapters import PostgresRequest, send_async, sql
from helpers.joins.pages import Query
from helpers.joins.requests import CountCategories, CountProducts, FindIds, SelectProducts
from helpers.settings import redact
from helpers.stores import Document
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import abandon

# How long a query may take before the workers are probed. A probe is cheap.
_PATIENCE_SECONDS = 0.4
# How long a node that responds to probes may take for a query.
_NODE_SECONDS = 3.0
# A probe waits for a worker that is frozen. Later callers share a probe only if it started within
# this time: they do not wait for a stale probe first and then for their own.
_SHARED_SECONDS = 0.25
_TABLE = "products"


@dataclass(frozen=True)
class MissingShards:
    """The shards whose rows are missing from a response."""

    shards: frozenset[ShardPlacement] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.shards)

    def __or__(self, other: MissingShards) -> MissingShards:
        return MissingShards(self.shards | other.shards)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of their nodes, sorted."""
        return tuple(sorted({shard.node.name for shard in self.shards}))

    @property
    def shard_ids(self) -> tuple[int, ...]:
        """Their ids, sorted."""
        return tuple(sorted(shard.id for shard in self.shards))

    def among(self, ids: Collection[int]) -> list[int]:
        """Return those product ids that hash to these shards."""
        return ids_on(self.shards, ids)


class ShardReader:
    """Reads rows through the coordinator, or from the live shards if a worker is unavailable.

    One for all requests of a service; it remembers the last probe. Close it with ``aclose()``.
    """

    def __init__(self, stores: AsyncStores) -> None:
        self._last = ShardStatus((), frozenset())
        self._stores = stores
        self._connections = NodeConnections()
        self._probing: asyncio.Task[ShardStatus] | None = None
        self._probe_started = 0.0

    async def aclose(self) -> None:
        """Close the connections to the nodes."""
        await self._connections.aclose()

    @property
    def unavailable(self) -> frozenset[str]:
        """The names of the workers that did not respond to the last probe."""
        return self._last.unavailable_nodes

    async def probe(self) -> ShardStatus:
        """Probe the workers, or share a probe that has just started.

        Raises ``psycopg.OperationalError`` or ``TimeoutError`` if the coordinator is unavailable.
        """
        now = time.monotonic()
        probing = self._probing
        if probing is None or probing.done() or now > self._probe_started + _SHARED_SECONDS:
            probing = self._probing = asyncio.create_task(self._probe())
            probing.add_done_callback(_consume_error)
            self._probe_started = now
        return await asyncio.shield(probing)  # cancelling one caller does not cancel the others

    async def read(
        self, request: PostgresRequest, known: ShardStatus | None = None
    ) -> tuple[Any, MissingShards, ShardStatus | None]:
        """Return the result of a request, the shards that it lacks, and the last probe.

        ``known`` is the probe of an earlier request for the same response, or ``None``. The probe
        returned is ``None`` if there was none.

        Raises ``psycopg.Error`` if the coordinator is unavailable, and ``NodeUnavailableError`` if
        all nodes are that have the rows.
        """
        status = known
        if status is None and self._last.needs_unavailable_shards(_ids_of(request)):
            status = await self._probe_if_possible()
        if status is None or not status.unavailable_nodes:
            result, status = await self._query_coordinator(request)
            if status is None:
                return result, MissingShards(), None
        result, missing = await query_live_shards(self._connections, request, status)
        if len(missing.shards) == len(status.shards):
            raise self._error(missing, "no other node has the rows")
        return result, missing, status

    async def check(self, product_ids: Collection[int] | None = None) -> None:
        """Raise ``NodeUnavailableError`` if a worker with these products is known to be down.

        Without ids: with any product. Probes the workers only if one was unavailable before.
        """
        if self._last.needs_unavailable_shards(product_ids):
            await self.probe_and_check(product_ids)

    async def probe_and_check(self, product_ids: Collection[int] | None = None) -> None:
        """Probe the workers; raise ``NodeUnavailableError`` if one with these products is down."""
        status = await self._probe_if_possible()
        if status is None or not status.unavailable_nodes:
            return
        if product_ids is None:
            raise self._error(
                MissingShards(frozenset(status.unavailable_shards)), "all rows are needed"
            )
        missing = MissingShards(frozenset(status.unavailable_shards_of(product_ids)))
        if missing:
            raise self.product_error(missing, product_ids)

    def product_error(self, missing: MissingShards, ids: Collection[int]) -> NodeUnavailableError:
        """Return the error for products that are on missing shards."""
        named = ", ".join(map(str, missing.among(ids)[:10]))
        return self._error(missing, f"product {named} is stored there")

    def _error(self, missing: MissingShards, consequence: str) -> NodeUnavailableError:
        address = redact(self._stores.addresses.coordinator)
        return NodeUnavailableError("PostgreSQL", address, missing.nodes, consequence)

    async def _probe(self) -> ShardStatus:
        stores = self._stores
        self._last = await probe(self._connections, stores.postgres.url, stores.addresses, _TABLE)
        return self._last

    async def _probe_if_possible(
        self, *, unless: asyncio.Future[Any] | None = None
    ) -> ShardStatus | None:
        """Probe the workers; ``None`` if that fails or if ``unless`` is done before."""
        probing = asyncio.ensure_future(self.probe())
        waited = {probing} if unless is None else {probing, unless}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return await probing if probing.done() else None
        except (psycopg.OperationalError, TimeoutError):
            return None
        finally:
            probing.cancel()

    async def _query_coordinator(self, request: PostgresRequest) -> tuple[Any, ShardStatus | None]:
        """Return the coordinator's result; or a probe, if a worker is unavailable."""
        query = asyncio.ensure_future(send_async(self._stores, request))
        try:
            await asyncio.wait({query}, timeout=_PATIENCE_SECONDS)
            status = None if query.done() else await self._probe_if_possible(unless=query)
            if status is None or not status.unavailable_nodes:
                return await query, None
            abandon(query)
        except psycopg.Error as error:
            if error.sqlstate is None:  # not sent by the coordinator: it is unavailable itself
                raise
            status = await self._probe_if_possible()
            if status is None or not status.unavailable_nodes:
                raise
        except asyncio.CancelledError:
            query.cancel()
            raise
        return None, status


class PartialRows:
    """Sends PostgreSQL's requests for one response, and collects the missing shards.

    ``missing`` has the shards that at least one result lacks.
    """

    def __init__(self, shards: ShardReader) -> None:
        self.missing = MissingShards()
        self._shards = shards
        self._status: ShardStatus | None = None

    async def __call__(self, request: Any) -> Any:
        """Send one request. Raises what ``ShardReader.read`` raises."""
        result, missing, self._status = await self._shards.read(request, self._status)
        self.missing |= missing
        return result


async def query_live_shards(
    connections: NodeConnections, request: PostgresRequest, status: ShardStatus
) -> tuple[Any, MissingShards]:
    """Run a request on the shards whose nodes respond; return its result and the missing shards.

    A request for given ids lacks only the shards of these ids. If a node stops responding
    meanwhile, its shards are missing too. Raises ``psycopg.Error`` if a node returns another error.
    """
    by_node: dict[PlacementNode, list[ShardPlacement]] = {}
    for shard in status.available_shards:
        by_node.setdefault(shard.node, []).append(shard)
    results = await asyncio.gather(
        *(_query_node(connections, node, shards, request) for node, shards in by_node.items())
    )
    failed = {node.name for node, rows in zip(by_node, results, strict=True) if rows is None}
    status = ShardStatus(status.shards, status.unavailable_nodes | failed)
    ids = _ids_of(request)
    missing = status.unavailable_shards if ids is None else status.unavailable_shards_of(ids)
    merged = _merge(request, [rows for rows in results if rows is not None])
    return merged, MissingShards(frozenset(missing))


async def _query_node(
    connections: NodeConnections,
    node: PlacementNode,
    shards: Sequence[ShardPlacement],
    request: PostgresRequest,
) -> list[Any] | None:
    """Run a request on one node's shards; return ``None`` if the node does not respond in time."""
    # The node's shards stand in for the table. Their names come from the coordinator, quoted.
    table = " UNION ALL ".join(f"TABLE {shard.relation}" for shard in shards)
    statement, parameters = sql(request)
    query = f"WITH products AS ({table}) {statement}", parameters
    try:
        async with connections.connection(node.conninfo, _NODE_SECONDS) as connection:
            cursor = await connection.execute(*query)
            return await cursor.fetchall()
    except (psycopg.OperationalError, TimeoutError):
        return None


def _merge(request: PostgresRequest, parts: Sequence[list[Any]]) -> Any:
    """Merge the nodes' results into one, as the coordinator does."""
    match request:
        case SelectProducts():
            rows = list(heapq.merge(*parts, key=itemgetter(0)))
            return rows if request.limit is None else rows[: request.limit]
        case CountProducts():
            return sum(rows[0][0] for rows in parts)
        case CountCategories():
            counts: Counter[str] = Counter()
            for rows in parts:
                counts.update(dict(rows))
            return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _ids_of(request: PostgresRequest) -> Sequence[int] | None:
    """Return the ids that a request is limited to; ``None`` if it is not."""
    return None if isinstance(request, CountProducts) else request.ids


def _consume_error(probing: asyncio.Task[ShardStatus]) -> None:
    """Mark a probe's error as retrieved: all its callers may have been cancelled."""
    if not probing.cancelled():
        probing.exception()


# Which products a partial response may lack, according to MongoDB. A product without a document is
# unknown there; one whose document does not tell its category may be of any.


def matching_ids(query: Query | None = None) -> FindIds:
    """Return the request for the ids of all products that match a query, on whatever page."""
    return FindIds(_all_of([] if query is None else _conditions(query)))


def page_ids(query: Query, last: int | None) -> FindIds:
    """Return the request for the ids that may be on the page that ends with product ``last``.

    ``None`` means that it is the last page.
    """
    bounds: Document = {}
    if query.after is not None:
        bounds["$gt"] = query.after
    if last is not None:
        bounds["$lte"] = last
    if query.ids is not None:
        bounds["$in"] = list(query.ids)
    return FindIds(_all_of([*_conditions(query), *([{"product_id": bounds}] if bounds else [])]))


def _conditions(query: Query) -> list[Document]:
    conditions = [query.condition()] if query.condition() else []
    if query.category is not None:
        others = [category for category in CATEGORIES if category != query.category]
        # Documents of schema version 1 tell their category by a tag, if at all.
        by_tags: Document = {"category": {"$exists": False}}
        by_tags["$or"] = [{"tags": query.category}, {"tags": {"$nin": others}}]
        conditions.append({"$or": [{"category": query.category}, by_tags]})
    return conditions


def _all_of(conditions: list[Document]) -> Document:
    if len(conditions) > 1:
        return {"$and": conditions}
    return conditions[0] if conditions else {}
