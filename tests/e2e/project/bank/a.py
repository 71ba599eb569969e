"""Answers to task A: distribute tables."""

from __future__ import annotations

from tests.e2e.project.bank import changed
from tests.e2e.project.running import solution

_OWN = solution("a")

_UNIQUE = '''
def create_tables(pg):
    with pg.transaction():
        pg.execute("CREATE TABLE sellers (city text, name text, seller_id int8 NOT NULL UNIQUE)")
        pg.execute("""CREATE TABLE listings (
            price numeric CHECK (price >= 0), kind text, title text, seller_id int8,
            listing_id int8 NOT NULL, UNIQUE (listing_id))""")
        pg.execute("""CREATE TABLE offers (
            listing_id int8 NOT NULL, offer_id int8 NOT NULL, price numeric, min_units int,
            UNIQUE (offer_id, listing_id))""")
        pg.execute("""CREATE TABLE bids (
            placed_at timestamptz DEFAULT now(), listing_id int8 NOT NULL, bid_id int8 NOT NULL,
            bidder_id int8, amount numeric, UNIQUE (bid_id, listing_id))""")
    pg.execute("SELECT create_reference_table('sellers')")
    pg.execute("SELECT create_distributed_table('bids', 'listing_id', shard_count => 16)")
    pg.execute("SELECT create_distributed_table('listings', 'listing_id', colocate_with => 'bids')")
    pg.execute("SELECT create_distributed_table('offers', 'listing_id', colocate_with => 'bids')")
'''

_BY_DEFAULT = """
COLUMNS_OF = {
    "listings": "listing_id bigint PRIMARY KEY, seller_id bigint, title text, kind text, "
    "price numeric",
    "offers": "offer_id bigint, listing_id bigint REFERENCES listings, min_units int, "
    "price numeric, PRIMARY KEY (listing_id, offer_id)",
    "bids": "bid_id bigint, listing_id bigint REFERENCES listings, bidder_id bigint, "
    "amount numeric, placed_at timestamptz, PRIMARY KEY (listing_id, bid_id)",
}


def create_tables(pg):
    pg.execute("CREATE TABLE sellers (seller_id bigint PRIMARY KEY, name text, city text)")
    pg.execute("SELECT create_reference_table('sellers')")
    for table, columns in COLUMNS_OF.items():
        pg.execute(f"CREATE TABLE {table} ({columns})")
        pg.execute(f"SELECT create_distributed_table('{table}', 'listing_id')")
"""

CORRECT = {
    "unique constraints, columns in another order": _UNIQUE,
    "colocated by default, with foreign keys": _BY_DEFAULT,
}

_LOCAL = _OWN[: _OWN.index('    pg.execute("SELECT create_reference_table')]
_ONE_BY_ONE = """
    pg.execute("SELECT create_reference_table('sellers')")
    pg.execute("SELECT create_distributed_table('listings', 'listing_id', shard_count => 8)")
    pg.execute("SELECT create_distributed_table('offers', 'listing_id', shard_count => 8)")
"""

WRONG = {
    "nothing is distributed": _LOCAL,
    "the distribution column is not in the key": changed(
        _OWN, ("PRIMARY KEY (listing_id, bid_id)", "PRIMARY KEY (bid_id)")
    ),
    "int and bigint keys do not colocate": changed(
        _LOCAL, ("bid_id bigint, listing_id bigint", "bid_id bigint, listing_id int")
    )
    + _ONE_BY_ONE
    + "    pg.execute(\"SELECT create_distributed_table('bids', 'listing_id', shard_count => 8)\")\n",
    "bids distributed by their own id": _LOCAL
    + _ONE_BY_ONE
    + "    pg.execute(\"SELECT create_distributed_table('bids', 'bid_id')\")\n",
    "32-bit ids": changed(_OWN, ("bigint", "int")),
    "no keys at all": changed(
        _OWN,
        (" PRIMARY KEY, name", ", name"),
        (" PRIMARY KEY, seller_id", ", seller_id"),
        (" numeric,\n            PRIMARY KEY (listing_id, offer_id)", " numeric"),
        (" timestamptz, PRIMARY KEY (listing_id, bid_id)", " timestamptz"),
    ),
    "only one bid per listing is possible": changed(
        _OWN, ("PRIMARY KEY (listing_id, bid_id)", "PRIMARY KEY (listing_id)")
    ),
    "sellers are distributed": changed(
        _OWN,
        (
            "create_reference_table('sellers')",
            "create_distributed_table('sellers', 'seller_id', colocate_with => 'none')",
        ),
    ),
    "sellers stay on the coordinator": changed(
        _OWN, ("    pg.execute(\"SELECT create_reference_table('sellers')\")\n", "")
    ),
    "everything is a reference table": _LOCAL
    + "    for table in ('sellers', 'listings', 'offers', 'bids'):\n"
    + "        pg.execute('SELECT create_reference_table(%s)', [table])\n",
    "listings by seller, bids by listing": changed(
        _OWN,
        (
            "listing_id bigint PRIMARY KEY, seller_id bigint,",
            "listing_id bigint, seller_id bigint,",
        ),
        (
            "kind text, price numeric\n",
            "kind text, price numeric, PRIMARY KEY (seller_id, listing_id)\n",
        ),
        ("'listings', 'listing_id'", "'listings', 'seller_id'"),
    ),
    "tables are not colocated": changed(_OWN, ("'listings')\"", "'none')\"")),
    "offers are not distributed": changed(_OWN, ('("offers", "bids")', '("bids",)')),
}

PARTIAL = {
    "32-bit ids": 11,
    "no keys at all": 10,
    "tables are not colocated": 7,
}
