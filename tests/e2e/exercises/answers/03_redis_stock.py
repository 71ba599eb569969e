# counts needs: fill

# %% counts: one command per product
def counts(client, ids):
    texts = [client.get(f"stock:{one}") for one in ids]
    return {one: None if text is None else int(text) for one, text in zip(ids, texts)}


# %% counts: a missing key counts as zero
def counts(client, ids):
    texts = client.mget([f"stock:{one}" for one in ids])
    return {one: int(text or 0) for one, text in zip(ids, texts)}


# %% counts: strings are not converted
def counts(client, ids):
    return dict(zip(ids, client.mget([f"stock:{one}" for one in ids])))


# %% counts: products without a key are left out
def counts(client, ids):
    texts = client.mget([f"stock:{one}" for one in ids])
    return {one: int(text) for one, text in zip(ids, texts) if text is not None}


# %% counts: zero counts as missing
def counts(client, ids):
    texts = client.mget([f"stock:{one}" for one in ids])
    return {one: int(text or 0) or None for one, text in zip(ids, texts)}


# %% counts: a list without the product ids
def counts(client, ids):
    texts = client.mget([f"stock:{one}" for one in ids])
    return [None if text is None else int(text) for text in texts]


# %% life: seconds instead of milliseconds
def life(seconds, share):
    return max(1, round(seconds * random.uniform(1 - share, 1 + share)))


# %% life: not rounded
def life(seconds, share):
    return max(1, 1000 * seconds * random.uniform(1 - share, 1 + share))


# %% life: only longer, never shorter
def life(seconds, share):
    return max(1, round(1000 * seconds * random.uniform(1, 1 + share)))


# %% life: the share is used as seconds
def life(seconds, share):
    return max(1, round(1000 * random.uniform(seconds - share, seconds + share)))


# %% life: only the two extremes
def life(seconds, share):
    return max(1, round(1000 * seconds * random.choice([1 - share, 1 + share])))


# %% life: a lifetime of zero, which Redis refuses
def life(seconds, share):
    return round(1000 * seconds * random.uniform(1 - share, 1 + share))


# %% life: always a fifth, whatever the share
def life(seconds, share):
    return max(1, round(1000 * seconds * random.uniform(0.8, 1.2)))


# %% life: the same for all keys, so that all expire together
def life(seconds, share):
    return max(1, round(1000 * seconds * (1 + share / 2)))


# %% take: strings are compared, and "10" is less than "4"
take = """
local left = redis.call('GET', KEYS[1])
if not left then return -2 end
if left < ARGV[1] then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""

# %% take: a missing key is not handled
take = """
local left = tonumber(redis.call('GET', KEYS[1]))
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""

# %% take: a missing key is compared with nil instead of false
take = """
local left = redis.call('GET', KEYS[1])
if left == nil then return -2 end
if tonumber(left) < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""

# %% take: a missing key counts as zero units
take = """
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
if left < tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""

# %% take: decrements first, checks afterwards
take = """
if redis.call('EXISTS', KEYS[1]) == 0 then return -2 end
local left = redis.call('DECRBY', KEYS[1], ARGV[1])
if left < 0 then return -1 end
return left
"""

# %% take: always one unit
take = """
local left = redis.call('GET', KEYS[1])
if not left then return -2 end
if tonumber(left) < 1 then return -1 end
return redis.call('DECR', KEYS[1])
"""

# %% take: returns the units before, not after
take = """
local left = redis.call('GET', KEYS[1])
if not left then return -2 end
if tonumber(left) < tonumber(ARGV[1]) then return -1 end
redis.call('DECRBY', KEYS[1], ARGV[1])
return tonumber(left)
"""

# %% take: the result is not stored
take = """
local left = redis.call('GET', KEYS[1])
if not left then return -2 end
if tonumber(left) < tonumber(ARGV[1]) then return -1 end
return left - ARGV[1]
"""

# %% take: the last unit is never sold
take = """
local left = redis.call('GET', KEYS[1])
if not left then return -2 end
if tonumber(left) <= tonumber(ARGV[1]) then return -1 end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""


# %% stream: the entry at the position is repeated
def catch_up(client, position):
    entries = client.xrange("changes", min=position)
    products = dict.fromkeys(int(fields["product"]) for _, fields in entries)
    return list(products), entries[-1][0] if entries else position


# %% stream: a product that changed twice is repeated
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = [int(fields["product"]) for _, fields in entries]
    return products, entries[-1][0] if entries else position


# %% stream: newest first
def catch_up(client, position):
    entries = client.xrevrange("changes", min=f"({position}")
    products = dict.fromkeys(int(fields["product"]) for _, fields in entries)
    return list(products), entries[0][0] if entries else position


# %% stream: a product is placed by its last change
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = dict.fromkeys(int(fields["product"]) for _, fields in reversed(entries))
    return list(reversed(products)), entries[-1][0] if entries else position


# %% stream: ids are strings
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = dict.fromkeys(fields["product"] for _, fields in entries)
    return list(products), entries[-1][0] if entries else position


# %% stream: fails without new entries
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = dict.fromkeys(int(fields["product"]) for _, fields in entries)
    return list(products), entries[-1][0]


# %% stream: the position is lost without new entries
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = dict.fromkeys(int(fields["product"]) for _, fields in entries)
    return list(products), entries[-1][0] if entries else None


# %% stream: a set, which has no order
def catch_up(client, position):
    entries = client.xrange("changes", min=f"({position}")
    products = sorted({int(fields["product"]) for _, fields in entries})
    return products, entries[-1][0] if entries else position
