"""What OpenAPI says beyond the types: query parameters, headers, problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Path
from fastapi.openapi.utils import get_openapi

from helpers.api.problems import KINDS, MEDIA_TYPE
from helpers.api.query_parameters import KEY_HEADER
from helpers.api.schemas import Problem
from helpers.joins.pages import MAX_PAGE_SIZE
from helpers.validation import LARGEST_ID

_ID = "[1-9][0-9]{0,17}"
# All that can be printed, and the space.
_PRINTABLE = r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,200}$"
_NAME = r"[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39}){0,3}"

_CATEGORY = {
    "name": "category",
    "in": "query",
    "description": "Products of this category, which PostgreSQL knows.",
    "schema": {"type": "string", "pattern": _PRINTABLE},
    "example": "laptop",
}
_TAG = {
    "name": "tag",
    "in": "query",
    "description": "Products with this tag in MongoDB; given several times, with all of them.",
    "schema": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "maxItems": 20,
    },
    "example": ["gift"],
}
_SPECIFICATIONS = {
    "name": "spec",
    "in": "query",
    "description": (
        "`spec.<name>=<value>`: products with this specification in MongoDB. The value is a "
        'number, `true` or `false`, a range such as `8..32`, `8..` or `..32`, or a text; `"16"` '
        "in quotation marks is a text in any case."
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

#: The parameters of ``GET /api/facets``.
FACETS: dict[str, Any] = {"parameters": [_CATEGORY, _TAG, _SPECIFICATIONS]}

#: The parameters of ``GET /api/products``.
PAGE: dict[str, Any] = {
    "parameters": [
        {
            "name": "ids",
            "in": "query",
            "description": f"Products of these ids, at most {MAX_PAGE_SIZE}.",
            "schema": {"type": "string", "pattern": f"^({_ID}(,{_ID}){{0,{MAX_PAGE_SIZE - 1}}})?$"},
            "example": "1,2,3",
        },
        _CATEGORY,
        _TAG,
        _SPECIFICATIONS,
        {
            "name": "in_stock",
            "in": "query",
            "description": "With `true`, products of which Redis knows that there are units.",
            "schema": {"type": "boolean"},
        },
        {
            "name": "limit",
            "in": "query",
            "description": "The most products on a page; 24 where any other parameter is given.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
        },
        {
            "name": "cursor",
            "in": "query",
            "description": "Where the page begins: taken from the `Link` of the page before.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{18}$"},
        },
    ]
}

#: The parameter of ``POST /api/orders``.
KEYED: dict[str, Any] = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "description": (
                "A name of the client's own for this order. The same request, sent again under it "
                "at any time, is answered with the same order. It is one product's: for another "
                "product, it names another order."
            ),
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "example": "0b8e4a6e-7d52-4c8a-9d0f-3f1d6f1b2a77",
        }
    ]
}

#: The kinds of problems that any write may have.
WRITING = (
    *("bad-body", "no-token", "slow-body", "large-body", "not-json", "bad-value"),
    *("failed", "store-away", "too-late", "too-busy"),
)

_HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "Send it as `If-None-Match`: 304 where nothing has changed.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {
        "description": "How long each store was waited for.",
        "schema": {"type": "string"},
    },
    "X-Missing-Stores": {
        "description": "Stores that did not answer: their fields are null.",
        "schema": {"type": "string"},
    },
    "X-Missing-Nodes": {
        "description": "Nodes of PostgreSQL that did not answer: their products are left out.",
        "schema": {"type": "string"},
    },
    "X-Missing-Shards": {
        "description": "The ids of the shards of `products` on these nodes.",
        "schema": {"type": "string"},
    },
    "X-Missing-Count": {
        "description": "How many products that MongoDB knows may be left out by that.",
        "schema": {"type": "integer"},
    },
    "X-Missing-Products": {
        "description": "The ids of these, the first 200.",
        "schema": {"type": "string"},
    },
}
_STALE: dict[str, Any] = {
    "X-Stale": {
        "description": "The store that did not answer, where views stand in for it.",
        "schema": {"type": "string"},
    },
    "Age": {
        "description": "Then: so many seconds ago the views were known to be as that store.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_LINK: dict[str, Any] = {
    "Link": {
        "description": '`<…>; rel="next"`: the next page, where there is one.',
        "schema": {"type": "string"},
    }
}


def id_in_path(description: str, *, example: int) -> Any:
    """Return how an id in a path is described. What it holds is looked at by ``path_id``."""
    return Path(
        description=description,
        json_schema_extra={"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
        examples=[str(example)],
    )


def read_responses(*kinds: str, pages: bool = False, stale: bool = False) -> dict[int | str, Any]:
    """Return what a reading route may answer beside its answer: 304, and problems of ``kinds``."""
    headers = _HEADERS | (_LINK if pages else {}) | (_STALE if stale else {})
    return {
        200: {"headers": headers},
        304: {"description": "Nothing has changed."},
        **problem_responses(*kinds, "too-late"),
    }


def problem_responses(*kinds: str) -> dict[int | str, Any]:
    """Return the responses of problems of ``kinds``, by their status."""
    found: dict[int | str, Any] = {}
    for kind in kinds:
        before = found.get(KINDS[kind].status, {}).get("description", "")
        found[KINDS[kind].status] = {
            "description": f"{before} {KINDS[kind].title}.".strip(),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found


def document(app: FastAPI) -> None:
    """Let ``app`` describe itself in OpenAPI, with the problems that it really answers."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    for path in found["paths"].values():
        for operation in path.values():
            described = str(operation["responses"].get("422", ""))
            if "HTTPValidationError" in described:  # never answered here
                del operation["responses"]["422"]
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    return found
