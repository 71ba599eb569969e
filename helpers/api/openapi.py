"""What FastAPI cannot derive for OpenAPI: headers, problems, filters by specification."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from helpers.api.problems import MEDIA_TYPE, PROBLEM_TYPES
from helpers.api.schemas import Problem

_LEVEL = r"[\p{L}\p{N}][^$.\p{C}]{0,199}"
_NAME = rf"{_LEVEL}(\.{_LEVEL}){{0,3}}"

#: The filters whose names are free. A model has no field for them.
SPECIFICATIONS: dict[str, Any] = {
    "parameters": [
        {
            "name": "spec",
            "in": "query",
            "description": (
                "`spec.<name>=<value>`: products with this specification in MongoDB. The value is "
                "a number, `true` or `false`, a range such as `8..32`, `8..` or `..32`, or a "
                'string; quotation marks make any value a string: `"16"`.'
            ),
            "style": "form",
            "explode": True,
            "schema": {
                "type": "object",
                "propertyNames": {"pattern": rf"^spec\.{_NAME}$"},
                "additionalProperties": {"type": "string", "pattern": r"^[A-Za-z0-9 ]{1,60}$"},
                "maxProperties": 20,
            },
            "example": {"spec.ram": "16GB"},
        }
    ]
}

#: The types of problems of reads of products.
READ_ERRORS = ("bad-parameter", "store-unavailable")

#: The types of problems of all writes.
WRITE_ERRORS = (
    *("bad-body", "unauthorized", "slow-body", "large-body", "not-json", "bad-value"),
    *("internal-error", "store-unavailable", "timeout", "overloaded"),
)


def _header(description: str, *, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind, **schema}}


#: The header of the response to a new order.
LOCATION = {"Location": _header("The address of the order.")}

_HEADERS = {
    "ETag": _header("Send it as `If-None-Match`: the response is 304 if nothing has changed."),
    "Server-Timing": _header("The round trips to each store and their durations."),
    "X-Missing-Stores": _header("Stores that were unavailable: their fields are null."),
    "X-Missing-Nodes": _header("Unavailable nodes of PostgreSQL: their products are missing."),
    "X-Missing-Shards": _header("The ids of the shards of `products` on these nodes."),
    "X-Missing-Count": _header(
        "How many products may be missing, according to MongoDB.", kind="integer"
    ),
    "X-Missing-Products": _header("The ids of the first 200 of these products."),
}
_STALE_HEADERS = {
    "X-Stale": _header("The unavailable store, if the read model stands in for it."),
    "Age": _header(
        "If so: seconds since the read model was known to agree with that store.",
        kind="integer",
        minimum=0,
    ),
}
_LINK_HEADER = {"Link": _header('`<…>; rel="next"`: the next page, if there is one.')}


def read_responses(*slugs: str, pages: bool = False, stale: bool = False) -> dict[int | str, Any]:
    """Return the responses of a route that reads: 200 with headers, 304, and problems."""
    headers = _HEADERS | (_LINK_HEADER if pages else {}) | (_STALE_HEADERS if stale else {})
    return {
        200: {"headers": headers},
        304: {"description": "Nothing has changed."},
        **problems(*slugs, "timeout"),
    }


def problems(*slugs: str) -> dict[int | str, Any]:
    """Return the responses with problems of these types, by status."""
    responses: dict[int | str, Any] = {}
    for slug in slugs:
        status, title = PROBLEM_TYPES[slug].status, PROBLEM_TYPES[slug].title
        before = responses.get(status, {}).get("description", "")
        responses[status] = {
            "description": f"{before} {title}.".strip(),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return responses


def use_problems_in_openapi(app: FastAPI) -> None:
    """Describe the errors of ``app`` as problems instead of FastAPI's own error format."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _schema(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    for path in schema["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    return schema
