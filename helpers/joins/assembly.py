"""Rows, documents and counts put together: what each store said, as the API shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from helpers.catalog.model import Metadata, ProductJSON
from helpers.errors import MetadataError
from helpers.joins.requests import FillStock, Row, Strategy, ask
from helpers.metadata.document_ids import product_id_of
from helpers.stores import Document


def assemble(
    rows: Sequence[Row], documents: Iterable[Document], counts: Sequence[bytes | None]
) -> Strategy[list[ProductJSON]]:
    """Return a product for each row, in their order. ``counts`` belong to the rows one by one.

    What has no row is left out. The documents become the products' metadata, and lose what is not
    shown. The ledger is asked for the counts that are missing.

    Raises ``MetadataError`` where a product has two documents.
    """
    products = yield from with_stock(rows, counts)
    return add_metadata(products, documents)


def with_stock(rows: Sequence[Row], counts: Sequence[bytes | None]) -> Strategy[list[ProductJSON]]:
    """Return a product for each row, with its stock and without metadata."""
    stocks = yield from stock_of([row[0] for row in rows], counts)
    return [
        {"id": one, "name": name, "price": price, "metadata": None, "stock": stock}
        for (one, name, price), stock in zip(rows, stocks, strict=True)
    ]


def add_metadata(products: list[ProductJSON], documents: Iterable[Document]) -> list[ProductJSON]:
    """Return the products, now with their metadata; documents of no product are left out.

    Raises ``MetadataError`` where a product has two documents.
    """
    by_id: dict[float, ProductJSON] = {product["id"]: product for product in products}
    for document in documents:
        product_id = product_id_of(document)
        product = by_id.get(product_id) if product_id is not None else None
        if product_id is None or product is None:
            continue
        if product["metadata"] is not None:
            raise MetadataError(
                "productmetas",
                f"has two documents of product {int(product_id)}",
                "Delete one of them, and make the unique index on product_id",
            )
        product["metadata"] = shown(document)
    return products


def shown(document: Document) -> Metadata:
    """Return a document without its product and what the collection keeps for itself.

    Documents of schema version 2 repeat the category, which is PostgreSQL's to tell.
    """
    document.pop("_id", None)
    document.pop("product_id", None)
    if "schema_version" in document:
        del document["schema_version"]
        document.pop("category", None)
    return document


def stock_of(ids: Sequence[int], counts: Sequence[bytes | None]) -> Strategy[list[str | None]]:
    """Return the stock to show of each product; the ledger is asked for those that have none."""
    texts = [
        # The usual count, as it is: everything else is looked at more closely.
        count.decode() if count and count.isdigit() and count[0] != _ZERO else stock_text(count)
        for count in counts
    ]
    missing = [one for one, text in zip(ids, texts, strict=True) if text is None]
    if not missing:
        return texts
    filled = yield from ask(FillStock(missing))
    return [
        _units_text(filled.get(one)) if text is None else text
        for one, text in zip(ids, texts, strict=True)
    ]


def stock_text(count: bytes | None) -> str | None:
    """Return a count of Redis as it is shown; ``None`` where it is none, or no whole number.

    Below zero there are more units reserved than on hand: none can be had.
    """
    if count is None:
        return None
    digits = count.removeprefix(b"-")
    if not digits.isdigit():
        return None
    if digits != count:
        return "0"
    return digits.lstrip(b"0").decode() or "0"


def _units_text(units: int | None) -> str | None:
    return None if units is None else str(max(units, 0))


_ZERO = ord("0")
