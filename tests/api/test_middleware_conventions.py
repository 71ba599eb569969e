"""The service follows HTTP's conventions for credentials, lists in headers, bodies and methods."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from helpers.lab.background_programs import ServiceProcess
from tests.api.test_product_routes import assert_problem


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bearer "])
def test_the_authorization_scheme_is_case_insensitive(
    service: ServiceProcess, client: httpx.Client, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {service.token}"}
    response = client.put("/api/products/1/stock", json={"on_hand": 40}, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda token: f"{token}x"])
def test_the_token_itself_is_case_sensitive(
    service: ServiceProcess, client: httpx.Client, change: Callable[[str], str]
) -> None:
    headers = {"Authorization": f"Bearer {change(service.token)}"}
    response = client.put("/api/products/1/stock", json={"on_hand": 40}, headers=headers)
    assert response.status_code == (200 if change(service.token) == service.token else 401)


def test_a_list_may_be_in_several_headers(client: httpx.Client) -> None:
    path = "/api/products"
    etag = client.get(path, headers={"Accept-Encoding": "identity"}).headers["etag"]
    again = client.get(path, headers=[("If-None-Match", '"a"'), ("if-none-match", f"W/{etag}")])
    assert again.status_code == 304
    zipped = client.get(path, headers=[("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")])
    assert zipped.headers["content-encoding"] == "gzip"


def test_several_credentials_are_refused(service: ServiceProcess, client: httpx.Client) -> None:
    for wrong in ("Bearer wrong", f"Bearer {service.token}"):
        headers = [("Authorization", wrong), ("Authorization", f"Bearer {service.token}")]
        response = client.put("/api/products/1/stock", json={"on_hand": 40}, headers=headers)
        assert_problem(response, 401, "unauthorized")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "Application/JSON ; Charset=UTF-8"}, 200),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "br, gzip"}, 415),
        ({"Content-Type": "application/merge-patch+json"}, 415),
    ],
)
def test_a_body_is_json_without_compression(
    writer: httpx.Client, headers: dict[str, str], status: int
) -> None:
    content = b'{"on_hand": 40}'
    given = {"Content-Type": "application/json"} | headers
    response = writer.put("/api/products/1/stock", content=content, headers=given)
    assert response.status_code == status
    if status == 415:
        assert_problem(response, 415, "not-json")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/api/products/1", "GET, HEAD"), ("/api/products/1/stock", "PUT")]
)
def test_a_method_that_is_not_allowed_is_told_the_others(
    client: httpx.Client, path: str, allowed: str
) -> None:
    response = client.request("OPTIONS", path)
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed
