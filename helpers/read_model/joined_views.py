"""Views and counts as they were last read, put together: the JSON of the whole list, as bytes.

Nothing is parsed. A view ends with the stock that it does not know, and there the count is put in.
"""

from __future__ import annotations

import hashlib
import heapq
import math

from helpers.errors import ReadModelError

_END = b'"stock":null}'
_UNKNOWN = b"null}"
_DIGITS = 32
_FORGOTTEN = 1000


class JoinedViews:
    """The products of which there is a view, in order of id; each with its count.

    A product whose count was not given yet is not shown.
    """

    def __init__(self) -> None:
        self._heads: dict[int, bytes] = {}  # views up to their stock
        self._ends: dict[int, bytes] = {}
        # The products as they are shown, and the digests of that; in order of id, once put in it.
        self._texts: dict[int, bytes] = {}
        self._digests: dict[int, bytes] = {}
        self._is_in_order = True
        self._body: bytes | None = None

    def __contains__(self, product_id: object) -> bool:
        return product_id in self._texts

    def __len__(self) -> int:
        return len(self._texts)

    def put_view(self, product_id: int, view: bytes) -> None:
        """Show what a view says; an empty one: the product is no longer shown.

        Raises ``ReadModelError`` where it is none of a keeper's making.
        """
        if not view:
            if product_id in self._texts:
                self._body = None
            for part in (self._heads, self._ends, self._texts, self._digests):
                part.pop(product_id, None)
            return
        if not view.endswith(_END):
            raise ReadModelError(
                f"The view of product {product_id} is not what a keeper writes: somebody else "
                "wrote it. Rebuild the read model."
            )
        self._heads[product_id] = view.removesuffix(_UNKNOWN)
        if product_id in self._ends:
            self._show(product_id)

    def put_stock(self, product_id: int, stock: str | None) -> None:
        """Show this count (digits; ``None``: it is not known) with a product that has a view."""
        self._ends[product_id] = _UNKNOWN if stock is None else b'"%b"}' % stock.encode()
        self._show(product_id)

    def body(self) -> bytes:
        """Return the JSON of all products. As long as it is the same, it is the same object."""
        if self._body is None:
            self._put_in_order()
            parts = list(self._texts.values())
            # The brackets go to the first and the last: joining twice would copy everything twice.
            if parts:
                parts[0] = b"[" + parts[0]
                parts[-1] += b"]"
            self._body = b",".join(parts) or b"[]"
        return self._body

    def digest(self) -> str:
        """Return what tells this body from any other.

        It is made of the products' digests, of which few change at a time: to read the whole body
        took longer than to make it (20,000 products: 3.2 ms).
        """
        self._put_in_order()
        return hashlib.sha256(b"".join(self._digests.values())).hexdigest()[:_DIGITS]

    def _show(self, product_id: int) -> None:
        text = self._heads[product_id] + self._ends[product_id]
        before = self._texts.get(product_id)
        if text != before:
            self._texts[product_id] = text
            self._digests[product_id] = hashlib.sha256(text).digest()
            self._is_in_order = self._is_in_order and before is not None
            self._body = None

    def _put_in_order(self) -> None:
        if not self._is_in_order:
            self._texts = dict(sorted(self._texts.items()))
            self._digests = {one: self._digests[one] for one in self._texts}
            self._is_in_order = True


class Lives:
    """When keys come to their end, which the server tells only once it has cleared them away."""

    def __init__(self) -> None:
        self._ends: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []

    @property
    def next_end(self) -> float:
        """When the next key ends, or a little before; never: infinity."""
        return self._heap[0][0] if self._heap else math.inf

    def put(self, key: bytes, end: float | None) -> None:
        """Remember when a key ends; ``None``: it does not."""
        if end is None:
            self._ends.pop(key, None)
        elif self._ends.get(key) != end:
            self._ends[key] = end
            heapq.heappush(self._heap, (end, key))
            if len(self._heap) > 2 * len(self._ends) + _FORGOTTEN:
                # Most of it is ends that hold no more.
                self._heap = [(end, key) for key, end in self._ends.items()]
                heapq.heapify(self._heap)

    def take(self, now: float) -> set[bytes]:
        """Return the keys that have ended by now, and forget them."""
        ended = set()
        while self._heap and self._heap[0][0] <= now:
            end, key = heapq.heappop(self._heap)
            if self._ends.get(key) == end:  # else it was given another life since
                del self._ends[key]
                ended.add(key)
        return ended
