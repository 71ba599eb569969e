"""The service answers what the original answered, and what it has learned beside that."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import pytest

from helpers.api.product_reads import Shared
from helpers.api.service import Options, open_service
from helpers.catalog.model import stock_key
from helpers.joins import Query, batched
from helpers.lab.background_programs import ServiceProcess
from helpers.stores import Stores
from tests.api.conftest import COUNT
from tests.api.serving import addresses_of, serving

# What GET /api/products of the original answered for its three products, to the letter, but for
# the spaces.
ORIGINAL = json.loads("""
[
  {"id": 1, "name": "Laptop A", "price": "1200",
   "metadata": {"description": "High-performance laptop", "tags": ["electronics", "laptop"],
                "specifications": {"ram": "16GB", "cpu": "Intel i7"}},
   "stock": "15"},
  {"id": 2, "name": "Phone B", "price": "800",
   "metadata": {"description": "Smartphone with AMOLED display", "tags": ["electronics", "phone"],
                "specifications": {"storage": "128GB", "camera": "12MP"}},
   "stock": "8"},
  {"id": 3, "name": "Tablet C", "price": "500",
   "metadata": {"description": "Affordable tablet", "tags": ["electronics", "tablet"],
                "specifications": {"screen": "10 inch", "battery": "6000mAh"}},
   "stock": "22"}
]
""")


def _problem(response: httpx.Response, status: int, kind: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, object] = response.json()
    assert (found["type"], found["status"]) == (f"/problems/{kind}", status)
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["title"]
    assert found["detail"]
    return found


def test_the_list_begins_with_the_originals_products_to_the_letter(service: ServiceProcess) -> None:
    """As anybody would ask: with curl, which is told nothing but the address."""
    done = subprocess.run(
        ["curl", "--silent", "--fail", f"{service.url}/api/products"],
        check=True,
        capture_output=True,
    )
    products = json.loads(done.stdout)
    assert products[:3] == ORIGINAL
    assert [list(one) for one in products[:3]] == [list(one) for one in ORIGINAL]
    assert [one["id"] for one in products] == list(range(1, COUNT + 1))


def test_the_list_is_the_join_of_the_three_stores(client: httpx.Client, shop: Stores) -> None:
    response = client.get("/api/products")
    assert response.headers["content-type"] == "application/json"
    assert response.content == orjson.dumps(batched(shop))


def test_what_no_store_has_is_null_and_never_zero(client: httpx.Client, shop: Stores) -> None:
    shop.mongo.productmetas.update_one({"product_id": 2}, {"$set": {"product_id": 2002}})
    shop.postgres.execute("UPDATE stock_movements SET product_id = product_id WHERE false")
    with shop.postgres.transaction():
        kept = shop.postgres.execute(
            "DELETE FROM stock_movements WHERE product_id = 3 RETURNING movement, quantity, reason"
        ).fetchall()
    shop.redis.delete(stock_key(3))
    try:
        one, two, three = client.get("/api/products", params={"ids": "1,2,3"}).json()
        assert one == ORIGINAL[0]
        assert (two["metadata"], two["stock"]) == (None, "8")
        assert (three["metadata"], three["stock"]) == (ORIGINAL[2]["metadata"], None)
    finally:
        shop.mongo.productmetas.update_one({"product_id": 2002}, {"$set": {"product_id": 2}})
        for row in kept:
            shop.postgres.execute(
                "INSERT INTO stock_movements (product_id, movement, quantity, reason) "
                "VALUES (3, %s, %s, %s)",
                row,
            )
        shop.redis.delete("shop:lease:3")
    assert client.get("/api/products/3").json() == ORIGINAL[2]


def test_a_count_that_redis_lost_is_read_from_the_ledger(
    client: httpx.Client, shop: Stores
) -> None:
    shop.redis.delete(stock_key(1), stock_key(2))
    assert [one["stock"] for one in client.get("/api/products?ids=1,2").json()] == ["15", "8"]
    assert shop.redis.mget(stock_key(1), stock_key(2)) == ["15", "8"], "and is there again"


def test_one_product_is_what_the_list_has(client: httpx.Client) -> None:
    products = client.get("/api/products").json()
    for one in products[::13]:
        assert client.get(f"/api/products/{one['id']}").json() == one


@pytest.mark.parametrize("text", ["41", "0", "-1", "abc", "1.0", "01", str(2**63), "9" * 400])
def test_a_product_that_is_not_there_is_a_problem(client: httpx.Client, text: str) -> None:
    _problem(client.get(f"/api/products/{text}"), 404, "unknown-product")


def test_filters_of_all_stores_meet(client: httpx.Client) -> None:
    products = client.get("/api/products").json()
    cheap = {"category": "laptop", "tag": "electronics", "in_stock": "true", "limit": "1000"}
    expected = [
        one
        for one in products
        if one["metadata"]["tags"][1] == "laptop" and one["stock"] not in ("0", None)
    ]
    assert client.get("/api/products", params=cheap).json() == expected
    found = client.get("/api/products", params={"spec.ram": "16GB", "limit": "1000"}).json()
    assert found == [
        one for one in products if one["metadata"]["specifications"].get("ram") == "16GB"
    ]
    assert client.get("/api/products", params={"category": "none of these"}).json() == []
    assert client.get("/api/products?ids=").json() == []


def test_following_links_gives_every_product_once(client: httpx.Client) -> None:
    seen: list[int] = []
    pages = 0
    url = "/api/products?limit=3&in_stock=false&tag=electronics"
    while url:
        response = client.get(url)
        page = [one["id"] for one in response.json()]
        assert len(page) <= 3
        seen += page
        pages += 1
        url = response.links.get("next", {}).get("url", "")
        kept = [pair for pair in parse_qsl(urlsplit(url).query) if pair[0] != "cursor"]
        assert not url or kept == [("limit", "3"), ("in_stock", "false"), ("tag", "electronics")]
    assert pages > 2, "from the second page on, the link takes the place of another one"
    everything = client.get("/api/products").json()
    assert seen == [one["id"] for one in everything if "electronics" in one["metadata"]["tags"]]


def test_a_page_has_24_products_where_nobody_says_how_many(client: httpx.Client) -> None:
    response = client.get("/api/products?in_stock=false")
    assert len(response.json()) == 24
    assert "next" in response.links
    assert "link" not in client.get("/api/products").headers, "the whole list has no next page"


@pytest.mark.parametrize("path", ["/api/products", "/api/products?limit=3", "/api/products/1"])
def test_who_has_an_answer_already_is_told_so(
    client: httpx.Client, shop: Stores, path: str
) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    shop.redis.decr(stock_key(1))
    try:
        changed = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]
    finally:
        shop.redis.incr(stock_key(1))


def test_long_answers_are_compressed_for_those_who_ask(client: httpx.Client) -> None:
    plain = client.get("/api/products", headers={"Accept-Encoding": "identity"})
    zipped = client.get("/api/products", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content) / 3
    assert zipped.content == plain.content
    assert zipped.headers["etag"] != plain.headers["etag"], "other bytes, another tag"
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    for tag in (plain.headers["etag"], zipped.headers["etag"]):
        again = client.get("/api/products", headers={"If-None-Match": tag})
        assert again.status_code == 304
    short = client.get("/api/products/1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in short.headers, "it would not pay"


def test_a_compressed_answer_is_gzip(service: ServiceProcess) -> None:
    done = subprocess.run(
        ["curl", "--silent", "-H", "Accept-Encoding: gzip", f"{service.url}/api/products"],
        check=True,
        capture_output=True,
    )
    assert len(json.loads(gzip.decompress(done.stdout))) == COUNT


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    head, get = client.head("/api/products"), client.get("/api/products")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]


def test_every_answer_says_where_its_time_went(client: httpx.Client) -> None:
    timing = client.get("/api/products").headers["server-timing"]
    names = [entry.partition(";")[0].strip() for entry in timing.split(",")]
    assert names[0] == "total"
    assert {"postgresql", "mongodb", "redis", "postgresql-1", "mongodb-1", "redis-1"} <= {*names}
    assert client.get("/nowhere").headers["server-timing"].startswith("total;dur=")


def test_requests_have_an_id_of_the_client_or_of_the_service(client: httpx.Client) -> None:
    given = client.get("/api/products/1", headers={"X-Request-ID": "trace-1.a_b"})
    assert given.headers["x-request-id"] == "trace-1.a_b"
    ids = {client.get("/api/products/1").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    bad = client.get("/api/products/1", headers={"X-Request-ID": "a b" * 40})
    assert len(bad.headers["x-request-id"]) == 32


def test_facets_count_what_the_list_has(client: httpx.Client, shop: Stores) -> None:
    products = client.get("/api/products").json()
    found = shop.postgres.execute("SELECT id, category FROM products").fetchall()
    rows: dict[int, str] = dict(found)
    facets = client.get("/api/facets").json()

    def counted(values: list[dict[str, object]]) -> dict[object, object]:
        return {one["value"]: one["count"] for one in values}

    def count(values: list[object]) -> dict[object, object]:
        return {one: values.count(one) for one in set(values)}

    assert counted(facets["category"]) == count(list(rows.values()))
    assert counted(facets["tags"]) == count(
        [t for one in products for t in one["metadata"]["tags"]]
    )
    specifications = [one["metadata"]["specifications"] for one in products]
    assert counted(facets["specifications"]["ram"]) == count(
        [one["ram"] for one in specifications if "ram" in one]
    )
    assert "bulb" not in facets["specifications"], "an object is no value"

    narrowed = client.get("/api/facets?category=laptop&spec.ram=16GB").json()
    matching = [one for one in products if one["metadata"]["specifications"].get("ram") == "16GB"]
    assert counted(narrowed["category"]) == count([rows[one["id"]] for one in matching])
    laptops = [one for one in matching if rows[one["id"]] == "laptop"]
    assert counted(narrowed["tags"]) == count([t for o in laptops for t in o["metadata"]["tags"]])


def test_a_new_count_shows_at_once_and_needs_the_token(
    client: httpx.Client, writer: httpx.Client
) -> None:
    for on_hand in (3, 3, 15):
        done = writer.put("/api/products/1/stock", json={"on_hand": on_hand})
        assert done.json() == {"id": 1, "on_hand": on_hand, "stock": str(on_hand)}
        assert client.get("/api/products/1").json()["stock"] == str(on_hand)
    refused = client.put("/api/products/1/stock", json={"on_hand": 1})
    _problem(refused, 401, "no-token")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/api/products/1").json()["stock"] == "15"
    _problem(writer.put("/api/products/999/stock", json={"on_hand": 1}), 404, "unknown-product")


def test_an_order_takes_its_units_and_can_be_read_again(
    client: httpx.Client, writer: httpx.Client, shop: Stores
) -> None:
    before = int(client.get("/api/products/2").json()["stock"])
    order = {"product_id": 2, "quantity": 3, "customer_id": 7}
    placed = writer.post("/api/orders", json=order)
    assert placed.status_code == 201
    body = placed.json()
    assert {name: body[name] for name in order} == order
    assert placed.headers["location"] == f"/api/orders/{body['id']}"
    assert client.get(placed.headers["location"]).json() == body
    assert client.get("/api/products/2").json()["stock"] == str(before - 3)
    rows = shop.postgres.execute("SELECT count(*) FROM orders WHERE id = %s", [body["id"]])
    assert rows.fetchone() == (1,)
    writer.put("/api/products/2/stock", json={"on_hand": before})


def test_what_is_sold_out_is_not_ordered(
    client: httpx.Client, writer: httpx.Client, shop: Stores
) -> None:
    before = client.get("/api/products/3").json()["stock"]
    order = {"product_id": 3, "quantity": int(before) + 1, "customer_id": 7}
    found = _problem(writer.post("/api/orders", json=order), 409, "sold-out")
    assert found["available"] == {"3": int(before)}
    assert client.get("/api/products/3").json()["stock"] == before
    rows = shop.postgres.execute("SELECT count(*) FROM orders WHERE product_id = 3")
    assert rows.fetchone() == (0,)


def test_orders_that_cannot_be_are_problems(client: httpx.Client, writer: httpx.Client) -> None:
    order = {"product_id": 999, "quantity": 1, "customer_id": 7}
    _problem(writer.post("/api/orders", json=order), 404, "unknown-product")
    _problem(client.post("/api/orders", json=order | {"product_id": 1}), 401, "no-token")
    _problem(client.get("/api/orders/1000000009999"), 404, "unknown-order")
    _problem(client.get("/api/orders/x"), 404, "unknown-order")


def test_health_names_every_store(client: httpx.Client) -> None:
    found = client.get("/healthz")
    assert found.status_code == 200
    assert found.json()["status"] == "ok"
    stores = found.json()["stores"]
    assert {name: one["status"] for name, one in stores.items()} == {
        "PostgreSQL": "ok",
        "MongoDB": "ok",
        "Redis": "ok",
    }
    assert {one["breaker"]["state"] for one in stores.values()} == {"closed"}


def test_each_kind_of_problem_is_explained(client: httpx.Client) -> None:
    found = client.get("/api/products?limit=many").json()
    page = client.get(found["type"])
    assert page.status_code == 200
    assert found["title"] in page.text


def test_who_ask_at_the_same_time_get_their_own_answers(shop: Stores) -> None:
    """Only what is asked alike is shared."""
    queries = [Query(category="laptop"), Query(category="phone"), Query(limit=1)]

    async def main() -> None:
        async with open_service(addresses_of(shop), Options("no token", relay=False)) as service:
            catalog = service.catalog
            ways: list[Callable[[], Awaitable[Shared | None]]] = [
                *(partial(catalog.page, query) for query in queries),
                *(partial(catalog.facets, query) for query in queries),
                *(partial(catalog.product, product_id) for product_id in (1, 2)),
                *(catalog.everything, catalog.everything),
            ]
            together = await asyncio.gather(*(ask() for ask in ways))
            alone = [await ask() for ask in ways]
        assert [one.answer.content.body for one in together if one] == [
            one.answer.content.body for one in alone if one
        ]
        assert [one.shared for one in together if one] == [False] * (len(ways) - 1) + [True]

    asyncio.run(main())


@pytest.mark.parametrize("way", ["per-product", "batched", "at-once", "single-flight", "constant"])
def test_the_lab_answers_the_same_each_way(client: httpx.Client, way: str) -> None:
    expected = client.get("/api/products")
    found = client.get(f"/lab/products/{way}")
    assert found.content == expected.content
    assert found.headers["etag"] == expected.headers["etag"]


def test_the_lab_is_closed_where_nobody_asks_for_it(shop: Stores) -> None:
    with serving(shop) as service:
        for path in ("/lab/products/batched", "/lab/products/per-product"):
            _problem(httpx.get(f"{service.url}{path}"), 404, "not-found")
