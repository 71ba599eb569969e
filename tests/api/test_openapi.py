"""The service keeps what its OpenAPI promises, whatever is asked of it."""

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
from helpers.api.query_parameters import KEY_HEADER
from helpers.lab.background_programs import ServiceProcess
from tests.api.conftest import COUNT

ROUTES = [
    ("/api/facets", "get"),
    ("/api/orders", "post"),
    ("/api/orders/{order}", "get"),
    ("/api/products", "get"),
    ("/api/products/{product}", "get"),
    ("/api/products/{product}/stock", "put"),
    ("/healthz", "get"),
]


def _schemathesis() -> ModuleType:
    """Import it only here: it takes a second, in every process that collects the tests."""
    import schemathesis

    return schemathesis


@pytest.fixture(scope="module")
def promised(service: ServiceProcess) -> Any:
    return _schemathesis().openapi.from_url(f"{service.url}/openapi.json")


@pytest.mark.parametrize(
    "examples", [8, pytest.param(80, marks=pytest.mark.verify)], ids=["some", "many"]
)
@pytest.mark.parametrize(("path", "method"), ROUTES, ids=lambda one: str(one))
def test_nothing_that_may_be_asked_breaks_a_promise(
    promised: Any, service: ServiceProcess, path: str, method: str, examples: int
) -> None:
    """No answer is a server's error, undocumented, or of another shape than documented."""
    operation = promised[path][method]
    numbers = itertools.count(1)
    modes = _schemathesis().GenerationMode

    @given(case=st.one_of(*(operation.as_strategy(generation_mode=one) for one in modes)))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        # Only the service makes cursors; one that is made up is refused, whatever it looks like.
        if re.fullmatch(r"[A-Za-z0-9_-]{18}", str((case.query or {}).get("cursor", ""))):
            case.query["cursor"] = encode(COUNT // 2)
        # A key belongs to one order: who invents another order gives it another key.
        if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str((case.headers or {}).get(KEY_HEADER, ""))):
            case.headers[KEY_HEADER] = f"key-{next(numbers)}"
        # A character may be one in the Unicode of who asks, and none yet in ours.
        text = str((case.query or {}).get("category", ""))
        assume("Cn" not in map(unicodedata.category, text))
        # A number of that size is made a float on its way: the largest id becomes more than that.
        values = case.body.values() if isinstance(case.body, dict) else ()
        assume(not any(type(one) in (int, float) and 2**53 < one < 2**64 for one in values))
        case.call_and_validate(headers=service.write_headers, timeout=60)

    ask()


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
