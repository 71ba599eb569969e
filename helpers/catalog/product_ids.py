"""Which products the shop has: the table ``products`` says so, and no other store."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from helpers.errors import UnknownProductError

_KNOWN = "SELECT id FROM products WHERE id = ANY(%s)"


def require_products(connection: psycopg.Connection, product_ids: Sequence[int]) -> None:
    """Raise ``UnknownProductError`` where the shop does not have all of these products."""
    known = {one for (one,) in connection.execute(_KNOWN, [list(product_ids)])}
    unknown = [one for one in product_ids if one not in known]
    if unknown:
        raise UnknownProductError("The shop", unknown, "correct its id, or load the product first.")
