"""Check that products exist: only the table ``products`` decides which products the shop has."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from helpers.errors import UnknownProductError

_KNOWN = "SELECT id FROM products WHERE id = ANY(%s)"


def require_products(connection: psycopg.Connection, product_ids: Sequence[int]) -> None:
    """Raise ``UnknownProductError`` if the shop does not have all of these products."""
    known = {product_id for (product_id,) in connection.execute(_KNOWN, [list(product_ids)])}
    unknown = [product_id for product_id in product_ids if product_id not in known]
    if unknown:
        raise UnknownProductError("The shop", unknown, "correct its id, or load the product first.")
