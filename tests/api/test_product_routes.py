"""The routes of products, orders and health: the original's JSON, and what was added to it."""

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

from helpers.api.options import ServeOptions
from helpers.api.responses import ReadResult
from helpers.api.service import open_service
from helpers.catalog.model import stock_key
from helpers.joins import Query, batched
from helpers.lab.background_programs import ServiceProcess
from helpers.stores import Stores
from tests.api.conftest import COUNT
from tests.api.serving import addresses_of, serving

# The original's response to GET /api/products for its three products, apart from white space.
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


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict[str, object]:
    """Assert that a response is a problem of this type, and return its JSON."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, object] = response.json()
    assert (found["type"], found["status"]) == (f"/problems/{slug}", status)
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["title"]
    assert found["detail"]
    return found


def test_the_first_products_equal_those_of_the_original(service: ServiceProcess) -> None:
    done = subprocess.run(
        ["curl", "--silent", "--fail", f"{service.url}/api/products"],
        check=True,
        capture_output=True,
    )
    products = json.loads(done.stdout)
    assert products[:3] == ORIGINAL
    assert [list(product) for product in products[:3]] == [list(product) for product in ORIGINAL]
    assert [product["id"] for product in products] == list(range(1, COUNT + 1))


def test_the_list_is_the_join_of_the_three_stores(client: httpx.Client, shop: Stores) -> None:
    response = client.get("/api/products")
    assert response.headers["content-type"] == "application/json"
    assert response.content == orjson.dumps(batched(shop))


def test_a_missing_value_is_null_and_not_zero(client: httpx.Client, shop: Stores) -> None:
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


def test_a_missing_stock_count_is_read_from_the_ledger(client: httpx.Client, shop: Stores) -> None:
    shop.redis.delete(stock_key(1), stock_key(2))
    assert [product["stock"] for product in client.get("/api/products?ids=1,2").json()] == [
        "15",
        "8",
    ]
    assert shop.redis.mget(stock_key(1), stock_key(2)) == ["15", "8"], "the cache is filled again"


def test_one_product_equals_its_entry_in_the_list(client: httpx.Client) -> None:
    products = client.get("/api/products").json()
    for product in products[::13]:
        assert client.get(f"/api/products/{product['id']}").json() == product


@pytest.mark.parametrize("text", ["41", "0", "-1", "abc", "1.0", "01", str(2**63), "9" * 400])
def test_an_unknown_or_malformed_product_id_is_404(client: httpx.Client, text: str) -> None:
    assert_problem(client.get(f"/api/products/{text}"), 404, "unknown-product")


def test_filters_of_all_stores_are_combined(client: httpx.Client) -> None:
    products = client.get("/api/products").json()
    filters = {"category": "laptop", "tag": "electronics", "in_stock": "true", "limit": "1000"}
    expected = [
        product
        for product in products
        if product["metadata"]["tags"][1] == "laptop" and product["stock"] not in ("0", None)
    ]
    assert client.get("/api/products", params=filters).json() == expected
    found = client.get("/api/products", params={"spec.ram": "16GB", "limit": "1000"}).json()
    assert found == [
        product
        for product in products
        if product["metadata"]["specifications"].get("ram") == "16GB"
    ]
    assert client.get("/api/products", params={"category": "none of these"}).json() == []
    assert client.get("/api/products?ids=").json() == []


def test_following_links_gives_every_product_once(client: httpx.Client) -> None:
    seen: list[int] = []
    pages = 0
    url = "/api/products?limit=3&in_stock=false&tag=electronics"
    while url:
        response = client.get(url)
        page = [product["id"] for product in response.json()]
        assert len(page) <= 3
        seen += page
        pages += 1
        url = response.links.get("next", {}).get("url", "")
        kept = [pair for pair in parse_qsl(urlsplit(url).query) if pair[0] != "cursor"]
        assert not url or kept == [("limit", "3"), ("in_stock", "false"), ("tag", "electronics")]
    assert pages > 2, "from the second page on, the link replaces the cursor of the request"
    everything = client.get("/api/products").json()
    assert seen == [
        product["id"] for product in everything if "electronics" in product["metadata"]["tags"]
    ]


def test_the_default_limit_of_a_page_is_24(client: httpx.Client) -> None:
    response = client.get("/api/products?in_stock=false")
    assert len(response.json()) == 24
    assert "next" in response.links
    assert "link" not in client.get("/api/products").headers, "the whole list has no next page"


@pytest.mark.parametrize("path", ["/api/products", "/api/products?limit=3", "/api/products/1"])
def test_if_none_match_gets_304_until_something_changes(
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


def test_large_responses_are_compressed_if_the_client_accepts_gzip(client: httpx.Client) -> None:
    plain = client.get("/api/products", headers={"Accept-Encoding": "identity"})
    zipped = client.get("/api/products", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content) / 3
    assert zipped.content == plain.content
    assert zipped.headers["etag"] != plain.headers["etag"], "different bytes have different ETags"
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    for etag in (plain.headers["etag"], zipped.headers["etag"]):
        again = client.get("/api/products", headers={"If-None-Match": etag})
        assert again.status_code == 304
    short = client.get("/api/products/1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in short.headers, "it is too small"


def test_a_compressed_response_is_gzip(service: ServiceProcess) -> None:
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


def test_every_response_has_server_timing(client: httpx.Client) -> None:
    timing = client.get("/api/products").headers["server-timing"]
    names = [entry.partition(";")[0].strip() for entry in timing.split(",")]
    assert names[0] == "total"
    assert {"postgresql", "mongodb", "redis", "postgresql-1", "mongodb-1", "redis-1"} <= {*names}
    assert client.get("/nowhere").headers["server-timing"].startswith("total;dur=")


def test_the_request_id_comes_from_the_client_or_is_generated(client: httpx.Client) -> None:
    given = client.get("/api/products/1", headers={"X-Request-ID": "trace-1.a_b"})
    assert given.headers["x-request-id"] == "trace-1.a_b"
    ids = {client.get("/api/products/1").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    bad = client.get("/api/products/1", headers={"X-Request-ID": "a b" * 40})
    assert len(bad.headers["x-request-id"]) == 32


def test_facets_count_the_products_of_the_list(client: httpx.Client, shop: Stores) -> None:
    products = client.get("/api/products").json()
    found = shop.postgres.execute("SELECT id, category FROM products").fetchall()
    rows: dict[int, str] = dict(found)
    facets = client.get("/api/facets").json()

    def counted(values: list[dict[str, object]]) -> dict[object, object]:
        return {found["value"]: found["count"] for found in values}

    def count(values: list[object]) -> dict[object, object]:
        return {value: values.count(value) for value in set(values)}

    assert counted(facets["category"]) == count(list(rows.values()))
    assert counted(facets["tags"]) == count(
        [tag for product in products for tag in product["metadata"]["tags"]]
    )
    specifications = [product["metadata"]["specifications"] for product in products]
    assert counted(facets["specifications"]["ram"]) == count(
        [found["ram"] for found in specifications if "ram" in found]
    )
    assert "bulb" not in facets["specifications"], "an object is not a value to count"

    narrowed = client.get("/api/facets?category=laptop&spec.ram=16GB").json()
    matching = [
        product
        for product in products
        if product["metadata"]["specifications"].get("ram") == "16GB"
    ]
    assert counted(narrowed["category"]) == count([rows[found["id"]] for found in matching])
    laptops = [product for product in matching if rows[product["id"]] == "laptop"]
    assert counted(narrowed["tags"]) == count(
        [tag for laptop in laptops for tag in laptop["metadata"]["tags"]]
    )


def test_a_text_finds_values_that_the_list_of_facets_leaves_out(
    client: httpx.Client, shop: Stores
) -> None:
    tags = [f"Rare {number}" for number in range(40)]
    before = ORIGINAL[0]["metadata"]["tags"]
    shop.mongo.productmetas.update_one({"product_id": 1}, {"$set": {"tags": tags}})
    try:
        assert len(client.get("/api/facets").json()["tags"]) == 30
        found = client.get("/api/facets?find=rare 39").json()
        assert found["tags"] == [{"value": "Rare 39", "count": 1}]
        assert (found["category"], found["specifications"]) == ([], {})
        found = client.get("/api/facets?find=LAP").json()
        assert [entry["value"] for entry in found["category"]] == ["laptop"]
        assert client.get("/api/facets?find=").json()["field"] == "find"
    finally:
        shop.mongo.productmetas.update_one({"product_id": 1}, {"$set": {"tags": before}})


def test_setting_the_stock_takes_effect_at_once_and_needs_the_token(
    client: httpx.Client, writer: httpx.Client
) -> None:
    for on_hand in (3, 3, 15):
        done = writer.put("/api/products/1/stock", json={"on_hand": on_hand})
        assert done.json() == {"id": 1, "on_hand": on_hand, "stock": str(on_hand)}
        assert client.get("/api/products/1").json()["stock"] == str(on_hand)
    refused = client.put("/api/products/1/stock", json={"on_hand": 1})
    assert_problem(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/api/products/1").json()["stock"] == "15"
    assert_problem(
        writer.put("/api/products/999/stock", json={"on_hand": 1}), 404, "unknown-product"
    )


def test_an_order_reduces_the_stock_and_can_be_read_again(
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


def test_an_order_of_too_many_units_is_refused(
    client: httpx.Client, writer: httpx.Client, shop: Stores
) -> None:
    before = client.get("/api/products/3").json()["stock"]
    order = {"product_id": 3, "quantity": int(before) + 1, "customer_id": 7}
    found = assert_problem(writer.post("/api/orders", json=order), 409, "sold-out")
    assert found["available"] == {"3": int(before)}
    assert client.get("/api/products/3").json()["stock"] == before
    rows = shop.postgres.execute("SELECT count(*) FROM orders WHERE product_id = 3")
    assert rows.fetchone() == (0,)


def test_invalid_orders_are_problems(client: httpx.Client, writer: httpx.Client) -> None:
    order = {"product_id": 999, "quantity": 1, "customer_id": 7}
    assert_problem(writer.post("/api/orders", json=order), 404, "unknown-product")
    assert_problem(client.post("/api/orders", json=order | {"product_id": 1}), 401, "unauthorized")
    assert_problem(client.get("/api/orders/1000000009999"), 404, "unknown-order")
    assert_problem(client.get("/api/orders/x"), 404, "unknown-order")


def test_healthz_lists_every_store(client: httpx.Client) -> None:
    found = client.get("/healthz")
    assert found.status_code == 200
    assert found.json()["status"] == "ok"
    stores = found.json()["stores"]
    assert {name: store["status"] for name, store in stores.items()} == {
        "PostgreSQL": "ok",
        "MongoDB": "ok",
        "Redis": "ok",
    }
    assert {store["breaker"]["state"] for store in stores.values()} == {"closed"}


def test_the_uri_of_a_problem_type_is_a_page_that_explains_it(client: httpx.Client) -> None:
    found = client.get("/api/products?limit=many").json()
    page = client.get(found["type"])
    assert page.status_code == 200
    assert found["title"] in page.text


def test_simultaneous_requests_share_results_only_if_they_are_equal(shop: Stores) -> None:
    queries = [Query(category="laptop"), Query(category="phone"), Query(limit=1)]

    async def main() -> None:
        options = ServeOptions("no token", relay=False)
        async with open_service(addresses_of(shop), options) as service:
            products = service.products
            reads: list[Callable[[], Awaitable[ReadResult | None]]] = [
                *(partial(products.page, query) for query in queries),
                *(partial(products.facets, query) for query in queries),
                *(partial(products.product, product_id) for product_id in (1, 2)),
                *(products.all_products, products.all_products),
            ]
            together = await asyncio.gather(*(read() for read in reads))
            alone = [await read() for read in reads]
        assert [result.body.content for result in together if result] == [
            result.body.content for result in alone if result
        ]
        shared = [result.shared for result in together if result]
        assert shared == [False] * (len(reads) - 1) + [True]

    asyncio.run(main())


@pytest.mark.parametrize(
    "strategy", ["per-product", "batched", "at-once", "single-flight", "constant"]
)
def test_every_strategy_of_the_lab_returns_the_same_list(
    client: httpx.Client, strategy: str
) -> None:
    expected = client.get("/api/products")
    found = client.get(f"/lab/products/{strategy}")
    assert found.content == expected.content
    assert found.headers["etag"] == expected.headers["etag"]


def test_without_the_option_there_is_no_lab(shop: Stores) -> None:
    with serving(shop) as service:
        for path in ("/lab/products/batched", "/lab/products/per-product"):
            assert_problem(httpx.get(f"{service.url}{path}"), 404, "not-found")
