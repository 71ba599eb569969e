# kind needs: open, killed-one-by-one
# insist needs: open, crash-everywhere
# predict needs: open

# %% kind: every response with products is whole
def kind_of(response):
    return "whole" if response.is_success else "refused"


# %% kind: ignores an unavailable worker
def kind_of(response):
    if not response.is_success:
        return "refused"
    if "X-Stale" in response.headers:
        return "stale"
    return "partial" if "X-Missing-Stores" in response.headers else "whole"


# %% kind: a stale response counts as whole
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


# %% kind: only by missing products
def kind_of(response):
    if not response.is_success:
        return "refused"
    if "X-Stale" in response.headers:
        return "stale"
    return "whole" if len(response.json()) == len(whole) else "partial"


# %% insist: sent once, without a retry
def order_until_answered(send, key):
    response = send(key)
    return response.json() if response.is_success else None


# %% insist: a broken connection counts as a refusal
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


# %% insist: a new key for each attempt, and so a new order
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


# %% insist: retries permanent failures
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.is_success:
            return response.json()


# %% insist: catches all exceptions and retries all responses
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
            response.raise_for_status()
            return response.json()
        except Exception:
            time.sleep(0.01)


# %% insist: a 503 counts as a refusal
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        return response.json() if response.is_success else None


# %% insist: gives up after two attempts
def order_until_answered(send, key):
    for _ in range(2):
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.is_success:
            return response.json()
    return None


# %% insist: returns the response instead of the order
def order_until_answered(send, key):
    while True:
        try:
            response = send(key)
        except httpx.TransportError:
            continue
        if response.status_code != 503:
            return response


# %% apply: increments per row, so a repeated row counts twice
def apply(sales, row):
    numbers = {"orders": 1, "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$inc": numbers}, upsert=True)


# %% apply: the last row wins, whatever the order
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$set": numbers}, upsert=True)


# %% apply: no upsert for a product without sales
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$max": numbers})


# %% apply: only the first row of a product
def apply(sales, row):
    numbers = {"orders": row["orders"], "units": row["units"]}
    sales.update_one({"_id": row["product_id"]}, {"$setOnInsert": numbers}, upsert=True)


# %% apply: assumes that each row comes once
def apply(sales, row):
    sales.insert_one({"_id": row["product_id"], "orders": row["orders"], "units": row["units"]})


# %% apply: adds up units but compares orders
def apply(sales, row):
    change = {"$max": {"orders": row["orders"]}, "$inc": {"units": row["units"]}}
    sales.update_one({"_id": row["product_id"]}, change, upsert=True)


# %% predict: MongoDB first is considered safe
def prediction():
    crashes = ("before count", "after count", "before order", "after order")
    return {crash: set() for crash in crashes}


# %% predict: orders are lost, none is duplicated
def prediction():
    return {
        "before count": set(),
        "after count": {"lost"},
        "before order": {"lost"},
        "after order": set(),
    }


# %% predict: only a crash between the writes does harm
def prediction():
    return {
        "before count": set(),
        "after count": {"lost", "doubled"},
        "before order": {"lost", "doubled"},
        "after order": set(),
    }


# %% predict: a crash before the first write loses the order
def prediction():
    return {
        "before count": {"lost"},
        "after count": {"lost", "doubled"},
        "before order": {"lost", "doubled"},
        "after order": {"doubled"},
    }


# %% predict: a retry after both writes finds the order
def prediction():
    return {"after count": {"doubled"}, "before order": {"lost"}}
