"""Responses match the OpenAPI description, for generated valid and invalid requests."""

from __future__ import annotations

import itertools
import re
import unicodedata
from types import ModuleType
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers.api.cursors import encode
from helpers.api.order_routes import KEY_HEADER
from helpers.lab.background_programs import ServiceProcess
from tests.api.conftest import COUNT

ROUTES = [
    ("/api/facets", "get"),
    ("/api/orders", "post"),
    ("/api/orders/{order_id}", "get"),
    ("/api/products", "get"),
    ("/api/products/{product_id}", "get"),
    ("/api/products/{product_id}/stock", "put"),
    ("/healthz", "get"),
]


def _schemathesis() -> ModuleType:
    """Import it late: it takes a second in every process that collects tests."""
    import schemathesis

    return schemathesis


@pytest.fixture(scope="module")
def described(service: ServiceProcess) -> Any:
    return _schemathesis().openapi.from_url(f"{service.url}/openapi.json")


@pytest.mark.parametrize(
    "examples", [8, pytest.param(80, marks=pytest.mark.verify)], ids=["some", "many"]
)
@pytest.mark.parametrize(("path", "method"), ROUTES, ids=str)
def test_responses_match_the_description(
    described: Any, service: ServiceProcess, path: str, method: str, examples: int
) -> None:
    """No response is a server error, undocumented, or of another schema than documented."""
    operation = described[path][method]
    numbers = itertools.count(1)
    modes = _schemathesis().GenerationMode

    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        # An invented cursor is refused even if it matches the pattern: use a real one.
        if re.fullmatch(r"[A-Za-z0-9_-]{18}", str((case.query or {}).get("cursor", ""))):
            case.query["cursor"] = encode(COUNT // 2)
        # A key belongs to one order, so each generated order gets a new key.
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str((case.headers or {}).get(KEY_HEADER, ""))):
            case.headers[KEY_HEADER] = f"key-{examples}-{next(numbers)}"
        # The generator may know a newer version of Unicode than Python. It believes that patterns
        # such as \p{L} match nothing beyond the basic plane, and that \p{Z} matches line feeds.
        query = case.query or {}
        text = "".join([str(query.get("category", "")), *query])
        assume({"Cn", "Cc"}.isdisjoint(map(unicodedata.category, text)))
        assume(max(text, default="") < "\U00010000")
        # Such numbers become floats on the way, and the largest id would exceed the maximum.
        values = case.body.values() if isinstance(case.body, dict) else ()
        assume(not any(type(value) in (int, float) and 2**53 < value < 2**64 for value in values))
        case.call_and_validate(headers=service.write_headers, timeout=60)

    send()


def test_every_route_is_described_with_an_example(client: httpx.Client) -> None:
    found = client.get("/openapi.json").json()
    assert (
        sorted(
            (path, method) for path, operations in found["paths"].items() for method in operations
        )
        == ROUTES
    )
    for operations in found["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            for status, response in operation["responses"].items():
                if status.startswith(("4", "5")) and "healthz" not in operation["operationId"]:
                    assert "application/problem+json" in response["content"], response
    for name in ("ProductOut", "StockIn", "OrderIn", "OrderOut", "Problem"):
        assert found["components"]["schemas"][name]["examples"]
    assert "HTTPValidationError" not in str(found)
