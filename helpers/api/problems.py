"""Problem details (RFC 9457): every error has the same shape, and a page that explains it."""

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

#: After so many seconds a client may try again, where nobody knows better.
RETRY_SECONDS = "2"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the last part of its address, its status, its title, what to do."""

    name: str
    status: int
    title: str
    explanation: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "bad-parameter",
            400,
            "A parameter is not what it must be",
            "`field` names the parameter and `detail` says what is wrong with it. Unknown "
            "parameters are refused, since a misspelt filter would otherwise show everything.",
        ),
        Kind(
            "bad-body",
            400,
            "The body is no JSON",
            "Send one JSON object in UTF-8.",
        ),
        Kind(
            "no-token",
            401,
            "A write needs the token",
            "Send `Authorization: Bearer <token>`, with the token that was printed when the "
            "service started.",
        ),
        Kind("not-found", 404, "There is nothing here", "Correct the address."),
        Kind(
            "unknown-product",
            404,
            "There is no such product",
            "Correct its id; `GET /api/products` lists all products.",
        ),
        Kind("unknown-order", 404, "There is no such order", "Correct its id."),
        Kind(
            "method-not-allowed",
            405,
            "This cannot be done here",
            "The header `Allow` says what can.",
        ),
        Kind("slow-body", 408, "The body did not come in time", "Send it at once, or try again."),
        Kind(
            "sold-out",
            409,
            "Too few units are available",
            "`available` says how many there are now. Nothing was ordered.",
        ),
        Kind(
            "not-reserved",
            409,
            "The units could not be kept until they were sold",
            "Nothing was ordered. Order again.",
        ),
        Kind("large-body", 413, "The body is too large", "No request here needs more than 64 KiB."),
        Kind("not-json", 415, "The body must be JSON", "Send `Content-Type: application/json`."),
        Kind(
            "bad-value",
            422,
            "A value in the body is not what it must be",
            "`errors` names each field and what is wrong with it. Nothing was written.",
        ),
        Kind(
            "key-reused",
            422,
            "The key stands for another order",
            "Nothing was ordered. Give every order an `Idempotency-Key` of its own; to send the "
            "same order once more, repeat all of it.",
        ),
        Kind("not-http", 400, "This is no request of HTTP", "Send one, such as curl does."),
        Kind("large-head", 431, "The head of the request is too large", "Ask for less at a time."),
        Kind(
            "failed",
            500,
            "Something is broken here",
            "It is not the request's fault. `request_id` finds it in the log.",
        ),
        Kind(
            "views-not-made",
            503,
            "The read model is being made",
            "Try again after the seconds in `Retry-After`.",
        ),
        Kind(
            "store-away",
            503,
            "A store does not answer",
            "`store` names it; where only some of its nodes do not, `nodes` names these. Try again "
            "after the seconds in `Retry-After`; `GET /healthz` says how each store does, and "
            "whether it is asked at all: after some failures in a row it is not, for a while.",
        ),
        Kind(
            "too-late",
            503,
            "There was no answer in time",
            "Try again after the seconds in `Retry-After`. A write may yet be done: whoever asks "
            "again under the same `Idempotency-Key` has it done once, and is told how it ended.",
        ),
        Kind(
            "too-busy",
            503,
            "Too much is waiting for the stores",
            "Nothing was begun. Try again after the seconds in `Retry-After`.",
        ),
    )
}

_BY_STATUS = {404: "not-found", 405: "method-not-allowed", 400: "bad-parameter"}


def problem(
    kind: str,
    detail: str,
    *,
    request_id: str | None = None,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return the response for a problem of this kind; ``members`` are further ones of its own."""
    return Response(
        problem_json(kind, detail, request_id=request_id, **members),
        KINDS[kind].status,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )


def problem_json(kind: str, detail: str, *, request_id: str | None = None, **members: Any) -> bytes:
    """Return the same as bytes."""
    found = KINDS[kind]
    return orjson.dumps(
        {
            "type": f"/problems/{kind}",
            "title": found.title,
            "status": found.status,
            "detail": detail,
            "request_id": request_id,
            **members,
        }
    )


def handle_problems(app: FastAPI) -> None:
    """Let ``app`` answer each error of ours, and each of the framework's, with its problem."""
    app.add_exception_handler(CourseError, _of_course)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


async def _of_course(request: Request, error: Exception) -> Response:
    kind = "failed"
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case QueryError():
            kind, members = "bad-parameter", {"field": error.field}
        case UnknownProductError():
            kind = "unknown-product"
        case SoldOutError():
            available = {str(one): units for one, units in error.available.items()}
            kind, members = "sold-out", {"available": available}
        case KeyReusedError():
            kind = "key-reused"
        case ReservationError():
            kind = "not-reserved"
        case StockError():
            kind, members = "bad-value", {"errors": [{"field": "", "reason": str(error)}]}
        case StoreError():
            return _of_store(request, error)
        case BusyError():
            kind, headers = "too-busy", {"Retry-After": RETRY_SECONDS}
        case ReadModelError():
            kind, headers = "views-not-made", {"Retry-After": RETRY_SECONDS}
    return problem(
        kind, str(error), request_id=request.state.request_id, headers=headers, **members
    )


def _of_store(request: Request, error: StoreError) -> Response:
    """Return the problem of a store that is away. Its address is nobody's business outside."""
    wait = RETRY_SECONDS
    members: dict[str, Any] = {"store": error.store}
    reason = f"{error.store} does not answer: try again in a moment."
    match error:
        case CircuitOpenError():
            wait = str(max(1, math.ceil(error.retry_seconds)))
            reason = (
                f"{error.store} is not asked for the moment, because it failed {error.failures} "
                f"times in a row: try again after {wait} second{'' if wait == '1' else 's'}."
            )
        case NodeUnavailableError():
            reason = f"Of {error.store}, {error.reason}: try again in a moment."
            members |= {"nodes": error.nodes}
    return problem(
        "store-away",
        reason,
        request_id=request.state.request_id,
        headers={"Retry-After": wait},
        **members,
    )


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return problem("bad-body", "The body is no JSON.", request_id=request.state.request_id)
    errors = [
        {"field": "/".join(map(str, one["loc"][1:])), "reason": one["msg"]} for one in found[:20]
    ]
    detail = "; ".join(f"{one['field'] or 'the body'}: {one['reason']}" for one in errors)
    return problem("bad-value", f"{detail}.", request_id=request.state.request_id, errors=errors)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code, "failed")
    detail = HTTPStatus(error.status_code).description or HTTPStatus(error.status_code).phrase
    return problem(
        kind,
        f"{detail}.",
        request_id=request.state.request_id,
        headers=dict(error.headers or {}),
    )
