"""Answers to task D: join the three stores."""

from __future__ import annotations

from tests.e2e.project.bank import changed
from tests.e2e.project.running import solution

_OWN = solution("d")

_ONE_QUERY = '''
def catalogue(stores, ids):
    if len(ids) == 0:
        return []
    rows = stores.postgres.execute("""
        SELECT l.listing_id, l.title, l.price, s.name, count(b.bid_id), max(b.amount)
        FROM listings l
        LEFT JOIN bids b ON b.listing_id = l.listing_id
        LEFT JOIN sellers s ON s.seller_id = l.seller_id
        WHERE l.listing_id = ANY(%s)
        GROUP BY l.listing_id, l.title, l.price, s.name
    """, [ids])
    found = {}
    for row in rows:
        names = ("listing_id", "title", "price", "seller", "bids", "highest_bid")
        found[row[0]] = dict(zip(names, row), details=None, units=None)
    for document in stores.mongo.listings.find({"listing_id": {"$in": ids}}):
        if document["listing_id"] in found:
            found[document["listing_id"]]["details"] = document["details"]
    with stores.redis.pipeline(transaction=False) as pipeline:
        for one in ids:
            pipeline.get(f"units:{one}")
        for one, units in zip(ids, pipeline.execute()):
            if one in found and units is not None:
                found[one]["units"] = int(units)
    return [found.get(one) for one in ids]
'''

_AT_ONCE = """
from collections import Counter
from concurrent.futures import ThreadPoolExecutor


def _rows(postgres, ids):
    with postgres.pipeline():
        listings = postgres.execute(
            "SELECT listing_id, title, price, (SELECT name FROM sellers s "
            "WHERE s.seller_id = l.seller_id) FROM listings l WHERE listing_id = ANY(%s)", [ids])
        bids = postgres.execute(
            "SELECT listing_id, amount FROM bids WHERE listing_id = ANY(%s)", [ids])
    return listings.fetchall(), bids.fetchall()


def catalogue(stores, ids):
    unique = sorted(set(ids))
    if not unique:
        return []
    with ThreadPoolExecutor(3) as pool:
        rows = pool.submit(_rows, stores.postgres, unique)
        details = pool.submit(lambda: {
            one["listing_id"]: one.get("details")
            for one in stores.mongo.listings.find({"listing_id": {"$in": unique}}, {"_id": 0})
        })
        units = pool.submit(stores.redis.mget, [f"units:{one}" for one in unique])
    left = {one: None if n is None else int(n) for one, n in zip(unique, units.result())}
    listings, bids = rows.result()
    highest, count = {}, Counter()
    for listing_id, amount in bids:
        highest[listing_id] = max(amount, highest.get(listing_id, amount))
        count[listing_id] += 1
    entries = {
        one: {
            "listing_id": one, "title": title, "price": price, "seller": seller,
            "bids": count[one], "highest_bid": highest.get(one),
            "details": details.result().get(one), "units": left[one],
        }
        for one, title, price, seller in listings
    }
    return [entries.get(one) for one in ids]
"""

CORRECT = {"one query and a pipeline": _ONE_QUERY, "three stores at once": _AT_ONCE}

WRONG = {
    "one Redis command per listing": changed(
        _OWN,
        (
            'stores.redis.mget([f"units:{one}" for one in wanted])',
            '[stores.redis.get(f"units:{one}") for one in wanted]',
        ),
    ),
    "one MongoDB query per listing": changed(
        _OWN,
        (
            'stores.mongo.listings.find({"listing_id": {"$in": wanted}})',
            'filter(None, [stores.mongo.listings.find_one({"listing_id": one}) for one in wanted])',
        ),
    ),
    "one PostgreSQL query per listing": (
        _ONE_QUERY.replace("def catalogue(", "def page(")
        + "\n\ndef catalogue(stores, ids):\n"
        + "    return [entry for one in ids for entry in page(stores, [one])]\n"
    ),
    "listings without metadata are dropped": changed(
        _OWN, ("in ids]", "in ids if one not in entries or one in details]")
    ),
    "listings without a count are dropped": changed(
        _OWN,
        ("        entries[listing_id] = {", "        if left is not None: entries[listing_id] = {"),
    ),
    "an inner join with sellers": changed(_OWN, ("LEFT JOIN sellers", "JOIN sellers")),
    "an inner join with bids": changed(_ONE_QUERY, ("LEFT JOIN bids", "JOIN bids")),
    "a missing key is zero": changed(
        _OWN, ("None if left is None else int(left)", "int(left or 0)")
    ),
    "zero is missing": changed(
        _OWN, ("None if left is None else int(left)", "int(left) if left and int(left) else None")
    ),
    "counts are strings": changed(_OWN, ("None if left is None else int(left)", "left")),
    "in the database's order": changed(
        _OWN, ("[entries.get(one) for one in ids]", "list(entries.values())")
    ),
    "in ascending order": changed(_OWN, ("for one in ids]", "for one in sorted(ids)]")),
    "each id once": changed(_OWN, ("for one in ids]", "for one in wanted]")),
    "unknown ids are left out": changed(
        _OWN,
        ("[entries.get(one) for one in ids]", "[entries[one] for one in ids if one in entries]"),
    ),
    "None for an empty list of ids": changed(
        _OWN, ("        return []\n", "        return None\n")
    ),
    "prices are floats": changed(_OWN, ('"price": price', '"price": float(price)')),
    "listings without bids have an unknown number": changed(_OWN, ("(0, None)", "(None, None)")),
    "no bids are a bid of zero": changed(_OWN, ("(0, None)", "(0, 0)")),
    "the highest bid in text order": changed(_OWN, ("max(amount)", "max(amount::text)::numeric")),
    "bids counted once for each offer": changed(
        _ONE_QUERY,
        (
            "        LEFT JOIN sellers",
            "        LEFT JOIN offers o ON o.listing_id = l.listing_id\n        LEFT JOIN sellers",
        ),
    ),
    "the expected values of the visible tests": """
def catalogue(stores, ids):
    return [expected[one] for one in ids]
""",
}

PARTIAL = {
    "one MongoDB query per listing": 11,
    "an inner join with sellers": 11,
    "each id once": 12,
}
