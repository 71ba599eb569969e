"""Hostile requests are refused with a problem, and change nothing in any store."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from helpers.lab.background_programs import ServiceProcess
from helpers.stores import Stores

_TIMEOUT_SECONDS = 60.0
_TRIES = 600
_PUT = "PUT /api/products/1/stock HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def unchanged(shop: Stores) -> Iterator[None]:
    """Assert that a test changes nothing in any store."""
    before = _contents(shop)
    yield
    assert _contents(shop) == before


def _contents(shop: Stores) -> tuple[object, ...]:
    tables = ("products", "orders", "stock_movements")
    rows = [
        sorted(map(str, shop.postgres.execute(f"SELECT * FROM {table}").fetchall()))
        for table in tables
    ]
    documents = sorted(map(str, shop.mongo.productmetas.find()))
    names = sorted(shop.mongo.list_collection_names())
    counts = {key: shop.redis.get(key) for key in sorted(shop.redis.scan_iter(match="stock:*"))}
    return rows, documents, names, counts, sorted(shop.redis.scan_iter(match="shop:reserved:*"))


def _is_problem(response: httpx.Response, sent: object = "") -> None:
    request = f"{response.request.method} {response.request.url} {sent!r:.100}"
    assert 400 <= response.status_code < 500, f"{request}: {response.status_code} {response.text}"
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    assert found["detail"]


_BAD_QUERIES = [
    "category[$ne]=x",
    "category[$gt]=",
    "tag[$regex]=.*",
    "tag[]=a",
    "spec.$where=sleep(1000)",
    "spec.ram.$ne=1",
    "spec[ram]=1",
    "spec.ram[$gt]=0",
    "spec.__proto__=1",
    "spec.a.b.c.d.e=1",
    "$where=1",
    "limit=1e9",
    "limit=-1",
    "limit=NaN",
    "limit=1;drop table products",
    "ids=1 OR 1=1",
    "ids=1);DELETE FROM products;--",
    "ids=" + "1," * 1001 + "1",
    "cursor=' OR '1'='1",
    "cursor=AQAAAAAAAAAYAAAAAA",
    "category=%00",
    "category=" + "a" * 201,
    "tag=" + "a" * 201,
    "category=a%0d%0aSet-Cookie:%20x=1",
    "category=%c0%af",
    "a=" + "&a=" * 200,
]


def test_bad_queries_are_refused(client: httpx.Client) -> None:
    for query in _BAD_QUERIES:
        _is_problem(client.get(f"/api/products?{query}"))
        _is_problem(client.get(f"/api/facets?{query}"))


_LIKE_OPERATORS = [
    "category='; DROP TABLE products; --",
    "category=%27%20OR%201=1",
    "tag=%7B%22$gt%22:%22%22%7D",
    'tag={"$ne":null}',
    'spec.ram={"$gt":""}',
    "spec.ram=/.*/",
    "spec.ram=%00",
    "category=laptop&tag=$where",
]


def test_operators_in_values_are_compared_as_strings(client: httpx.Client) -> None:
    for query in _LIKE_OPERATORS:
        response = client.get(f"/api/products?{query}")
        assert (query, response.status_code, response.json()) == (query, 200, [])


_BAD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"15"',
    b"15",
    b"{}",
    b'{"on_hand": null}',
    b'{"on_hand": "15"}',
    b'{"on_hand": 15.5}',
    b'{"on_hand": true}',
    b'{"on_hand": -1}',
    b'{"on_hand": 1e400}',
    b'{"on_hand": NaN}',
    b'{"on_hand": {"$inc": 5}}',
    b'{"on_hand": [1]}',
    b'{"on_hand": 1000000001}',
    b'{"on_hand": 99999999999999999999999999}',
    b'{"on_hand": 1, "price": 0}',
    b'{"on_hand": 1, "__class__": "x"}',
    b"[" * 30_000,
    b'{"on_hand":' * 5_000,
    b"\xff\xfe",
    b'{"on_hand": 1}{"on_hand": 2}',
    "{\u201con_hand\u201d: 1}".encode(),
]


def test_bad_stock_is_refused(writer: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    for body in _BAD_BODIES:
        _is_problem(writer.put("/api/products/1/stock", content=body, headers=kind), body)


_BAD_ORDERS: list[dict[str, object]] = [
    {},
    {"product_id": 1},
    {"product_id": 1, "quantity": 0, "customer_id": 1},
    {"product_id": 1, "quantity": -5, "customer_id": 1},
    {"product_id": 1, "quantity": 1.5, "customer_id": 1},
    {"product_id": 1, "quantity": "1", "customer_id": 1},
    {"product_id": 1, "quantity": 1, "customer_id": 0},
    {"product_id": True, "quantity": 1, "customer_id": 1},
    {"product_id": 2**63, "quantity": 1, "customer_id": 1},
    {"product_id": 1, "quantity": 10**9 + 1, "customer_id": 1},
    {"product_id": 1, "quantity": 1, "customer_id": 1, "price": "0"},
    {"product_id": {"$gt": 0}, "quantity": 1, "customer_id": 1},
    {"product_id": 123456, "quantity": 1, "customer_id": 1},
    {"product_id": 1, "quantity": 10**6, "customer_id": 1},
]


def test_bad_orders_are_refused(writer: httpx.Client) -> None:
    for order in _BAD_ORDERS:
        _is_problem(writer.post("/api/orders", json=order), order)


def test_a_body_with_another_content_type_is_refused(writer: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "json"):
        response = writer.put(
            "/api/products/1/stock", content=b'{"on_hand": 1}', headers={"Content-Type": kind}
        )
        _is_problem(response)
        assert (kind, response.status_code) == (kind, 415)


def test_a_write_without_the_right_token_is_refused(client: httpx.Client) -> None:
    for given in ("", "Bearer", "Bearer wrong", "Basic dXNlcjpwYXNz", "bearer", "Bearer \u00e9"):
        response = client.put(
            "/api/products/1/stock",
            json={"on_hand": 1},
            headers=[(b"Authorization", given.encode())],
        )
        _is_problem(response)
        assert (given, response.status_code) == (given, 401)


def test_other_methods_are_refused(client: httpx.Client, writer: httpx.Client) -> None:
    for method in ("DELETE", "PATCH", "PUT", "POST", "OPTIONS", "TRACE", "BREW"):
        for sender in (client, writer):
            _is_problem(sender.request(method, "/api/products", json={}))


def test_a_body_of_ten_megabytes_is_refused(client: httpx.Client, writer: httpx.Client) -> None:
    body = b'{"on_hand": 1, "x": "' + b"a" * 10_000_000 + b'"}'
    kind = {"Content-Type": "application/json"}
    for sender, status in ((client, 401), (writer, 413)):
        response = sender.put("/api/products/1/stock", content=body, headers=kind)
        _is_problem(response)
        assert response.status_code == status

    def pieces() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b"a" * 1000

    response = writer.put("/api/products/1/stock", content=pieces(), headers=kind)
    _is_problem(response)
    assert response.status_code == 413
    assert client.get("/healthz").status_code == 200


_BAD_PATHS = [
    "/storefront/../api/app.py",
    "/storefront/../../settings.py",
    "/storefront/%2e%2e/api/app.py",
    "/storefront/..%2f..%2fsettings.py",
    "/storefront/....//....//etc/passwd",
    "/storefront//etc/passwd",
    "/storefront/%00",
    "/storefront/index.html%00.js",
    "/storefront/" + "a" * 5000,
    "/storefront/..\\..\\settings.py",
    "/../../etc/passwd",
    "//etc/passwd",
    "/api/products/../../../etc/passwd",
    "/api//products",
    "/api/products/",
    "/api/products/1/",
    "/api/products/1/stock/..",
    "/problems/../../x",
    "/problems/%0d%0aX-Evil:1",
    "/.env",
    "/.git/config",
]


def test_paths_cannot_leave_the_storefront_folder(service: ServiceProcess) -> None:
    """The paths are sent unchanged: HTTP clients would normalize them."""
    for path in _BAD_PATHS:
        text = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert "X-Evil" not in _refused_raw(service, text)


_MALFORMED_REQUESTS = [
    "GET /api/products HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n b\r\n\r\n",
    "NONSENSE\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    f"{_PUT}Content-Length: -5\r\n\r\n",
    f"{_PUT}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    f"{_PUT}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /?" + "a" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + "a" * 70_000 + "\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n" + "X-Many: a\r\n" * 8_000 + "\r\n",
]


def test_a_malformed_request_is_a_problem(service: ServiceProcess) -> None:
    for text in _MALFORMED_REQUESTS:
        _refused_raw(service, text)


def test_a_parameter_cannot_add_a_response_header(client: httpx.Client) -> None:
    for text in ("a\r\nX-Evil: 1", "a\nX-Evil: 1", "é\r\nX-Evil: 1"):
        response = client.get("/api/products", params={"tag": text, "limit": "1"})
        assert "x-evil" not in response.headers
    linked = client.get("/api/products", params={"limit": "1", "tag": "electronics"})
    assert linked.headers["link"].isprintable()


def test_no_secret_is_in_a_response_or_in_the_log(
    service: ServiceProcess, writer: httpx.Client
) -> None:
    responses = [
        writer.put("/api/products/1/stock", json={"on_hand": -1}),
        writer.post("/api/orders", content=b"{", headers={"Content-Type": "application/json"}),
        writer.get(f"/api/products?{service.token}=1"),
    ]
    assert all(service.token not in response.text for response in responses[:2])
    log = service.log.read_text("utf-8")
    assert "Bearer" not in log
    for secret in ("password", "postgresql://", "mongodb://", "redis://"):
        assert secret not in log


def test_every_line_of_the_log_is_json(service: ServiceProcess, client: httpx.Client) -> None:
    evil = {"tag": '"\n{"evil": 1}'}
    client.get("/api/products", params=evil, headers={"X-Request-ID": "seen-in-the-log"})
    mine: list[dict[str, object]] = []
    for _ in range(_TRIES):  # the line is written after the response
        lines = [json.loads(line) for line in service.log.read_text("utf-8").splitlines()]
        mine = [line for line in lines if line.get("request_id") == "seen-in-the-log"]
        if mine:
            break
        time.sleep(0.05)
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert [(line["method"], line["path"], line["status"]) for line in mine] == [
        ("GET", "/api/products", 200)
    ]


def test_pages_and_responses_have_strict_security_headers(client: httpx.Client) -> None:
    page, product = client.get("/"), client.get("/api/products/1")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert product.headers["content-security-policy"].startswith("default-src 'none'")
    for response in (page, product):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers
        assert "server" not in response.headers


def _refused_raw(service: ServiceProcess, text: str) -> str:
    """Send ``text`` unchanged, assert that the response is a problem, and return its head."""
    head, body = _raw(service, text)
    status = int(head.split(" ")[1])
    assert 400 <= status < 500, f"{text[:100]!r}: {head}"
    assert "application/problem+json" in head
    assert json.loads(body)["status"] == status
    return head


def _raw(service: ServiceProcess, text: str) -> tuple[str, bytes]:
    parts = urlsplit(service.url)
    with socket.create_connection(
        (parts.hostname, parts.port), timeout=_TIMEOUT_SECONDS
    ) as connection:
        received = b""
        try:
            connection.sendall(text.encode("latin-1"))
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass  # closed before everything was sent
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode("latin-1"), body
