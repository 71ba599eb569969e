"""Problem details (RFC 9457): every error response has the same shape and a page about its type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from helpers.errors import (
    BusyError,
    CircuitOpenError,
    CourseError,
    KeyReusedError,
    NodeUnavailableError,
    QueryError,
    ReadModelError,
    ReservationError,
    SoldOutError,
    StockError,
    StoreError,
    UnknownProductError,
)

MEDIA_TYPE = "application/problem+json"

#: The ``Retry-After`` of a problem whose end is unknown, in seconds.
RETRY_SECONDS = "2"

_MAX_FIELD_ERRORS = 20


@dataclass(frozen=True)
class ProblemType:
    """A type of problem: the last part of its URI, its status, its title, and what to do."""

    slug: str
    status: int
    title: str
    explanation: str


PROBLEM_TYPES = {
    problem_type.slug: problem_type
    for problem_type in (
        ProblemType(
            "bad-parameter",
            400,
            "A parameter is not what it must be",
            "`field` names the parameter and `detail` says what is wrong with it. Unknown "
            "parameters are refused, since a misspelt filter would otherwise show everything.",
        ),
        ProblemType(
            "bad-body", 400, "The body is not JSON", "Send one JSON object, encoded in UTF-8."
        ),
        ProblemType(
            "unauthorized",
            401,
            "A write needs the token",
            "Send `Authorization: Bearer <token>`, with the token that was printed when the "
            "service started.",
        ),
        ProblemType("not-found", 404, "Not found", "Correct the address."),
        ProblemType(
            "unknown-product",
            404,
            "There is no such product",
            "Correct its id; `GET /api/products` lists all products.",
        ),
        ProblemType("unknown-order", 404, "There is no such order", "Correct its id."),
        ProblemType(
            "method-not-allowed",
            405,
            "This method is not allowed here",
            "The header `Allow` lists the allowed methods.",
        ),
        ProblemType("slow-body", 408, "The body did not arrive in time", "Send the request again."),
        ProblemType(
            "sold-out",
            409,
            "Too few units are available",
            "`available` has the number of units that are available now. Nothing was ordered.",
        ),
        ProblemType(
            "not-reserved",
            409,
            "The reservation ended before the order was recorded",
            "Nothing was ordered. Send the order again.",
        ),
        ProblemType("large-body", 413, "The body is too large", "Send at most 64 KiB."),
        ProblemType(
            "not-json",
            415,
            "The body must be JSON",
            "Send `Content-Type: application/json`, and the body without compression.",
        ),
        ProblemType(
            "bad-value",
            422,
            "A value in the body is invalid",
            "`errors` names each field and what is wrong with it. Nothing was written.",
        ),
        ProblemType(
            "key-reused",
            422,
            "The idempotency key belongs to another order",
            "Nothing was ordered. Use a new `Idempotency-Key` for each order; to retry an order, "
            "repeat all of its fields.",
        ),
        ProblemType(
            "not-http", 400, "This is not an HTTP request", "Use an HTTP client, such as curl."
        ),
        ProblemType(
            "large-head", 431, "The head of the request is too large", "Send fewer parameters."
        ),
        ProblemType(
            "internal-error",
            500,
            "The server failed",
            "The request was not at fault. Search the server's log for the `request_id`.",
        ),
        ProblemType(
            "read-model-incomplete",
            503,
            "The read model is still being built",
            "Try again after the number of seconds in `Retry-After`.",
        ),
        ProblemType(
            "store-unavailable",
            503,
            "A store is unavailable",
            "`store` names it; if only some of its nodes are unavailable, `nodes` names them. Try "
            "again after the number of seconds in `Retry-After`. `GET /healthz` shows the health "
            "of each store and its circuit breaker: after repeated failures, no requests are sent "
            "to a store for a while.",
        ),
        ProblemType(
            "timeout",
            503,
            "No response was ready in time",
            "Try again after the number of seconds in `Retry-After`. A write may still succeed: "
            "retry an order with the same `Idempotency-Key`, which places it only once.",
        ),
        ProblemType(
            "overloaded",
            503,
            "Too many requests are waiting for the stores",
            "Nothing was started. Try again after the number of seconds in `Retry-After`.",
        ),
    )
}

_TYPE_OF_STATUS = {404: "not-found", 405: "method-not-allowed", 400: "bad-parameter"}
_TYPE_OF_PATH_PARAMETER = {"product_id": "unknown-product", "order_id": "unknown-order"}


class ProblemError(Exception):
    """Raise this in a route to respond with a problem of the type ``slug``."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug


def unknown_id(parameter: str, value: object) -> ProblemError:
    """Return the error for a product or an order that does not exist.

    ``parameter`` is the path parameter with the id: ``product_id`` or ``order_id``.
    """
    what = parameter.removesuffix("_id")
    return ProblemError(_TYPE_OF_PATH_PARAMETER[parameter], f"There is no {what} {value!s:.40}.")


def problem_response(
    slug: str,
    detail: str,
    *,
    request_id: str | None = None,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return the response for a problem; ``members`` are extension members of its JSON object."""
    return Response(
        problem_json(slug, detail, request_id=request_id, **members),
        PROBLEM_TYPES[slug].status,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )


def problem_json(slug: str, detail: str, *, request_id: str | None = None, **members: Any) -> bytes:
    """Return the JSON of a problem."""
    problem_type = PROBLEM_TYPES[slug]
    return orjson.dumps(
        {
            "type": f"/problems/{slug}",
            "title": problem_type.title,
            "status": problem_type.status,
            "detail": detail,
            "request_id": request_id,
            **members,
        }
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Make ``app`` respond with a problem to errors of the course, FastAPI and Starlette."""
    app.add_exception_handler(CourseError, _course_problem)
    app.add_exception_handler(ProblemError, _raised_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(HTTPException, _http_problem)


async def _raised_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error.slug, str(error), request_id=request.state.request_id)


async def _course_problem(request: Request, error: Exception) -> Response:
    slug = "internal-error"
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case QueryError():
            slug, members = "bad-parameter", {"field": error.field}
        case UnknownProductError():
            slug = "unknown-product"
        case SoldOutError():
            available = {str(product_id): units for product_id, units in error.available.items()}
            slug, members = "sold-out", {"available": available}
        case KeyReusedError():
            slug = "key-reused"
        case ReservationError():
            slug = "not-reserved"
        case StockError():
            slug, members = "bad-value", {"errors": [{"field": "", "reason": str(error)}]}
        case StoreError():
            return _store_problem(request, error)
        case BusyError():
            slug, headers = "overloaded", {"Retry-After": RETRY_SECONDS}
        case ReadModelError():
            slug, headers = "read-model-incomplete", {"Retry-After": RETRY_SECONDS}
    return problem_response(
        slug, str(error), request_id=request.state.request_id, headers=headers, **members
    )


def _store_problem(request: Request, error: StoreError) -> Response:
    """Return the problem of an unavailable store, without the store's address."""
    retry_after = RETRY_SECONDS
    members: dict[str, Any] = {"store": error.store}
    detail = f"{error.store} is unavailable: try again in a moment."
    match error:
        case CircuitOpenError():
            retry_after = str(max(1, math.ceil(error.retry_seconds)))
            plural = "" if retry_after == "1" else "s"
            detail = (
                f"The circuit of {error.store} is open after {error.failures} failures in a row: "
                f"try again after {retry_after} second{plural}."
            )
        case NodeUnavailableError():
            detail = f"Of {error.store}, {error.reason}: try again in a moment."
            members["nodes"] = error.nodes
    return problem_response(
        "store-unavailable",
        detail,
        request_id=request.state.request_id,
        headers={"Retry-After": retry_after},
        **members,
    )


async def _validation_problem(request: Request, error: Exception) -> Response:
    """Return the problem of a request that does not fit the route's types.

    An invalid id in the path is the id of no product and no order. Invalid parameters and headers
    are reported before the body.
    """
    assert isinstance(error, RequestValidationError)
    request_id = request.state.request_id
    places = {found["loc"][0]: found for found in reversed(error.errors())}
    if found := places.get("path"):
        return await _raised_problem(request, unknown_id(found["loc"][1], found["input"]))
    if found := places.get("query") or places.get("header"):
        field, reason = str(found["loc"][1])[:60], found["msg"]
        if found["type"] == "extra_forbidden":
            field, reason = "the query", f"has the unknown parameter {field!r}"
            return await _course_problem(request, QueryError(field, reason, "It takes none"))
        return problem_response(
            "bad-parameter", f"{field}: {reason}.", request_id=request_id, field=field
        )
    if any(found["type"] == "json_invalid" for found in error.errors()):
        return problem_response("bad-body", "The body is not JSON.", request_id=request_id)
    errors = [
        {"field": "/".join(map(str, found["loc"][1:])), "reason": found["msg"]}
        for found in error.errors()[:_MAX_FIELD_ERRORS]
    ]
    detail = "; ".join(f"{found['field'] or 'the body'}: {found['reason']}" for found in errors)
    return problem_response("bad-value", f"{detail}.", request_id=request_id, errors=errors)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # served by the middleware
    return problem_response(
        _TYPE_OF_STATUS.get(status, "internal-error"),
        f"{status.description or status.phrase}.",
        request_id=request.state.request_id,
        headers=headers,
    )
