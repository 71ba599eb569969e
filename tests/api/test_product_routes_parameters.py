"""Query strings: which query they become, and which are refused with the parameter's name.

The models are tested as FastAPI uses them, in an application without stores.
"""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from fastapi import Depends, FastAPI, Query
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from helpers import joins
from helpers.api.application import check_query_string
from helpers.api.cursors import encode
from helpers.api.json_logs import json_logger
from helpers.api.middleware import RequestLogging
from helpers.api.problems import add_problem_handlers
from helpers.api.product_routes import (
    FacetParameters,
    PageParameters,
    ProductId,
    specification_value,
)
from helpers.api.schemas import NoParameters
from helpers.metadata.filters import Between

app = FastAPI(dependencies=[Depends(check_query_string)])
app.add_middleware(RequestLogging, log=json_logger(io.BytesIO()))
add_problem_handlers(app)
_queries: list[joins.Query] = []


@app.get("/page")
async def page(parameters: Annotated[PageParameters, Query()]) -> None:
    _queries.append(parameters.query())


@app.get("/facets")
async def facets(parameters: Annotated[FacetParameters, Query()]) -> None:
    _queries.append(parameters.query())


@app.get("/none")
async def none(_: Annotated[NoParameters, Query()]) -> None:
    """Accept no parameters."""


@app.get("/products/{product_id}")
async def product(product_id: ProductId) -> int:
    return product_id


def _get(path: str, query_string: bytes = b"") -> tuple[int, Any]:
    """Return the status and the JSON of the response to a request without a server."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query_string,
        "headers": [],
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], orjson.loads(sent[1]["body"])


def _refusal(path: str, query_string: bytes) -> dict[str, str]:
    status, problem = _get(path, query_string)
    assert (status, problem["type"]) == (400, "/problems/bad-parameter"), problem
    assert problem["field"]
    found: dict[str, str] = problem
    return found


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("limit=5", joins.Query(limit=5)),
        ("ids=3,1,3", joins.Query(ids=[1, 3])),
        ("ids=", joins.Query(ids=[])),
        ("category=laptop", joins.Query(category="laptop")),
        ("category=%C3%BC%20%C3%9F", joins.Query(category="ü ß")),
        ("tag=gift&tag=new", joins.Query(tags=["gift", "new"])),
        ("in_stock=true", joins.Query(in_stock=True)),
        ("in_stock=false", joins.Query()),
        ("spec.ram=16GB", joins.Query(specifications={"ram": "16GB"})),
        ("spec.bulb.watts=9", joins.Query(specifications={"bulb.watts": 9})),
        (f"cursor={encode(24)}&limit=2", joins.Query(after=24, limit=2)),
        ("tag=a+b", joins.Query(tags=["a b"])),
    ],
)
def test_parameters_become_a_query(text: str, query: joins.Query) -> None:
    status, _ = _get("/page", text.encode())
    assert status == 200
    assert _queries[-1] == query
    assert dict(_queries[-1].specifications) == dict(query.specifications)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("-2", -2),
        ("1.5", 1.5),
        ("true", True),
        ("false", False),
        ("16GB", "16GB"),
        ("016", "016"),
        ("1e3", 1000.0),
        ("1.5e-07", 1.5e-07),
        ("1e+21", 1e21),
        ('"1e3"', "1e3"),
        ("1e", "1e"),
        ('"16"', "16"),
        ('"', '"'),
        ("8..32", Between(8, 32)),
        ("8..", Between(8, None)),
        ("..1.5", Between(None, 1.5)),
        ("..", ".."),
        ("a..b", "a..b"),
        ("٣", "٣"),
    ],
)
def test_the_value_of_a_specification_has_a_type(text: str, value: object) -> None:
    found = specification_value("spec.x", text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("colour=red", "the query", "unknown parameter 'colour'"),
        ("Category=laptop", "the query", "unknown parameter"),
        ("after=24", "the query", "unknown parameter"),
        ("limit=0", "limit", "greater than or equal to 1"),
        ("limit=1001", "limit", "less than or equal to 1000"),
        ("limit=", "limit", "not a whole number"),
        ("limit=1&limit=2", "limit", "more than once"),
        ("limit=%2B5", "limit", "not a whole number"),
        ("limit=٣", "the query", "not percent-encoded UTF-8"),
        ("limit=%D9%A3", "limit", "not a whole number"),
        ("limit=99999999999999999999", "limit", "not a whole number"),
        ("ids=1,,2", "ids", "not a whole number"),
        ("ids=1&ids=2", "ids", "more than once"),
        ("ids=0", "ids", "invalid product id"),
        ("ids=9999999999999999999", "ids", "invalid product id"),
        ("ids=" + ",".join(map(str, range(1, 1002))), "ids", "more than 1000"),
        ("in_stock=yes", "in_stock", "true or false"),
        ("in_stock=True", "in_stock", "true or false"),
        ("in_stock=1", "in_stock", "true or false"),
        ("category=", "category", "should match pattern"),
        ("category=a%00b", "category", "should match pattern"),
        ("category=a%0d%0aX-Evil:%201", "category", "should match pattern"),
        ("tag=", "tag", "at least 1 character"),
        ("spec.=1", "spec", "which no specification has"),
        ("spec.$where=1", "spec", "which no specification has"),
        ("spec.a.$gt=1", "spec", "which no specification has"),
        ("spec.ram[$ne]=1", "spec", "which no specification has"),
        ("spec.ram=", "spec.ram", "has no value"),
        ('spec.ram=""', "spec.ram", "has no value"),
        ("spec.ram=1&spec.ram=2", "spec.ram", "more than once"),
        ("category[$ne]=x", "the query", "unknown parameter"),
        ("category=%ff", "the query", "not percent-encoded UTF-8"),
        ("cursor=abc", "cursor", "not one from this server"),
        ("=&=", "the query", "more than once"),
        ("&".join(f"tag={n}" for n in range(21)), "tag", "at most 20"),
        ("&".join(f"tag={n}" for n in range(101)), "the query", "more than 100"),
    ],
)
def test_an_invalid_parameter_is_refused_by_name(text: str, field: str, words: str) -> None:
    problem = _refusal("/page", text.encode())
    assert problem["field"] == field
    assert problem["detail"].startswith(field)
    assert words in problem["detail"]


@pytest.mark.parametrize("value", [1e-7, 1e21, -0.5, 12.5, 2**53 - 1, True, "1e3", "16", "a..b"])
def test_a_value_of_a_facet_is_one_to_filter_by(value: object) -> None:
    """Strings with quotation marks: the storefront adds them to those that look like numbers."""
    assert specification_value("spec.x", orjson.dumps(value).decode()) == value


def test_facets_have_filters_and_no_pages() -> None:
    status, _ = _get("/facets", b"category=lamp&spec.dimmable=true")
    assert (status, _queries[-1].category) == (200, "lamp")
    assert dict(_queries[-1].specifications) == {"dimmable": True}
    assert "unknown parameter 'limit'" in _refusal("/facets", b"limit=3")["detail"]


def test_a_route_without_parameters_refuses_any() -> None:
    assert _get("/none") == (200, None)
    problem = _refusal("/none", b"limit=3")
    assert problem["field"] == "the query"
    assert "unknown parameter 'limit'. It takes none" in problem["detail"]


EXAMPLES = [10, pytest.param(200, marks=pytest.mark.verify)]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_parameters_become_a_query_or_are_refused(examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.lists(st.tuples(st.text(), st.text()), max_size=8))
    def check(pairs: list[tuple[str, str]]) -> None:
        text = urlencode(pairs, errors="surrogatepass", quote_via=quote)
        _accept_or_refuse(text.encode())

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_bytes_become_a_query_or_are_refused(examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.binary(max_size=200))
    def check(query_string: bytes) -> None:
        _accept_or_refuse(query_string)

    check()


def _accept_or_refuse(query_string: bytes) -> None:
    status, _ = _get("/page", query_string)
    if status != 200:
        _refusal("/page", query_string)


@pytest.mark.parametrize("number", [1, 2**53 - 1])
def test_an_id_in_a_path_is_a_positive_integer_that_javascript_keeps(number: int) -> None:
    assert _get(f"/products/{number}") == (200, number)


@pytest.mark.parametrize(
    "text", [str(2**53), str(2**63), "0", "-1", "01", "+1", "1.0", "1_0", " 1", "١", "x", "9" * 400]
)
def test_a_malformed_id_in_a_path_is_an_unknown_product(text: str) -> None:
    status, problem = _get(f"/products/{text}")
    assert (status, problem["type"]) == (404, "/problems/unknown-product")
