"""A marketplace put into the stores, for the tasks that only read it.

The tables are laid out so that they can be read, and no more: they have no keys and no rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple

import psycopg
from psycopg import sql

from course.marketplace.listings import Marketplace
from helpers.stores import Stores

#: The columns of each table and their types, in order.
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "sellers": {"seller_id": "bigint", "name": "text", "city": "text"},
    "listings": {
        "listing_id": "bigint",
        "seller_id": "bigint",
        "title": "text",
        "kind": "text",
        "price": "numeric",
    },
    "offers": {
        "offer_id": "bigint",
        "listing_id": "bigint",
        "min_units": "int",
        "price": "numeric",
    },
    "bids": {
        "bid_id": "bigint",
        "listing_id": "bigint",
        "bidder_id": "bigint",
        "amount": "numeric",
        "placed_at": "timestamptz",
    },
}

_SHARDS = 4


def lay_out(stores: Stores, market: Marketplace) -> None:
    """Make tables, documents and counts of ``market`` in empty databases; documents as of today."""
    for table, columns in COLUMNS.items():
        defined = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, kind in columns.items()
        )
        create = sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), defined)
        stores.postgres.execute(create)
    stores.postgres.execute(
        "SELECT create_distributed_table('listings', 'listing_id', shard_count => %s)", [_SHARDS]
    )
    stores.postgres.execute(
        "SELECT create_distributed_table('bids', 'listing_id', colocate_with => 'listings')"
    )
    stores.postgres.execute("SELECT create_reference_table('sellers')")
    load_rows(stores.postgres, market)
    load_documents(stores, market)
    load_units(stores, market)


def load_rows(postgres: psycopg.Connection, market: Marketplace) -> None:
    """Copy the rows of ``market`` into the four tables, which must be there.

    Raises ``psycopg.Error`` where a table does not take its rows.
    """
    listings = [
        (one.listing_id, one.seller_id, one.title, one.kind, one.price) for one in market.listings
    ]
    _copy(postgres, "sellers", map(astuple, market.sellers))
    _copy(postgres, "listings", listings)
    _copy(postgres, "offers", map(astuple, market.offers))
    _copy(postgres, "bids", map(astuple, market.bids))


def load_documents(stores: Stores, market: Marketplace, *, as_found: bool = False) -> None:
    """Insert the listings' documents into the collection ``listings``: as of today, or as found."""
    found = [one.stored if as_found else one.document for one in market.listings]
    # Copies: PyMongo gives each an _id, and those of the marketplace are nobody's to change.
    stores.mongo.listings.insert_many([dict(one) for one in found if one is not None])


def load_units(stores: Stores, market: Marketplace) -> None:
    """Set ``units:<listing_id>`` to the units of each listing; where nobody counted, to nothing."""
    counts = {
        f"units:{one.listing_id}": one.units for one in market.listings if one.units is not None
    }
    stores.redis.mset(counts)


def _copy(postgres: psycopg.Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table]))
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with postgres.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)
