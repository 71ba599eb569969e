# names needs: connect
# loader needs: connect
# page needs: connect

# %% names: one query per product
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    found = {}
    for one, name in rows.fetchall():
        document = stores.mongo.productmetas.find_one({"product_id": one})
        found[one] = (name, document["tags"] if document else [])
    return found


# %% names: the whole join, with a store that is not needed
def names_of(stores, ids):
    return {
        one["id"]: (one["name"], (one["metadata"] or {}).get("tags", []))
        for one in batched(stores, ids)
    }


# %% names: a product without a document is dropped
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    names = dict(rows.fetchall())
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    return {one["product_id"]: (names[one["product_id"]], one["tags"]) for one in documents}


# %% names: assumes that every product has a document
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = {one["product_id"]: one["tags"] for one in documents}
    return {one: (name, tags[one]) for one, name in rows.fetchall()}


# %% names: None without a document
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = {one["product_id"]: one["tags"] for one in documents}
    return {one: (name, tags.get(one)) for one, name in rows.fetchall()}


# %% names: results are zipped despite different order and gaps
def names_of(stores, ids):
    rows = stores.postgres.execute(
        "SELECT id, name FROM products WHERE id = ANY(%s) ORDER BY id", [ids]
    )
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = [one["tags"] for one in documents.sort("product_id")]
    return {one: (name, its) for (one, name), its in zip(rows.fetchall(), tags)}


# %% loader: strings are not converted
async def fetch_counts(ids):
    return shop.redis.mget([f"stock:{one}" for one in ids])


# %% loader: a missing count is zero
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return [int(text or 0) for text in texts]


# %% loader: missing values are left out, so later ones shift
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return [int(text) for text in texts if text is not None]


# %% loader: in the order of the products, not of the keys
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in sorted(ids)])
    return [None if text is None else int(text) for text in texts]


# %% loader: a dictionary instead of a list of values
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return {one: None if text is None else int(text) for one, text in zip(ids, texts)}


# %% page: by price only, so equal prices are lost
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE price > %s ORDER BY price, id LIMIT %s",
        [after[0], limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: both must be greater, so products are lost
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE price >= %s AND id > %s "
        "ORDER BY price, id LIMIT %s",
        [*after, limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: pages overlap by one product, and never end
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) >= (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for name, _, _ in rows], (rows[-1][1], rows[-1][2])


# %% page: the next page starts after the look-ahead product
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) > (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit + 1],
    ).fetchall()
    following = (rows[-1][1], rows[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in rows[:limit]], following


# %% page: an empty page after the last one
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) > (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for name, _, _ in rows], (rows[-1][1], rows[-1][2]) if rows else after


# %% page: by id, not by price
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE id > %s ORDER BY id LIMIT %s",
        [after[1], limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: only the names, without a cursor
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name FROM products WHERE (price, id) > (%s, %s) ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for (name,) in rows]


# %% page: only the first page
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name FROM products WHERE (price, id) > (%s, %s) ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for (name,) in rows], None


# %% predict: concurrent round trips are added up
def predict(delay, work):
    return work + 4 * delay


# %% predict: the last query is treated as concurrent
def predict(delay, work):
    return work + 2 * delay


# %% predict: ignores the stores' work
def predict(delay, work):
    return 3 * delay


# %% predict: counts the total work at each round trip
def predict(delay, work):
    return 3 * (delay + work)
