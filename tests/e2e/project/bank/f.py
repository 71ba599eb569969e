"""Answers to task F: evidence from the stores."""

from __future__ import annotations

from tests.e2e.project.bank import changed
from tests.e2e.project.running import solution

_OWN = solution("f")

_AGGREGATED = """
from collections import Counter

from helpers import shards_of, traced


def prove(stores):
    pg = stores.postgres
    spread = Counter()
    for shard in shards_of(pg, "bids"):
        spread[shard.node] += shard.rows
    known = [one for one, in pg.execute("SELECT listing_id FROM listings ORDER BY 1")]
    described = stores.mongo.listings.count_documents({"listing_id": {"$in": known}})
    with traced(stores) as (seen, trace), seen.redis.pipeline(transaction=False) as pipeline:
        for one in known:
            pipeline.get(f"units:{one}")
        counts = [one for one in pipeline.execute() if one is not None]
    columns = pg.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = 'listings'"
    )
    fields = {}
    for kind in stores.mongo.listings.distinct("kind"):
        names = [list(one["details"]) for one in stores.mongo.listings.find({"kind": kind})]
        fields[kind] = sorted({name for some in names for name in some})
    return {
        "distributed": dict(spread),
        "integrated": {
            "PostgreSQL": len(known), "MongoDB": described, "Redis": len(counts),
        },
        "fast": {"counts": len(counts), "round_trips": trace.round_trips["Redis"]},
        "structured": sorted(" ".join(column) for column in columns),
        "semi_structured": fields,
    }
"""

_TWO_HALVES = changed(
    _OWN,
    (
        'counts = counted.redis.mget([f"units:{one}" for one in ids])',
        "half = len(ids) // 2\n"
        '        keys = [f"units:{one}" for one in ids]\n'
        "        counts = counted.redis.mget(keys[:half]) + counted.redis.mget(keys[half:])",
    ),
)

CORRECT = {"aggregated in MongoDB": _AGGREGATED, "in two halves": _TWO_HALVES}

WRONG = {
    "copied from the visible tests": """
def prove(stores):
    return {
        "distributed": {"worker 1": 300, "worker 2": 300},
        "integrated": {
            "PostgreSQL": 120,
            "MongoDB": sum(one.document is not None for one in market.listings),
            "Redis": sum(one.units is not None for one in market.listings),
        },
        "fast": {"counts": sum(one.units is not None for one in market.listings), "round_trips": 1},
        "structured": ["kind text", "listing_id bigint", "price numeric", "seller_id bigint",
                       "title text"],
        "semi_structured": {"bicycle": [], "camera": [], "synthesizer": []},
    }
""",
    "rows divided by the workers": changed(
        _OWN,
        (
            "    found = stores",
            '    (total,) = stores.postgres.execute("SELECT count(*) FROM bids").fetchone()\n'
            "    rows = {node: total // len(rows) for node in rows}\n    found = stores",
        ),
    ),
    "shards instead of rows": changed(_OWN, ("+ shard.rows", "+ 1")),
    "rows of the last shard of each node": changed(
        _OWN, ("rows.get(shard.node, 0) + shard.rows", "shard.rows")
    ),
    "rows of listings": changed(
        _OWN, ('shards_of(stores.postgres, "bids")', 'shards_of(stores.postgres, "listings")')
    ),
    "documents of any listing": changed(
        _OWN, ("len(described)", "stores.mongo.listings.count_documents({})")
    ),
    "any key of Redis": changed(_OWN, ('"Redis": there', '"Redis": stores.redis.dbsize()')),
    "every existing count": changed(
        _OWN,
        (
            "there = sum(count is not None for count in counts)",
            'there = len(stores.redis.keys("units:*"))',
        ),
    ),
    "every listing is counted": changed(
        _OWN, ("sum(count is not None for count in counts)", "len(counts)")
    ),
    "one command per count": changed(
        _OWN,
        (
            'counted.redis.mget([f"units:{one}" for one in ids])',
            '[counted.redis.get(f"units:{one}") for one in ids]',
        ),
    ),
    "round trips of untraced connections": changed(
        _OWN, ("counted.redis.mget", "stores.redis.mget")
    ),
    "the columns as they were created": changed(
        _OWN,
        (
            "[column for (column,) in columns]",
            '["kind text", "listing_id bigint", "price numeric", "seller_id bigint", "title text"]',
        ),
    ),
    "the fields of one document of each kind": changed(
        _OWN,
        (
            'fields.setdefault(document["kind"], set()).update(document["details"])',
            'fields.setdefault(document["kind"], set(document["details"]))',
        ),
    ),
    "the expected kinds": changed(
        _OWN,
        (
            "    from helpers import shards_of, traced\n",
            "    from helpers import shards_of, traced\n    from course.marketplace import KINDS\n",
        ),
        (
            "for document in documents:\n",
            'for document in documents:\n        if document["kind"] not in KINDS:\n            continue\n',
        ),
    ),
    "the fields of the whole document": changed(
        _OWN, ('.update(document["details"])', ".update(document)")
    ),
}

PARTIAL = {
    "rows of listings": 6,
    "one command per count": 6,
    "the fields of one document of each kind": 8,
}
