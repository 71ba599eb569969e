"""The cached views and stock counts of one connection, kept up to date by announced key changes.

Why the cache is never stale:

- A key is read after its change was announced. A later change is announced again, and the key is
  read again the next time.
- The version of the views is read before the views, with a check between, so that the views are at
  least as new as that version.
- The server announces that a key has expired only when it deletes the key. So the remaining time to
  live is read with the value, and the key is read again when it expires.
- If the server announces that any key may have changed, everything is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from helpers.catalog.model import stock_key
from helpers.joins.assembly import fill_stock, stock_text
from helpers.joins.driver_adapters import AsyncFill
from helpers.joins.executor import run_async
from helpers.read_model.joined_views import ExpiryTimes, JoinedViews
from helpers.read_model.product_changes import VERSION
from helpers.read_model.views import APPLIED, VIEW_PREFIX
from helpers.stock.lua_scripts import script_source
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import KeyChanges

#: The prefixes of the keys that are cached.
PREFIXES: Final = (VIEW_PREFIX, stock_key(""), APPLIED, VERSION)

_VERSIONS = (VERSION.encode(), APPLIED.encode())
_VIEW, _STOCK = VIEW_PREFIX.encode(), stock_key("").encode()
_READ = script_source("read_with_ttl")
_BATCH = 500
_FILLED_SECONDS = 1.0


@dataclass(frozen=True)
class ProductList:
    """All products that have a view, ordered by id, each with its stock.

    ``body`` is the original's JSON, in UTF-8, ``etag`` its entity tag as in the header, ``count``
    the number of products. The list includes all announced changes up to the version ``applied``,
    and may lack the ``behind`` changes after it. ``complete`` is false if no worker has built all
    views yet, or Redis has lost them.
    """

    body: bytes
    etag: str
    count: int
    applied: int
    behind: int
    complete: bool

    def __repr__(self) -> str:
        state = "" if self.complete else ", incomplete"
        return f"<ProductList of {self.count} products, {self.behind} behind{state}>"


class CachedViews:
    """The views and stock counts, as long as the connection ``keys`` announces changes.

    ``fill`` reads stock counts that Redis does not have. Changes of the ledger are not announced,
    so such a count is read again after a second, until Redis has it.
    """

    def __init__(self, stores: AsyncStores, keys: KeyChanges, fill: AsyncFill | None) -> None:
        self.keys = keys
        self._stores = stores
        self._fill = fill
        self._time = asyncio.get_running_loop().time
        self._is_complete = False  # else everything must be read
        self._stale: set[bytes] = set()  # the keys that must be read again
        self._versions: Sequence[bytes] = (b"", b"")
        self._joined = JoinedViews()
        self._expiry = ExpiryTimes()
        self._list: ProductList | None = None
        self._is_current = False  # the list includes all that was read, and no key is stale

    def current(self) -> ProductList | None:
        """Return the list if no change is known, else ``None``."""
        if self._is_current and self.keys.is_quiet and self._time() < self._expiry.next:
            return self._list
        return None

    async def catch_up(self) -> ProductList:
        """Read the keys whose changes are known, and return the list.

        It is the same object if nothing differs. Raises ``redis.RedisError``, what ``fill`` raises,
        and ``ReadModelError`` if a view is invalid; the next call then reads what is left.
        """
        self._is_current = False  # until this is complete
        self._collect_changes()
        if self._is_complete and not self._stale.isdisjoint(_VERSIONS):
            await self._read_versions()
            await self._check()  # then all is known that the worker had written by then
        await self._read_all()
        if await self._read(self._stale.difference(_VERSIONS)):
            # Views are missing: maybe all of them, if the database was emptied meanwhile.
            await self._check()
            await self._read_all()
        self._list = self._build_list()
        self._is_current = not self._stale
        return self._list

    def _collect_changes(self) -> None:
        """Mark as stale the keys that the server announced and those that have expired."""
        changed = self.keys.take()
        if changed is None:
            self._is_complete = False
        else:
            self._stale |= changed
        self._stale |= self._expiry.take(self._time())

    async def _check(self) -> None:
        await self.keys.check()
        self._collect_changes()

    async def _read_all(self) -> None:
        """Read everything, unless the cache is complete."""
        while not self._is_complete:
            self._joined, self._expiry = JoinedViews(), ExpiryTimes()
            self._stale.clear()
            await self._read_versions()
            await self._read({key async for key in self._view_keys()})
            self._is_complete = True
            await self._check()  # which resets it if the database was emptied meanwhile

    async def _read_versions(self) -> None:
        self._versions = await self._values(_VERSIONS)
        self._stale.difference_update(_VERSIONS)

    async def _read(self, keys: set[bytes]) -> bool:
        """Read the views and stock counts of these keys; return whether a view is missing.

        Keys that belong to no product are ignored.
        """
        if not keys:
            return False
        joined = self._joined
        view_keys = _by_product(keys, _VIEW)
        # The stock count of a product is needed only with its view; that of a new one is read too.
        stock_keys = {
            product_id: key
            for product_id, key in _by_product(keys, _STOCK).items()
            if product_id in joined
        }
        stock_keys |= {
            product_id: _STOCK + b"%d" % product_id
            for product_id in view_keys
            if product_id not in joined
        }
        values = await self._values([*view_keys.values(), *stock_keys.values()])
        views = dict(zip(view_keys, values, strict=False))
        counts = {
            product_id: count
            for product_id, count in zip(stock_keys, values[len(views) :], strict=True)
            if views.get(product_id, b"unchanged")
        }
        stocks = await self._stocks(counts)
        for product_id, view in views.items():
            joined.put_view(product_id, view)
        for product_id, stock in stocks.items():
            joined.put_stock(product_id, stock)
        self._stale -= keys
        return not all(views.values())

    async def _stocks(self, counts: dict[int, bytes]) -> dict[int, str | None]:
        """Return the stock to show for each count; read missing counts from the ledger."""
        strategy = fill_stock(list(counts), [count or None for count in counts.values()])
        stocks = await run_async(self._stores, strategy, fill=self._fill)
        if self._fill is not None:
            expiry = self._time() + _FILLED_SECONDS
            for product_id, count in counts.items():
                if stock_text(count) is None:
                    self._expiry.put(_STOCK + b"%d" % product_id, expiry)
        return dict(zip(counts, stocks, strict=True))

    async def _view_keys(self) -> AsyncIterator[bytes]:
        cursor = b"0"
        while True:
            cursor, keys = await self.keys.run(
                "SCAN", cursor, "MATCH", f"{VIEW_PREFIX}*", "COUNT", 1000
            )
            for key in keys:
                yield key
            if cursor == b"0":
                return

    async def _values(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the values of keys, empty if missing, and record when the keys expire."""
        sent = self._time()  # before the server reads its clock, so expiry is never too late here
        batches = [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
        replies = await asyncio.gather(
            *(self.keys.run("EVAL_RO", _READ, len(batch), *batch) for batch in batches)
        )
        values: list[bytes] = []
        for batch, reply in zip(batches, replies, strict=True):
            values += reply[::2]
            for key, milliseconds in zip(batch, reply[1::2], strict=True):
                self._expiry.put(key, None if milliseconds < 0 else sent + milliseconds / 1000)
        return values

    def _build_list(self) -> ProductList:
        version, applied = (int(number or 0) for number in self._versions)
        body, before = self._joined.body(), self._list
        if before is not None and before.body is body:
            etag = before.etag
        else:
            etag = f'"{self._joined.digest()}"'  # an entity tag includes the quotation marks
        found = ProductList(
            body=body,
            etag=etag,
            count=len(self._joined),
            applied=applied,
            behind=version - applied,
            complete=self._versions[1] != b"",
        )
        return before if before is not None and before == found else found


def _by_product(keys: set[bytes], prefix: bytes) -> dict[int, bytes]:
    """Return those keys that have this prefix and a product id, by the id."""
    return {product_id: key for key in keys if (product_id := _product_id(key, prefix)) is not None}


def _product_id(key: bytes, prefix: bytes) -> int | None:
    """Return the product that a key belongs to; ``None`` if there is none."""
    if not key.startswith(prefix):
        return None
    digits = key[len(prefix) :]
    try:
        number = int(digits)
    except ValueError:
        return None
    return number if digits == b"%d" % number else None
