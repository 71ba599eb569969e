# kind needs: open, killed-one-by-one
# insist needs: open, crash-everywhere
# predict needs: open

# %% kind: whatever has products is whole
def kind_of(response):
    return "whole" if response.is_success else "refused"


# %% kind: a worker that is away is overlooked
def kind_of(response):
    if not response.is_success:
        return "refused"
    if "X-Stale" in response.headers:
        return "stale"
    return "partial" if "X-Missing-Stores" in response.headers else "whole"


# %% kind: an old answer is taken for a whole one
def kind_of(response):
    if not response.is_success:
        return "refused"
    if "X-Missing-Stores" in response.headers or "X-Missing-Nodes" in response.headers:
        return "partial"
    return "whole"


# %% kind: only a 503 is a refusal
def kind_of(response):
    if response.status_code == 503:
        return "refused"
    if "X-Stale" in response.headers:
        return "stale"
    if "X-Missing-Stores" in response.headers or "X-Missing-Nodes" in response.headers:
        return "partial"
    return "whole"


# %% kind: by the products alone, of which some are missing only without a worker
def kind_of(response):
    if not response.is_success:
        return "refused"
    if "X-Stale" in response.headers:
        return "stale"
    return "whole" if len(response.json()) == len(whole) else "partial"


# %% insist: sent once, and never again
def order_until_answered(send, key):
    response = send(key)
    return response.json() if response.is_success else None


# %% insist: a connection that breaks is taken for no
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            return None
        if response.is_success:
            return response.json()
        if response.status_code != 503:
            return None


# %% insist: a key of its own for each attempt, and so an order for each
def order_until_answered(send, key):
    for attempt in range(10):
        try:
            response = send(f"{key}-{attempt}")
        except httpx.TransportError:
            continue
        if response.is_success:
            return response.json()
        if response.status_code != 503:
            return None
    return None


# %% insist: whatever is no success is tried again, also where it can never be
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.is_success:
            return response.json()


# %% insist: all exceptions are caught, and all answers asked for once more
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
            response.raise_for_status()
            return response.json()
        except Exception:
            time.sleep(0.01)


# %% insist: a service that asks for patience is taken for one that says no
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        return response.json() if response.is_success else None


# %% insist: given up after two attempts
def order_until_answered(send, key):
    for _ in range(2):
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.is_success:
            return response.json()
    return None


# %% insist: the response is returned, and not the order
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.status_code != 503:
            return response


# %% apply: one more for each row, so that a row which comes twice counts twice
def apply(sales, row):
    numbers = {"orders": 1, "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$inc": numbers}, upsert=True)


# %% apply: the last row wins, though rows come in any order
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$set": numbers}, upsert=True)


# %% apply: nothing is written where the product was never sold before
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$max": numbers})


# %% apply: the first row of a product is its only one
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$setOnInsert": numbers}, upsert=True)


# %% apply: written as if it could come only once
def apply(sales, row):
    sales.insert_one({"_id": row["product_id"], "orders": row["orders"], "units": row["units"]})


# %% apply: the units are added up, while the orders are compared
def apply(sales, row):
    change = {"$max": {"orders": row["orders"]}, "$inc": {"units": row["units"]}}
    sales.update_one({"_id": row["product_id"]}, change, upsert=True)


# %% predict: MongoDB first is taken to be safe
def prediction():
    crashes = ("before count", "after count", "before order", "after order")
    return {crash: set() for crash in crashes}


# %% predict: orders are lost, and none is doubled
def prediction():
    return {
        "before count": set(),
        "after count": {"lost"},
        "before order": {"lost"},
        "after order": set(),
    }


# %% predict: only a crash between the two writes is taken to do harm
def prediction():
    return {
        "before count": set(),
        "after count": {"lost", "doubled"},
        "before order": {"lost", "doubled"},
        "after order": set(),
    }


# %% predict: who dies before anything was written is taken for lost
def prediction():
    return {
        "before count": {"lost"},
        "after count": {"lost", "doubled"},
        "before order": {"lost", "doubled"},
        "after order": {"doubled"},
    }


# %% predict: where both writes are done, asking again is taken to find the order
def prediction():
    return {"after count": {"doubled"}, "before order": {"lost"}}
