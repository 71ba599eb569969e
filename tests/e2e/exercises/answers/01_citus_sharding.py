# placement needs: plain, distributed, orders, orders-fill, types, choice, third
# reviews needs: plain, distributed

# %% placement: workers are counted from 0
def worker_of(key, n, w):
    return shard_index(key, n) % w


# %% placement: the key is not hashed
def worker_of(key, n, w):
    return key % n % w + 1


# %% placement: the hash is dealt to workers, past the shards
def worker_of(key, n, w):
    return hash_bigint(key) % w + 1


# %% placement: neighbouring shards are taken to share a worker
def worker_of(key, n, w):
    return shard_index(key, n) * w // n + 1


# %% placement: the eight shards of products are written in
def worker_of(key, n, w):
    return shard_index(key, 8) % w + 1


# %% reviews: the table is made, and not distributed
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id)
        )
    """)


# %% reviews: the primary key lacks the distribution column
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint PRIMARY KEY, product_id bigint, customer_id bigint, stars int
        )
    """)
    pg.execute(
        "SELECT create_distributed_table('reviews', 'product_id', colocate_with => 'products')"
    )


# %% reviews: an int does not colocate with a bigint
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id int, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id)
        )
    """)
    pg.execute(
        "SELECT create_distributed_table('reviews', 'product_id', colocate_with => 'products')"
    )


# %% reviews: distributed by their own id
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint PRIMARY KEY, product_id bigint, customer_id bigint, stars int
        )
    """)
    pg.execute("SELECT create_distributed_table('reviews', 'id', shard_count => 8)")


# %% reviews: of another number of shards than products
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id)
        )
    """)
    pg.execute("SELECT create_distributed_table('reviews', 'product_id', shard_count => 16)")


# %% reviews: a reference table, though they grow without end
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id)
        )
    """)
    pg.execute("SELECT create_reference_table('reviews')")


# %% reviews: nothing is unique
def make_reviews():
    pg.execute("CREATE TABLE reviews (id bigint, product_id bigint, customer_id bigint, stars int)")
    pg.execute(
        "SELECT create_distributed_table('reviews', 'product_id', colocate_with => 'products')"
    )


# %% reviews: one review of a product for each customer, whatever its id
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, customer_id)
        )
    """)
    pg.execute(
        "SELECT create_distributed_table('reviews', 'product_id', colocate_with => 'products')"
    )


# %% reviews: the customer is in the key as well, so an id may come twice
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id, customer_id)
        )
    """)
    pg.execute(
        "SELECT create_distributed_table('reviews', 'product_id', colocate_with => 'products')"
    )


# %% expect: a task for every key, until there are no more shards
def expected_tasks(keys, shards):
    return min(keys, shards)


# %% expect: every shard, always
def expected_tasks(keys, shards):
    return shards


# %% expect: the chance that one shard is touched, not their number
def expected_tasks(keys, shards):
    return 1 - (1 - 1 / shards) ** keys


# %% expect: the shards that are left alone
def expected_tasks(keys, shards):
    return shards * (1 - 1 / shards) ** keys


# %% expect: the keys and the shards change places
def expected_tasks(keys, shards):
    return keys * (1 - (1 - 1 / keys) ** shards)
