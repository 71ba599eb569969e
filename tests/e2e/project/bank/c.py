"""Answers to task C: reserve, confirm and sweep."""

from __future__ import annotations

from tests.e2e.project.bank import changed, without
from tests.e2e.project.running import solution

_OWN = solution("c")

_WATCH = '''
from redis.exceptions import WatchError

HELD = "reservations"


def optimistic(redis, keys, decide):
    """Repeat until nobody has changed ``keys`` between looking and acting."""
    while True:
        with redis.pipeline() as pipeline:
            try:
                pipeline.watch(*keys)
                answer, acts = decide(pipeline)
                if not acts:
                    return answer
                pipeline.multi()
                for name, *arguments in acts:
                    getattr(pipeline, name)(*arguments)
                pipeline.execute()
                return answer
            except WatchError:
                continue


def reserve(redis, listing_id, buyer, now, hold_seconds):
    units, who = f"units:{listing_id}", f"{listing_id}/{buyer}"

    def decide(pipeline):
        if pipeline.hexists(HELD, who):
            return "reserved", ()
        left = pipeline.get(units)
        if left is None:
            return "unknown", ()
        if int(left) < 1:
            return "sold out", ()
        return "reserved", (("decr", units), ("hset", HELD, who, now + hold_seconds))

    return optimistic(redis, (units, HELD), decide)


def confirm(redis, listing_id, buyer, now):
    who = f"{listing_id}/{buyer}"

    def decide(pipeline):
        deadline = pipeline.hget(HELD, who)
        if deadline is None or float(deadline) <= now:
            return False, ()
        return True, (("hdel", HELD, who),)

    return optimistic(redis, (HELD,), decide)


def sweep(redis, now):
    def decide(pipeline):
        over = [who for who, at in pipeline.hgetall(HELD).items() if float(at) <= now]
        acts = [("hdel", HELD, who) for who in over]
        acts += [("incr", "units:" + who.partition("/")[0]) for who in over]
        return len(over), acts

    return optimistic(redis, (HELD,), decide)
'''

_LOCKED = '''
import time
import uuid

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Locked:
    """One at a time, in all processes: whoever has set the key goes first."""

    def __init__(self, redis):
        self.redis, self.token = redis, uuid.uuid4().hex

    def __enter__(self):
        while not self.redis.set("lock", self.token, nx=True, px=30_000):
            time.sleep(0.002)

    def __exit__(self, *_):
        self.redis.eval(RELEASE, 1, "lock", self.token)


def reserve(redis, listing_id, buyer, now, hold_seconds):
    with Locked(redis):
        if redis.hexists(f"holds:{listing_id}", buyer):
            return "reserved"
        left = redis.get(f"units:{listing_id}")
        if left is None:
            return "unknown"
        if int(left) <= 0:
            return "sold out"
        redis.set(f"units:{listing_id}", int(left) - 1)
        redis.hset(f"holds:{listing_id}", buyer, now + hold_seconds)
        return "reserved"


def confirm(redis, listing_id, buyer, now):
    with Locked(redis):
        deadline = redis.hget(f"holds:{listing_id}", buyer)
        if deadline is None or float(deadline) <= now:
            return False
        return redis.hdel(f"holds:{listing_id}", buyer) == 1


def sweep(redis, now):
    ended = 0
    with Locked(redis):
        for key in list(redis.scan_iter("holds:*")):
            for buyer, deadline in redis.hgetall(key).items():
                if float(deadline) <= now:
                    redis.hdel(key, buyer)
                    redis.incr(key.replace("holds:", "units:"))
                    ended += 1
    return ended
'''

CORRECT = {"watched, and repeated": _WATCH, "under a lock in Redis": _LOCKED}

_SCRIPT = _OWN[_OWN.index('    script = """\n        if redis') : _OWN.index("    who, deadline")]
_EVAL = 'return redis.eval(script, 2, f"units:{listing_id}", "held", who, deadline)'
_UNKNOWN = "        if not left then return 'unknown' end\n"


def _reserving(body: str) -> str:
    """Return the own answer with ``reserve`` in plain steps."""
    return changed(_OWN, (_SCRIPT, ""), (_EVAL, body))


_LOOK = """if redis.zscore("held", who) is not None:
        return "reserved"
    left = redis.get(f"units:{listing_id}")
    if left is None:
        return "unknown"
    if int(left) <= 0:
        return "sold out"
"""

WRONG = {
    "only reserve()": without(_OWN, "confirm", "sweep"),
    "without confirm()": without(_OWN, "confirm"),
    "without sweep()": without(_OWN, "sweep"),
    "GET, then SET": _reserving(
        _LOOK
        + """    redis.set(f"units:{listing_id}", int(left) - 1)
    redis.zadd("held", {who: deadline})
    return "reserved"
"""
    ),
    "GET, then DECR": _reserving(
        _LOOK
        + """    redis.decr(f"units:{listing_id}")
    redis.zadd("held", {who: deadline})
    return "reserved"
"""
    ),
    "GET, then DECR in a transaction without WATCH": _reserving(
        _LOOK
        + """    with redis.pipeline() as pipeline:
        pipeline.decr(f"units:{listing_id}")
        pipeline.zadd("held", {who: deadline})
        pipeline.execute()
    return "reserved"
"""
    ),
    "DECR, then check": _reserving(
        """if redis.zscore("held", who) is not None:
        return "reserved"
    if redis.get(f"units:{listing_id}") is None:
        return "unknown"
    if redis.decr(f"units:{listing_id}") < 0:
        return "sold out"
    redis.zadd("held", {who: deadline})
    return "reserved"
"""
    ),
    "a missing key is read as zero": changed(_OWN, (_UNKNOWN, "        left = left or '0'\n")),
    "a missing key is created": changed(
        _OWN,
        (_UNKNOWN, "        if not left then redis.call('SET', KEYS[1], 0) return 'unknown' end\n"),
    ),
    "a buyer who retries gets a second unit": changed(
        _OWN,
        ("        if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 'reserved' end\n", ""),
    ),
    "a buyer who retries gets more time": changed(
        _OWN,
        (
            "then return 'reserved' end",
            "then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) return 'reserved' end",
        ),
    ),
    "a reservation is valid for any listing": changed(
        _OWN, ('f"{listing_id}:{buyer}"', 'f"1:{buyer}"')
    ),
    "confirmed after the deadline": changed(
        _OWN, (" or tonumber(deadline) <= tonumber(ARGV[2])", "")
    ),
    "confirmed at the deadline": changed(
        _OWN, ("tonumber(deadline) <= tonumber", "tonumber(deadline) < tonumber")
    ),
    "sold units are released": changed(
        _OWN, ("return redis.call('ZREM', KEYS[1], ARGV[1])", "return 1")
    ),
    "anyone can confirm": changed(_OWN, ("if not deadline or", "if deadline and")).replace(
        "return redis.call('ZREM', KEYS[1], ARGV[1])",
        "redis.call('ZREM', KEYS[1], ARGV[1])\n        return 1",
    ),
    "swept units are released repeatedly": changed(
        _OWN, ("            redis.call('ZREM', KEYS[1], who)\n", "")
    ),
    "swept units are not released": changed(
        _OWN,
        ("            redis.call('INCR', 'units:' .. string.match(who, '^[^:]+'))\n", ""),
    ),
    "nothing is ever swept": changed(
        _OWN, ('return redis.eval(script, 1, "held", now)', "return 0")
    ),
    "two sweepers release a unit twice": changed(
        _OWN,
        (
            'return redis.eval(script, 1, "held", now)',
            """over = redis.zrangebyscore("held", "-inf", now)
    for who in over:
        redis.incr("units:" + who.partition(":")[0])
        redis.zrem("held", who)
    return len(over)""",
        ),
    ),
    "a concurrent confirmation is swept": changed(
        _OWN,
        (
            'return redis.eval(script, 1, "held", now)',
            """over = redis.zrangebyscore("held", "-inf", now)
    for who in over:
        with redis.pipeline() as pipeline:
            pipeline.zrem("held", who)
            pipeline.incr("units:" + who.partition(":")[0])
            pipeline.execute()
    return len(over)""",
        ),
    ),
    "checked, then confirmed": changed(
        _OWN,
        (
            'return redis.eval(script, 1, "held", f"{listing_id}:{buyer}", now) == 1',
            """deadline = redis.zscore("held", f"{listing_id}:{buyer}")
    if deadline is None or deadline <= now:
        return False
    redis.zrem("held", f"{listing_id}:{buyer}")
    return True""",
        ),
    ),
    "kept in process memory": """
HELD, SOLD = {}, {}


def reserve(redis, listing_id, buyer, now, hold_seconds):
    if (listing_id, buyer) in HELD:
        return "reserved"
    left = redis.get(f"units:{listing_id}")
    if left is None:
        return "unknown"
    if int(left) == 0:
        return "sold out"
    redis.decr(f"units:{listing_id}")
    HELD[listing_id, buyer] = now + hold_seconds
    return "reserved"


def confirm(redis, listing_id, buyer, now):
    if HELD.get((listing_id, buyer), now) <= now:
        return False
    del HELD[listing_id, buyer]
    return True


def sweep(redis, now):
    over = [who for who, deadline in HELD.items() if deadline <= now]
    for who in over:
        del HELD[who]
        redis.incr(f"units:{who[0]}")
    return len(over)
""",
}

PARTIAL = {
    "only reserve()": 7,
    "without confirm()": 10,
    "without sweep()": 10,
}
