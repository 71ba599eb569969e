"""PostgreSQL as a service asks it: the coordinator, and where a worker is away, the others.

The coordinator answers a question to all shards only where all workers do. So when it fails at one,
or has been silent for a while, the workers are looked at. Where one is away, the question is put to
the shards that are left, and the answer is not whole: ``Rows.lost`` says what it lacks.

While a worker is known to be away, the coordinator is not asked in vain: each answer that needs
this worker begins with another look, so that the first one after its return is whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

import psycopg

from helpers.citus.node_connections import NodeConnections
from helpers.citus.placements import ShardStatus, probe
from helpers.errors import NodeUnavailableError
from helpers.joins.async_executor import answer_async
from helpers.joins.missing_shards import FromPostgres, MissingShards, ask_live, ids_of
from helpers.settings import redact
from helpers.stores.async_stores import AsyncStores
from helpers.stores.bounded_waits import abandon

# So long a question may take before anybody wonders. A look costs little, and disturbs nobody.
_PATIENCE_SECONDS = 0.4
# A worker that is frozen is waited for by each look. Those who come meanwhile do not wait for that
# one, and then for another: each begins one of its own, unless one has begun just before.
_SHARED_SECONDS = 0.25
_TABLE = "products"


class Workers:
    """The workers of one shop, and how they stood when somebody looked last.

    Use ``aclose()`` at the end.
    """

    def __init__(self, stores: AsyncStores) -> None:
        self._last = ShardStatus((), frozenset())
        self._stores = stores
        self._connections = NodeConnections()
        self._looking: asyncio.Task[ShardStatus] | None = None
        self._began = 0.0

    async def aclose(self) -> None:
        """Close the connections to the nodes."""
        await self._connections.aclose()

    @property
    def away(self) -> frozenset[str]:
        """The names of those that were away."""
        return self._last.unavailable_nodes

    async def probe(self) -> ShardStatus:
        """Look at the workers, sharing the look of others that has only just begun.

        Raises ``psycopg.OperationalError`` or ``TimeoutError`` where the coordinator is away.
        """
        now = time.monotonic()
        looking = self._looking
        if looking is None or looking.done() or now > self._began + _SHARED_SECONDS:
            looking = self._looking = asyncio.create_task(self._look())
            looking.add_done_callback(_see)
            self._began = now
        return await asyncio.shield(looking)  # who is cancelled leaves it to the others

    async def answer(
        self, request: FromPostgres, known: ShardStatus | None = None
    ) -> tuple[Any, MissingShards, ShardStatus | None]:
        """Answer a request, wholly or from the shards that are left, and say what is lost.

        ``known`` is how an earlier request of the same answer has found the workers; how this one
        has found them, if it has looked, is returned too.

        Raises ``psycopg.Error`` if the coordinator is unavailable, and ``NodeUnavailableError`` if
        all nodes are that have what is requested.
        """
        standing = known
        if standing is None and self._last.needs_unavailable_shards(ids_of(request)):
            standing = await self._seen()
        if standing is None or not standing.unavailable_nodes:
            answer, standing = await self._ask_coordinator(request)
            if standing is None:
                return answer, MissingShards(), None
        return *await self._ask_live(request, standing), standing

    async def check(self, product_ids: Collection[int] | None = None) -> None:
        """Raise ``NodeUnavailableError`` if a worker that has these products is known to be down.

        Without ids, all products are meant. As long as none is known to be away, nobody is asked.
        """
        if self._last.needs_unavailable_shards(product_ids):
            await self.explain(product_ids)

    async def explain(self, product_ids: Collection[int] | None = None) -> None:
        """Probe the workers, and raise ``NodeUnavailableError`` if one that is needed is down."""
        standing = await self._seen()
        if standing is None or not standing.unavailable_nodes:
            return
        if product_ids is None:
            raise self.error(
                MissingShards(frozenset(standing.unavailable_shards)), "what they hold is needed"
            )
        lost = MissingShards(frozenset(standing.unavailable_shards_of(product_ids)))
        if lost:
            raise self.product_error(lost, product_ids)

    def product_error(self, lost: MissingShards, ids: Collection[int]) -> NodeUnavailableError:
        """Return the error of products that cannot be had without the shards that are lost."""
        named = ", ".join(map(str, lost.among(ids)[:10]))
        return self.error(lost, f"product {named} is on it or nowhere")

    def error(self, lost: MissingShards, what: str) -> NodeUnavailableError:
        """Return the error of an answer that cannot do without what is lost."""
        address = redact(self._stores.addresses.coordinator)
        return NodeUnavailableError("PostgreSQL", address, lost.nodes, what)

    async def _look(self) -> ShardStatus:
        stores = self._stores
        standing = await probe(self._connections, stores.postgres.url, stores.addresses, _TABLE)
        self._last = standing
        return standing

    async def _seen(self, *, unless: asyncio.Future[Any] | None = None) -> ShardStatus | None:
        """Look at the workers; ``None`` where nobody can tell, or ``unless`` has come before."""
        looking = asyncio.ensure_future(self.probe())
        waited = {looking} if unless is None else {looking, unless}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return await looking if looking.done() else None
        except (psycopg.OperationalError, TimeoutError):
            return None
        finally:
            looking.cancel()

    async def _ask_coordinator(self, request: FromPostgres) -> tuple[Any, ShardStatus | None]:
        """Return the coordinator's answer; or how the workers stand, where one of them is away."""
        whole = asyncio.ensure_future(answer_async(self._stores, request))
        try:
            await asyncio.wait({whole}, timeout=_PATIENCE_SECONDS)
            standing = None if whole.done() else await self._seen(unless=whole)
            if standing is None or not standing.unavailable_nodes:
                return await whole, None
            abandon(whole)
        except psycopg.Error as error:
            if error.sqlstate is None:  # not the coordinator's words: it is away itself
                raise
            standing = await self._seen()
            if standing is None or not standing.unavailable_nodes:
                raise
        except asyncio.CancelledError:
            whole.cancel()
            raise
        return None, standing

    async def _ask_live(
        self, request: FromPostgres, standing: ShardStatus
    ) -> tuple[Any, MissingShards]:
        answer, lost = await ask_live(self._connections, request, standing)
        if len(lost.shards) == len(standing.shards):
            raise self.error(lost, "there is no other")
        return answer, lost


def _see(looking: asyncio.Task[ShardStatus]) -> None:
    """Let what a look has met pass, where everybody has left."""
    if not looking.cancelled():
        looking.exception()


class Rows:
    """Answers PostgreSQL's requests of one answer, and keeps in ``lost`` what it does without."""

    def __init__(self, workers: Workers) -> None:
        self.lost = MissingShards()
        self._workers = workers
        self._standing: ShardStatus | None = None

    async def __call__(self, request: Any) -> Any:
        """Answer one request. Raises as ``Workers.answer`` does."""
        answer, lost, self._standing = await self._workers.answer(request, self._standing)
        self.lost |= lost
        return answer
