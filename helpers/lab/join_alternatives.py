"""The join's answer by other means: one PostgreSQL that holds all, pandas, DuckDB.

Each gives all products in order of id, with null for metadata or stock that is not there, as
``helpers.joins`` does. They are here to be measured beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import orjson
import pandas as pd
import psycopg

from helpers.catalog.model import ProductJSON
from helpers.joins import batched
from helpers.joins.assembly import stock_text, to_metadata
from helpers.joins.driver_adapters import send
from helpers.joins.requests import FindMetadata, ReadStock, Row, SelectProducts
from helpers.metadata.document_ids import product_id_of
from helpers.stores import Document, Stores

_FLAT_TABLE = """
DROP TABLE IF EXISTS products_flat;
CREATE TABLE products_flat (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    price numeric NOT NULL,
    category text NOT NULL,
    metadata jsonb,
    stock bigint
)
"""
_FLAT_COPY = "COPY products_flat (id, name, price, category, metadata, stock) FROM STDIN"

#: The whole answer, written by PostgreSQL.
FLAT_SELECT = """
SELECT convert_to(coalesce(json_agg(json_build_object(
           'id', id,
           'name', name,
           'price', price::text,
           'metadata', metadata,
           'stock', stock::text
       ) ORDER BY id), '[]')::text, 'UTF8')
FROM products_flat
"""

_DUCKDB_SELECT = """
SELECT p.id, p.name, p.price, d.metadata, c.stock
FROM products p
LEFT JOIN documents d ON d.product_id = p.id
LEFT JOIN counts c ON c.product_id = p.id
ORDER BY p.id
"""


def make_flat(stores: Stores) -> int:
    """Make the table ``products_flat`` on the coordinator anew, and return how many rows it has.

    It is a plain table, in no shard, with what the three stores have now. JSONB keeps no order of
    the fields, and no text with the character U+0000.

    Raises the drivers' errors, and ``MetadataError`` where a product has two documents.
    """
    products = batched(stores)
    found = stores.postgres.execute("SELECT id, category FROM products").fetchall()
    categories: dict[int, str] = dict(found)
    stores.postgres.execute(_FLAT_TABLE)
    with stores.postgres.cursor() as cursor, cursor.copy(_FLAT_COPY) as copy:
        for one in products:
            metadata = None if one["metadata"] is None else orjson.dumps(one["metadata"]).decode()
            fields = one["id"], one["name"], one["price"], categories[one["id"]]
            copy.write_row((*fields, metadata, one["stock"]))
    stores.postgres.execute("ANALYZE products_flat")
    return len(products)


def flat_json(connection: psycopg.Connection) -> bytes:
    """Return the original's JSON, in UTF-8, as PostgreSQL writes it from ``products_flat``."""
    row = connection.execute(FLAT_SELECT, binary=True).fetchone()
    return bytes(row[0]) if row else b"[]"


class Frames(NamedTuple):
    """What each store said: ``products`` (id, name, price), and by ``product_id`` the rest.

    ``documents`` has ``metadata``, a dictionary in each row; ``counts`` has ``stock``, as text.
    """

    products: pd.DataFrame
    documents: pd.DataFrame
    counts: pd.DataFrame


def read_frames(stores: Stores) -> Frames:
    """Ask each store one question, and return the three answers as frames.

    Raises the drivers' errors.
    """
    rows: list[Row] = send(stores, SelectProducts())
    documents: list[Document] = send(stores, FindMetadata())
    ids = [row[0] for row in rows]
    counts: list[bytes | None] = send(stores, ReadStock(ids)) if ids else []
    numbered = [
        (one["product_id"], to_metadata(one)) for one in documents if product_id_of(one) is not None
    ]
    return Frames(
        _frame(rows, "id", "name", "price"),
        _frame(numbered, "product_id", "metadata"),
        _frame(list(zip(ids, map(stock_text, counts), strict=True)), "product_id", "stock"),
    )


def merge_frames(frames: Frames) -> list[ProductJSON]:
    """Join three frames with pandas, by left joins.

    Raises ``pandas.errors.MergeError`` where a product has two documents.
    """
    joined = frames.products
    for other in (frames.documents, frames.counts):
        joined = joined.merge(
            other, how="left", left_on="id", right_on="product_id", validate="one_to_one"
        ).drop(columns="product_id")
    # pandas puts NaN where nothing was found; only objects can hold None.
    plain = joined.astype(object).where(joined.notna(), None)
    return cast("list[ProductJSON]", plain.to_dict("records"))


def join_with_pandas(stores: Stores) -> list[ProductJSON]:
    """Ask each store one question, and join the answers with pandas.

    Raises the drivers' errors, and ``pandas.errors.MergeError`` where a product has two documents.
    """
    return merge_frames(read_frames(stores))


def duckdb_json(stores: Stores) -> bytes:
    """Ask each store one question, join the answers with DuckDB, and return the original's JSON.

    Metadata pass through as JSON: DuckDB would make columns of their fields. A product with two
    documents comes twice.

    Raises the drivers' errors, and ``ImportError`` where DuckDB is not installed.
    """
    import duckdb

    frames = read_frames(stores)
    texts = [orjson.dumps(one).decode() for one in frames.documents["metadata"]]
    with duckdb.connect() as database:
        database.register("products", frames.products)
        database.register("documents", frames.documents.assign(metadata=texts))
        database.register("counts", frames.counts)
        found = database.execute(_DUCKDB_SELECT).fetchall()
    return orjson.dumps(
        [
            {
                "id": one,
                "name": name,
                "price": price,
                "metadata": None if metadata is None else orjson.Fragment(metadata),
                "stock": stock,
            }
            for one, name, price, metadata, stock in found
        ]
    )


def _frame(rows: Sequence[tuple[object, ...]], *names: str) -> pd.DataFrame:
    """Return a frame of whole numbers in the first column, and of objects in the others."""
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    kinds = ["int64", *["object"] * (len(names) - 1)]
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=kind)
            for name, column, kind in zip(names, columns, kinds, strict=True)
        }
    )
