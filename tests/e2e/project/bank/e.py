"""Answers to task E: partial results without a store."""

from __future__ import annotations

from tests.e2e.project.bank import changed
from tests.e2e.project.running import solution

_OWN = solution("e")

_LOOP = """
from psycopg import OperationalError
from pymongo.errors import AutoReconnect, ConnectionFailure, ServerSelectionTimeoutError
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import TimeoutError as RedisSilent

OPTIONAL = {
    "MongoDB": ("details", read_details, (ConnectionFailure,)),
    "Redis": ("units", read_units, (RedisGone, RedisSilent)),
}


def answer(stores, ids):
    try:
        known = read_listings(stores, ids)
    except OperationalError:
        raise CatalogDownError("no catalogue") from None
    rows = {one: {"listing_id": one} | known[one] for one in ids if one in known}
    missing = []
    for store, (field, read, away) in OPTIONAL.items():
        values = {}
        try:
            values = read(stores, ids)
        except away:
            missing.append(store)
        for one, row in rows.items():
            row[field] = values.get(one)
    return {"rows": list(rows.values()), "missing": sorted(missing)}
"""

_AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pymongo.errors
import redis as redis_driver

AWAY = (
    pymongo.errors.ConnectionFailure,
    redis_driver.exceptions.ConnectionError,
    redis_driver.exceptions.TimeoutError,
)


def answer(stores, ids):
    with ThreadPoolExecutor(2) as pool:
        asked = {
            "MongoDB": pool.submit(read_details, stores, ids),
            "Redis": pool.submit(read_units, stores, ids),
        }
        try:
            listings = read_listings(stores, ids)
        except psycopg.OperationalError as error:
            raise CatalogDownError(str(error))
    found, missing = {}, []
    for store, future in asked.items():
        try:
            found[store] = future.result()
        except AWAY:
            missing.append(store)
    rows = []
    for one in ids:
        if one in listings:
            rows.append({
                "listing_id": one,
                "title": listings[one]["title"],
                "price": listings[one]["price"],
                "details": found.get("MongoDB", {}).get(one),
                "units": found.get("Redis", {}).get(one),
            })
    return {"rows": rows, "missing": missing}
"""

CORRECT = {"a loop over the stores": _LOOP, "all stores at once": _AT_ONCE}

_PG = "    except psycopg.OperationalError as error:\n"
_RAISE = '        raise CatalogDownError("PostgreSQL is unavailable: try again soon.") from error\n'
_REDIS = "except (redis.ConnectionError, redis.TimeoutError):"

WRONG = {
    "every store must be available": """
def answer(stores, ids):
    listings, details = read_listings(stores, ids), read_details(stores, ids)
    units = read_units(stores, ids)
    rows = [
        {"listing_id": one, **listings[one], "details": details.get(one), "units": units.get(one)}
        for one in ids if one in listings
    ]
    return {"rows": rows, "missing": []}
""",
    "every error counts as an unavailable store": changed(
        _OWN,
        ("except pymongo.errors.ConnectionFailure:", "except Exception:"),
        (_REDIS, "except Exception:"),
    ),
    "an unresponsive store is not handled": changed(
        _OWN, (_REDIS, "except redis.ConnectionError:")
    ),
    "no units are zero units": changed(_OWN, ("units.get(one)", "units.get(one, 0)")),
    "missing stores are not reported": changed(
        _OWN, ('        missing.append("MongoDB")\n', ""), ('        missing.append("Redis")\n', "")
    ),
    "an empty list without PostgreSQL": changed(
        _OWN, (_RAISE, '        return {"rows": [], "missing": ["PostgreSQL"]}\n')
    ),
    "the driver's error without PostgreSQL": changed(_OWN, (_RAISE, "        raise\n")),
    "rows without details are dropped": changed(
        _OWN, ("if one in listings", "if one in listings and one in details")
    ),
    "rows without a count are dropped": changed(
        _OWN, ("if one in listings", "if one in listings and one in units")
    ),
    "a store is never queried again after an error": changed(
        _OWN,
        ("def answer(", "GONE = set()\n\n\ndef answer("),
        (
            "        units = read_units(stores, ids)\n",
            '        if "Redis" in GONE:\n            raise redis.ConnectionError\n'
            "        units = read_units(stores, ids)\n",
        ),
        ('missing.append("Redis")', 'GONE.add("Redis")\n        missing.append("Redis")'),
    ),
    "the first unavailable store ends all queries": changed(
        _OWN,
        (
            '        missing.append("MongoDB")\n    try:\n',
            '        missing.append("MongoDB")\n    try:\n'
            "        if missing:\n            raise redis.ConnectionError\n",
        ),
    ),
    "only Redis may be unavailable": changed(
        _OWN, ("except pymongo.errors.ConnectionFailure:", "except ZeroDivisionError:")
    ),
    "in the database's order": changed(
        _OWN, ("for one in ids\n        if one in listings", "for one in listings")
    ),
    "unknown ids are rows": changed(
        _OWN,
        ("**listings[one],", "**listings.get(one, {'title': None, 'price': None}),"),
        ("        if one in listings\n", ""),
    ),
    "the expected values of the visible tests": """
def answer(stores, ids):
    try:
        stores.redis.ping()
    except Exception:
        return {"rows": [{**row, "units": None} for row in whole], "missing": ["Redis"]}
    return {"rows": whole, "missing": []}
""",
}

PARTIAL = {
    "only Redis may be unavailable": 8,
    "the driver's error without PostgreSQL": 10,
    "every error counts as an unavailable store": 11,
}
