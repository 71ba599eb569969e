# placement needs: plain, distributed, orders, orders-fill, types, choice, third
# reviews needs: plain, distributed

# %% placement: workers are counted from 0
def worker_of(key, n, w):
    return shard_index(key, n) % w


# %% placement: the key is not hashed
def worker_of(key, n, w):
    return key % n % w + 1


# %% placement: the hash is mapped to workers instead of shards
def worker_of(key, n, w):
    return hash_bigint(key) % w + 1


# %% placement: neighbouring shards share a worker
def worker_of(key, n, w):
    return shard_index(key, n) * w // n + 1


# %% placement: the number of shards is hard-coded
def worker_of(key, n, w):
    return shard_index(key, 8) % w + 1


# %% reviews: the table is not distributed
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


# %% reviews: another number of shards than products
def make_reviews():
    pg.execute("""
        CREATE TABLE reviews (
            id bigint, product_id bigint, customer_id bigint, stars int,
            PRIMARY KEY (product_id, id)
        )
    """)
    pg.execute("SELECT create_distributed_table('reviews', 'product_id', shard_count => 16)")


# %% reviews: a reference table, although it grows
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


# %% reviews: only one review per product and customer
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


# %% reviews: the key includes the customer, so ids can repeat
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


# %% expect: one task per key, up to the number of shards
def expected_tasks(keys, shards):
    return min(keys, shards)


# %% expect: every shard, always
def expected_tasks(keys, shards):
    return shards


# %% expect: the probability of one shard, not the number of shards
def expected_tasks(keys, shards):
    return 1 - (1 - 1 / shards) ** keys


# %% expect: the number of untouched shards
def expected_tasks(keys, shards):
    return shards * (1 - 1 / shards) ** keys


# %% expect: keys and shards are swapped
def expected_tasks(keys, shards):
    return keys * (1 - (1 - 1 / keys) ** shards)
