"""A copy of the views and counts in Redis, brought up to date with what the server names.

What makes it right:

- A key is read after it was named. What changes later is named again, and is read the next time.
- How far the views have come is read before them, with a check between, so that they are at least
  as new as is said of them.
- A key whose life ends is named only when the server clears it away. So its life is read with its
  value, and it is read again when that is over.
- Where the server says that any key may have changed, everything is read.
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
from helpers.read_model.joined_views import JoinedViews, Lives
from helpers.read_model.product_changes import VERSION
from helpers.read_model.views import APPLIED, VIEW_PREFIX
from helpers.stock.lua_scripts import Script
from helpers.stores.async_stores import AsyncStores
from helpers.stores.key_changes import KeyChanges

#: What the keys that a copy is made of begin with.
PREFIXES: Final = (VIEW_PREFIX, stock_key(""), APPLIED, VERSION)

_NUMBERS = (VERSION.encode(), APPLIED.encode())
_VIEW, _STOCK = VIEW_PREFIX.encode(), stock_key("").encode()
_READ = Script("read").text
_BATCH = 500
_FILLED_SECONDS = 1.0


@dataclass(frozen=True)
class LiveList:
    """All products of which there is a view, in order of id, each with its stock.

    ``body`` is the original's JSON, in UTF-8, ``etag`` its entity tag, as the header has it;
    ``count`` is the number of products. All announced changes up to the version ``applied`` are in
    it, and it may be ``behind`` by so many. Where ``complete`` is false, no keeper has made all
    views, or Redis has lost them.
    """

    body: bytes
    etag: str
    count: int
    applied: int
    behind: int
    complete: bool

    def __repr__(self) -> str:
        state = "" if self.complete else ", incomplete"
        return f"<LiveList of {self.count} products, {self.behind} behind{state}>"


class ViewCopy:
    """The copy that goes with one connection: ``keys`` names what changes.

    ``fill`` is asked for counts that Redis does not have when they are read. When the ledger's
    answer changes, nobody tells: so it is asked again after a second, until Redis has the count.
    """

    def __init__(self, stores: AsyncStores, keys: KeyChanges, fill: AsyncFill | None) -> None:
        self.keys = keys
        self._stores = stores
        self._fill = fill
        self._time = asyncio.get_running_loop().time
        self._is_whole = False  # else everything must be read
        self._stale: set[bytes] = set()  # what must be read again
        self._numbers: Sequence[bytes] = (b"", b"")
        self._joined = JoinedViews()
        self._lives = Lives()
        self._list: LiveList | None = None
        self._is_current = False  # the list is made of all that was read, and nothing is stale

    def current(self) -> LiveList | None:
        """Return the list, if nothing is known that would change it."""
        if self._is_current and self.keys.is_quiet and self._time() < self._lives.next_end:
            return self._list
        return None

    async def catch_up(self) -> LiveList:
        """Read what was named up to now, and return the list.

        As long as nothing changes, it is the same object. Raises ``redis.RedisError``, what
        ``fill`` raises, and ``ReadModelError`` where a view is none; what was to be read is then
        read the next time.
        """
        self._is_current = False  # until this is done, whatever ends it
        self._note()
        if self._is_whole and not self._stale.isdisjoint(_NUMBERS):
            await self._read_numbers()
            await self._check()  # then all is named that the keeper had written by then
        await self._make_whole()
        if await self._read(self._stale.difference(_NUMBERS)):
            # Views are gone. They may be all of them, since a database was emptied meanwhile.
            await self._check()
            await self._make_whole()
        self._list = self._listed()
        self._is_current = not self._stale
        return self._list

    def _note(self) -> None:
        """Take over what the server named, and what has come to the end of its life."""
        named = self.keys.take()
        if named is None:
            self._is_whole = False
        else:
            self._stale |= named
        self._stale |= self._lives.take(self._time())

    async def _check(self) -> None:
        await self.keys.check()
        self._note()

    async def _make_whole(self) -> None:
        while not self._is_whole:
            self._joined, self._lives = JoinedViews(), Lives()
            self._stale.clear()
            await self._read_numbers()
            await self._read({key async for key in self._view_keys()})
            self._is_whole = True
            await self._check()  # which says otherwise where a database was emptied meanwhile

    async def _read_numbers(self) -> None:
        self._numbers = await self._values(_NUMBERS)
        self._stale.difference_update(_NUMBERS)

    async def _read(self, names: set[bytes]) -> bool:
        """Read the views and counts of these keys, and tell whether a view is gone.

        Keys of no product are passed over.
        """
        if not names:
            return False
        joined = self._joined
        viewed = {one: name for name in names if (one := _product(name, _VIEW)) is not None}
        counted = {one: name for name in names if (one := _product(name, _STOCK)) is not None}
        # Of a product without a view no count is shown; of one that is new, it is read as well.
        counted = {one: name for one, name in counted.items() if one in joined}
        counted |= {one: _STOCK + b"%d" % one for one in viewed if one not in joined}
        values = await self._values([*viewed.values(), *counted.values()])
        views = dict(zip(viewed, values, strict=False))
        counts = {
            one: count
            for one, count in zip(counted, values[len(views) :], strict=True)
            if views.get(one, b"there")
        }
        stocks = await self._stocks(counts)
        for one, view in views.items():
            joined.put_view(one, view)
        for one, stock in stocks.items():
            joined.put_stock(one, stock)
        self._stale -= names
        return not all(views.values())

    async def _stocks(self, counts: dict[int, bytes]) -> dict[int, str | None]:
        """Return counts as they are shown; the ledger says those that Redis does not have."""
        strategy = fill_stock(list(counts), [count or None for count in counts.values()])
        texts = await run_async(self._stores, strategy, fill=self._fill)
        if self._fill is not None:
            end = self._time() + _FILLED_SECONDS
            for one, count in counts.items():
                if stock_text(count) is None:
                    self._lives.put(_STOCK + b"%d" % one, end)
        return dict(zip(counts, texts, strict=True))

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
        """Return the values of keys, an empty one where there is none, and note their lives."""
        asked = self._time()  # before the server looks at its clock: so a life ends too early here
        batches = [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
        answers = await asyncio.gather(
            *(self.keys.run("EVAL_RO", _READ, len(batch), *batch) for batch in batches)
        )
        values: list[bytes] = []
        for batch, answer in zip(batches, answers, strict=True):
            values += answer[::2]
            for key, milliseconds in zip(batch, answer[1::2], strict=True):
                end = None if milliseconds < 0 else asked + milliseconds / 1000
                self._lives.put(key, end)
        return values

    def _listed(self) -> LiveList:
        version, applied = (int(number or 0) for number in self._numbers)
        body, before = self._joined.body(), self._list
        if before is not None and before.body is body:
            etag = before.etag
        else:
            etag = f'"{self._joined.digest()}"'  # with the quotation marks that belong to it
        found = LiveList(
            body=body,
            etag=etag,
            count=len(self._joined),
            applied=applied,
            behind=version - applied,
            complete=self._numbers[1] != b"",
        )
        return before if before is not None and before == found else found


def _product(name: bytes, prefix: bytes) -> int | None:
    """Return the product whose key this is; ``None`` where it is none's."""
    if not name.startswith(prefix):
        return None
    number = name[len(prefix) :]
    try:
        found = int(number)
    except ValueError:
        return None
    return found if number == b"%d" % found else None
