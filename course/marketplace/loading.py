"""Load a marketplace into the stores, for the tasks that only read it.

The tables have neither keys nor constraints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple

import psycopg
from psycopg import sql

from course.marketplace.listings import Marketplace
from helpers.stores import Stores

#: The columns of each table with their types, in order.
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


def load_marketplace(stores: Stores, market: Marketplace) -> None:
    """Load ``market`` into empty databases: tables, current documents, numbers of units."""
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
    """Copy the rows of ``market`` into the four existing tables.

    Raises ``psycopg.Error`` if a table rejects its rows.
    """
    listings = [
        (listing.listing_id, listing.seller_id, listing.title, listing.kind, listing.price)
        for listing in market.listings
    ]
    _copy(postgres, "sellers", map(astuple, market.sellers))
    _copy(postgres, "listings", listings)
    _copy(postgres, "offers", map(astuple, market.offers))
    _copy(postgres, "bids", map(astuple, market.bids))


def load_documents(stores: Stores, market: Marketplace, *, as_found: bool = False) -> None:
    """Insert the listings' documents into the collection ``listings``: current, or as found."""
    found = [listing.stored if as_found else listing.document for listing in market.listings]
    # Insert copies: PyMongo adds an _id to each document.
    stores.mongo.listings.insert_many(
        [dict(document) for document in found if document is not None]
    )


def load_units(stores: Stores, market: Marketplace) -> None:
    """Set ``units:<listing_id>`` to the number of units of each listing, if it is known."""
    counts = {
        f"units:{listing.listing_id}": listing.units
        for listing in market.listings
        if listing.units is not None
    }
    stores.redis.mset(counts)


def _copy(postgres: psycopg.Connection, table: str, rows: Iterable[Sequence[object]]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table]))
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with postgres.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)
