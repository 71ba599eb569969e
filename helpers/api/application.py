"""The FastAPI application: routes, middleware, and a lifespan that opens the stores."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request
from structlog.typing import FilteringBoundLogger

from helpers.api import health_routes, lab_routes, order_routes, page_routes, product_routes
from helpers.api.json_logs import json_logger
from helpers.api.middleware import AuthenticationAndBodyLimit, RequestDeadline, RequestLogging
from helpers.api.openapi import use_problems_in_openapi
from helpers.api.options import ServeOptions
from helpers.api.problems import add_problem_handlers
from helpers.api.service import open_service
from helpers.errors import QueryError
from helpers.settings import Addresses, load_settings
from helpers.shop import locate

_DESCRIPTION = """
Each product is in three stores: id, name and price come from PostgreSQL, `metadata` from MongoDB,
`stock` from Redis. Errors are problem details (RFC 9457); `/problems/<type>` explains each type.
"""
_MAX_PARAMETERS = 100
_REPEATABLE = {"tag"}


async def check_query_string(request: Request) -> None:
    """Refuse what FastAPI accepts in a query string before its models see it.

    It takes the last value of a repeated parameter, and replaces bytes that are not UTF-8. Either
    would change a filter without notice. Raises ``QueryError``.
    """
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except UnicodeError:
        reason, way_out = "is not percent-encoded UTF-8", "Encode it, as encodeURIComponent does"
        raise QueryError("the query", reason, way_out) from None
    except ValueError:
        reason = f"has more than {_MAX_PARAMETERS} parameters"
        raise QueryError("the query", reason, "Give fewer") from None
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1 and name not in _REPEATABLE:
            raise QueryError(name[:60] or "the query", "is given more than once", "Give it once")


def create_app(
    options: ServeOptions, *, addresses: Addresses | None = None, log: FilteringBoundLogger
) -> FastAPI:
    """Return the application. Its lifespan opens the stores at ``addresses``, and closes them.

    ``addresses`` default to those of the settings; the teaching cluster is started if needed.
    Writes need the token of ``options``; if there is none, one is generated, and the lifespan
    prints it. Each request is a line in ``log``.
    """
    token = options.token or secrets.token_urlsafe(24)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if addresses is None:
            found = await asyncio.to_thread(lambda: locate(load_settings()))
        else:
            found = addresses
        async with open_service(found, options) as app.state.service:
            if not options.token:
                print(f"Token for writes: {token}", flush=True)
            yield

    app = FastAPI(
        title="The shop",
        version="1.0.0",
        summary="Products joined from PostgreSQL, MongoDB and Redis.",
        description=_DESCRIPTION.strip(),
        lifespan=lifespan,
        # FastAPI's documentation pages load scripts from another server.
        docs_url=None,
        redoc_url=None,
        # A redirect would contain the host name that the client sent.
        redirect_slashes=False,
    )
    app.include_router(product_routes.router, dependencies=[Depends(check_query_string)])
    app.include_router(order_routes.router, dependencies=[Depends(check_query_string)])
    app.include_router(health_routes.router)
    if options.lab:
        app.include_router(lab_routes.lab_router())
    page_routes.add_pages(app)
    add_problem_handlers(app)
    use_problems_in_openapi(app)
    # A request passes the middleware that is added last first.
    app.add_middleware(RequestDeadline, seconds=options.deadline)
    app.add_middleware(AuthenticationAndBodyLimit, token=token, body_seconds=options.client_timeout)
    app.add_middleware(RequestLogging, log=log)
    return app


def create_app_from_environment() -> FastAPI:
    """Return the application with options from the environment, for ``uvicorn helpers.api:app``.

    Raises ``SettingsError`` if a variable is malformed.
    """
    return create_app(ServeOptions.read(), log=json_logger())
