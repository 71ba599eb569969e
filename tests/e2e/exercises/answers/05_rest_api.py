# walk needs: connect
# cache needs: connect
# retry needs: connect

# %% walk: the first page only
def all_ids(api, **filters):
    return [one["id"] for one in api.get("/api/products", params=filters).json()]


# %% walk: the last page is left out
def all_ids(api, **filters):
    response, ids = api.get("/api/products", params=filters), []
    while "next" in response.links:
        ids += [one["id"] for one in response.json()]
        response = api.get(response.links["next"]["url"])
    return ids


# %% walk: the second page only
def all_ids(api, **filters):
    response = api.get("/api/products", params=filters)
    ids = [one["id"] for one in response.json()]
    if "next" in response.links:
        ids += [one["id"] for one in api.get(response.links["next"]["url"]).json()]
    return ids


# %% walk: the first page is repeated
def all_ids(api, **filters):
    response = api.get("/api/products", params=filters)
    ids = [one["id"] for one in response.json()]
    while "next" in response.links:
        ids += [one["id"] for one in response.json()]
        response = api.get(response.links["next"]["url"])
    return ids + [one["id"] for one in response.json()]


# %% walk: without the filters
def all_ids(api, **filters):
    return [one["id"] for one in api.get("/api/products").json()]


# %% walk: products instead of ids
def all_ids(api, **filters):
    response = api.get("/api/products", params=filters)
    found = response.json()
    while "next" in response.links:
        response = api.get(response.links["next"]["url"])
        found += response.json()
    return found


# %% cache: never sends the ETag
def fetch(api, path, memory):
    memory[path] = api.get(path).json()
    return memory[path]


# %% cache: never revalidates
def fetch(api, path, memory):
    if path not in memory:
        memory[path] = api.get(path).json()
    return memory[path]


# %% cache: one entry for all paths
def fetch(api, path, memory):
    response = api.get(path, headers={"If-None-Match": memory.get("tag", "")})
    if response.status_code != 304:
        memory["tag"], memory["body"] = response.headers["etag"], response.json()
    return memory["body"]


# %% cache: keeps the first ETag and response forever
def fetch(api, path, memory):
    tag, body = memory.get(path, ("", None))
    response = api.get(path, headers={"If-None-Match": tag})
    if response.status_code == 304:
        return body
    memory.setdefault(path, (response.headers["etag"], response.json()))
    return response.json()


# %% cache: updates the response but not the ETag
def fetch(api, path, memory):
    tag, body = memory.get(path, ("", None))
    response = api.get(path, headers={"If-None-Match": tag})
    if response.status_code != 304:
        body = response.json()
        memory[path] = tag or response.headers["etag"], body
    return body


# %% cache: parses the body of a 304
def fetch(api, path, memory):
    response = api.get(path, headers={"If-None-Match": memory.get(path, "")})
    memory[path] = response.headers.get("etag", memory.get(path, ""))
    return response.json()


# %% cache: the response instead of its JSON
def fetch(api, path, memory):
    return api.get(path)


# %% retry: retries every failure
def pause_before_retry(response):
    return None if response.is_success else int(response.headers.get("retry-after", 1))


# %% retry: after one second, ignoring Retry-After
def pause_before_retry(response):
    return 1 if response.status_code == 503 else None


# %% retry: the header is not converted
def pause_before_retry(response):
    return response.headers.get("retry-after")


# %% retry: assumes that the header is present
def pause_before_retry(response):
    return int(response.headers["retry-after"]) if response.status_code == 503 else None


# %% retry: never without the header
def pause_before_retry(response):
    after = response.headers.get("retry-after")
    return None if after is None else int(after)


# %% retry: retries a conflict, too
def pause_before_retry(response):
    if response.status_code not in (409, 503):
        return None
    return int(response.headers.get("retry-after", 1))


# %% retry: a pause after a success
def pause_before_retry(response):
    return (
        None if 400 <= response.status_code < 500 else int(response.headers.get("retry-after", 1))
    )


# %% share: more callers make it faster even without sharing
def answers_per_second(seconds, callers, shared):
    return callers / seconds


# %% share: sharing changes nothing
def answers_per_second(seconds, callers, shared):
    return 1 / seconds


# %% share: without sharing, callers make it slower
def answers_per_second(seconds, callers, shared):
    return (callers if shared else 1 / callers) / seconds


# %% share: seconds instead of answers per second
def answers_per_second(seconds, callers, shared):
    return seconds if shared else callers * seconds


# %% share: shared and not shared are swapped
def answers_per_second(seconds, callers, shared):
    return (1 if shared else callers) / seconds
