# walk needs: connect
# cache needs: connect
# retry needs: connect

# %% walk: the first page only
def all_ids(api, **filters):
    return [one["id"] for one in api.get("/api/products", params=filters).json()]


# %% walk: a page that has no next one is left out
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


# %% walk: the first page comes twice
def all_ids(api, **filters):
    response = api.get("/api/products", params=filters)
    ids = [one["id"] for one in response.json()]
    while "next" in response.links:
        ids += [one["id"] for one in response.json()]
        response = api.get(response.links["next"]["url"])
    return ids + [one["id"] for one in response.json()]


# %% walk: the filters are left out, so it is everything
def all_ids(api, **filters):
    return [one["id"] for one in api.get("/api/products").json()]


# %% walk: the products, not their ids
def all_ids(api, **filters):
    response = api.get("/api/products", params=filters)
    found = response.json()
    while "next" in response.links:
        response = api.get(response.links["next"]["url"])
        found += response.json()
    return found


# %% cache: the tag is never sent
def fetch(api, path, memory):
    memory[path] = api.get(path).json()
    return memory[path]


# %% cache: what is in the memory is never asked for again
def fetch(api, path, memory):
    if path not in memory:
        memory[path] = api.get(path).json()
    return memory[path]


# %% cache: one place in the memory for all paths
def fetch(api, path, memory):
    response = api.get(path, headers={"If-None-Match": memory.get("tag", "")})
    if response.status_code != 304:
        memory["tag"], memory["body"] = response.headers["etag"], response.json()
    return memory["body"]


# %% cache: the first tag and answer are kept for good
def fetch(api, path, memory):
    tag, body = memory.get(path, ("", None))
    response = api.get(path, headers={"If-None-Match": tag})
    if response.status_code == 304:
        return body
    memory.setdefault(path, (response.headers["etag"], response.json()))
    return response.json()


# %% cache: the answer is renewed, and its tag is not
def fetch(api, path, memory):
    tag, body = memory.get(path, ("", None))
    response = api.get(path, headers={"If-None-Match": tag})
    if response.status_code != 304:
        body = response.json()
        memory[path] = tag or response.headers["etag"], body
    return body


# %% cache: a 304 is read like an answer
def fetch(api, path, memory):
    response = api.get(path, headers={"If-None-Match": memory.get(path, "")})
    memory[path] = response.headers.get("etag", memory.get(path, ""))
    return response.json()


# %% cache: the response, not what is in it
def fetch(api, path, memory):
    return api.get(path)


# %% retry: whatever failed is tried again
def pause_before_retry(response):
    return None if response.is_success else int(response.headers.get("retry-after", 1))


# %% retry: after a second, whatever the service says
def pause_before_retry(response):
    return 1 if response.status_code == 503 else None


# %% retry: the header is left as a text
def pause_before_retry(response):
    return response.headers.get("retry-after")


# %% retry: the header is taken to be there always
def pause_before_retry(response):
    return int(response.headers["retry-after"]) if response.status_code == 503 else None


# %% retry: where the service does not say when, it is taken for never
def pause_before_retry(response):
    after = response.headers.get("retry-after")
    return None if after is None else int(after)


# %% retry: a conflict is tried again as well
def pause_before_retry(response):
    if response.status_code not in (409, 503):
        return None
    return int(response.headers.get("retry-after", 1))


# %% retry: a pause also after an answer
def pause_before_retry(response):
    return (
        None if 400 <= response.status_code < 500 else int(response.headers.get("retry-after", 1))
    )


# %% share: more callers make it faster, shared or not
def answers_per_second(seconds, callers, shared):
    return callers / seconds


# %% share: sharing changes nothing
def answers_per_second(seconds, callers, shared):
    return 1 / seconds


# %% share: without sharing, callers make it slower
def answers_per_second(seconds, callers, shared):
    return (callers if shared else 1 / callers) / seconds


# %% share: the seconds that it takes, not the answers
def answers_per_second(seconds, callers, shared):
    return seconds if shared else callers * seconds


# %% share: the two are taken for each other
def answers_per_second(seconds, callers, shared):
    return (1 if shared else callers) / seconds
