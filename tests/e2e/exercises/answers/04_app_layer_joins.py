# names needs: connect
# loader needs: connect
# page needs: connect

# %% names: a question for each product
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    found = {}
    for one, name in rows.fetchall():
        document = stores.mongo.productmetas.find_one({"product_id": one})
        found[one] = (name, document["tags"] if document else [])
    return found


# %% names: the whole join, and with it a store that was not asked for
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


# %% names: every product is taken to have a document
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = {one["product_id"]: one["tags"] for one in documents}
    return {one: (name, tags[one]) for one, name in rows.fetchall()}


# %% names: None where there is no document
def names_of(stores, ids):
    rows = stores.postgres.execute("SELECT id, name FROM products WHERE id = ANY(%s)", [ids])
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = {one["product_id"]: one["tags"] for one in documents}
    return {one: (name, tags.get(one)) for one, name in rows.fetchall()}


# %% names: the answers are zipped, though each store has an order and gaps of its own
def names_of(stores, ids):
    rows = stores.postgres.execute(
        "SELECT id, name FROM products WHERE id = ANY(%s) ORDER BY id", [ids]
    )
    documents = stores.mongo.productmetas.find({"product_id": {"$in": ids}})
    tags = [one["tags"] for one in documents.sort("product_id")]
    return {one: (name, its) for (one, name), its in zip(rows.fetchall(), tags)}


# %% loader: texts are left as they come
async def fetch_counts(ids):
    return shop.redis.mget([f"stock:{one}" for one in ids])


# %% loader: a missing count is taken for zero
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return [int(text or 0) for text in texts]


# %% loader: what is missing is left out, and all after it moves up
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return [int(text) for text in texts if text is not None]


# %% loader: in the order of the products, not of the ids that were asked for
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in sorted(ids)])
    return [None if text is None else int(text) for text in texts]


# %% loader: a dictionary, where a DataLoader wants the values
async def fetch_counts(ids):
    texts = shop.redis.mget([f"stock:{one}" for one in ids])
    return {one: None if text is None else int(text) for one, text in zip(ids, texts)}


# %% page: by price alone, so that those of the same price are lost
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE price > %s ORDER BY price, id LIMIT %s",
        [after[0], limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: both must be greater, so that a dearer product of a smaller id is lost
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE price >= %s AND id > %s "
        "ORDER BY price, id LIMIT %s",
        [*after, limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: the last product of a page begins the next one too, and there is no end
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) >= (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for name, _, _ in rows], (rows[-1][1], rows[-1][2])


# %% page: the product that was looked ahead to is where the next page goes on from
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) > (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit + 1],
    ).fetchall()
    following = (rows[-1][1], rows[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in rows[:limit]], following


# %% page: after the last page it goes on with nothing
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE (price, id) > (%s, %s) "
        "ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for name, _, _ in rows], (rows[-1][1], rows[-1][2]) if rows else after


# %% page: by id, as the pages before
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name, price, id FROM products WHERE id > %s ORDER BY id LIMIT %s",
        [after[1], limit + 1],
    ).fetchall()
    shown = rows[:limit]
    following = (shown[-1][1], shown[-1][2]) if len(rows) > limit else None
    return [name for name, _, _ in shown], following


# %% page: the names alone, and nowhere to go on from
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name FROM products WHERE (price, id) > (%s, %s) ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for (name,) in rows]


# %% page: the first page is all there is
def page(after, limit):
    rows = shop.postgres.execute(
        "SELECT name FROM products WHERE (price, id) > (%s, %s) ORDER BY price, id LIMIT %s",
        [*after, limit],
    ).fetchall()
    return [name for (name,) in rows], None


# %% predict: every round trip is waited for, also those at once
def predict(delay, work):
    return work + 4 * delay


# %% predict: the last question is taken to be asked with the others
def predict(delay, work):
    return work + 2 * delay


# %% predict: the stores' work is forgotten
def predict(delay, work):
    return 3 * delay


# %% predict: the work is counted at each round trip, though it is of all
def predict(delay, work):
    return 3 * (delay + work)
