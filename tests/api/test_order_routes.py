"""``Idempotency-Key``: retries return the same order, and an invalid key is refused."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from helpers.lab.background_programs import ServiceProcess
from helpers.stores import Stores
from tests.api.test_product_routes import assert_problem

ORDER = {"product_id": 3, "quantity": 1, "customer_id": 7}


def _keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def _count(shop: Stores) -> int:
    row = shop.postgres.execute("SELECT count(*) FROM orders").fetchone()
    return int(row[0]) if row else 0


def test_retries_with_the_same_key_return_the_same_order(
    client: httpx.Client, writer: httpx.Client, shop: Stores
) -> None:
    before = _count(shop)
    responses = [writer.post("/api/orders", json=ORDER, headers=_keyed("a-1_B")) for _ in range(3)]
    assert {response.status_code for response in responses} == {201}
    assert len({(response.text, response.headers["location"]) for response in responses}) == 1
    assert client.get(responses[0].headers["location"]).json() == responses[0].json()
    assert _count(shop) == before + 1


def test_different_keys_and_no_keys_are_different_orders(writer: httpx.Client) -> None:
    keys = [_keyed("x"), _keyed("X"), _keyed("x" * 64), {}, {}]
    ids = [writer.post("/api/orders", json=ORDER, headers=key).json()["id"] for key in keys]
    assert len(set(ids)) == len(keys)


def test_a_key_identifies_its_order_without_redis(writer: httpx.Client, shop: Stores) -> None:
    first = writer.post("/api/orders", json=ORDER, headers=_keyed("forgotten"))
    shop.redis.flushdb()
    assert writer.post("/api/orders", json=ORDER, headers=_keyed("forgotten")).json() == (
        first.json()
    )


@pytest.mark.parametrize("other", [{"quantity": 2}, {"customer_id": 8}])
def test_reusing_a_key_for_another_order_is_refused(
    writer: httpx.Client, shop: Stores, other: dict[str, int]
) -> None:
    assert writer.post("/api/orders", json=ORDER, headers=_keyed("taken")).status_code == 201
    before = _count(shop)
    found = assert_problem(
        writer.post("/api/orders", json=ORDER | other, headers=_keyed("taken")), 422, "key-reused"
    )
    assert "taken is for another order" in str(found["detail"])
    assert _count(shop) == before


def test_a_key_with_another_product_is_another_order(writer: httpx.Client) -> None:
    first = writer.post("/api/orders", json=ORDER, headers=_keyed("both"))
    second = writer.post("/api/orders", json=ORDER | {"product_id": 1}, headers=_keyed("both"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("wrong", ["", "a" * 65, "a b", "a:b", '"a"', "a,b", "\xe4"])
def test_a_malformed_key_is_refused(writer: httpx.Client, shop: Stores, wrong: str) -> None:
    before = _count(shop)
    headers = {b"Idempotency-Key": wrong.encode("latin-1")}
    found = assert_problem(
        writer.post("/api/orders", json=ORDER, headers=headers), 400, "bad-parameter"
    )
    assert found["field"] == "Idempotency-Key"
    assert _count(shop) == before


def test_white_space_around_a_key_is_not_part_of_it(service: ServiceProcess) -> None:
    bodies = []
    for key in ("k", "k ", "\tk\t "):
        # httpx sends no white space there.
        connection = http.client.HTTPConnection(service.url.removeprefix("http://"))
        headers = service.write_headers | _keyed(key) | {"Content-Type": "application/json"}
        connection.request("POST", "/api/orders", json.dumps(ORDER), headers)
        bodies.append(json.loads(connection.getresponse().read()))
        connection.close()
    assert bodies[0]["id"]
    assert bodies == bodies[:1] * 3


def test_two_keys_are_refused(writer: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    found = assert_problem(
        writer.post("/api/orders", json=ORDER, headers=headers), 400, "bad-parameter"
    )
    assert found["field"] == "Idempotency-Key"
    assert "more than once" in str(found["detail"])


def test_concurrent_requests_with_one_key_place_one_order(
    service: ServiceProcess, shop: Stores
) -> None:
    before, gate = _count(shop), threading.Barrier(8)

    def send(_: int) -> tuple[int, str]:
        with httpx.Client(
            base_url=service.url, headers=service.write_headers, timeout=60
        ) as client:
            gate.wait(60)
            response = client.post("/api/orders", json=ORDER, headers=_keyed("many"))
            return response.status_code, response.text

    with ThreadPoolExecutor(8) as pool:
        ((status, _),) = set(pool.map(send, range(8)))
    assert status == 201
    assert _count(shop) == before + 1


def test_openapi_describes_the_key(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/api/orders"]["post"]
    (described,) = operation["parameters"]
    assert (described["name"], described["in"]) == ("Idempotency-Key", "header")
    assert not described.get("required", False)
    assert {"400", "422"} <= set(operation["responses"])
