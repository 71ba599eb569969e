"""The application: routes, and what stands around each of them."""

from __future__ import annotations

from fastapi import FastAPI
from structlog.typing import FilteringBoundLogger

from helpers.api.authentication import Guard
from helpers.api.health_routes import health_router
from helpers.api.lab_routes import lab_router
from helpers.api.openapi import document
from helpers.api.order_routes import orders_router
from helpers.api.page_routes import add_pages
from helpers.api.problems import handle_problems
from helpers.api.product_routes import products_router
from helpers.api.request_deadline import Deadline
from helpers.api.request_logging import RequestLogging
from helpers.api.service import Service

_DESCRIPTION = """
One product in three stores: id, name and price come from PostgreSQL, `metadata` from MongoDB,
`stock` from Redis. Errors are problem details (RFC 9457); `/problems/<kind>` explains each.
"""


def create_app(service: Service, log: FilteringBoundLogger) -> FastAPI:
    """Return the application that serves ``service``."""
    app = FastAPI(
        title="The shop",
        version="1.0.0",
        summary="Products joined from PostgreSQL, MongoDB and Redis.",
        description=_DESCRIPTION.strip(),
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat what the client says that our name is.
        redirect_slashes=False,
    )
    app.include_router(products_router(service))
    app.include_router(orders_router(service))
    app.include_router(health_router(service))
    if service.options.lab:
        app.include_router(lab_router(service))
    add_pages(app)
    handle_problems(app)
    document(app)
    # The last one is the first to see a request.
    app.add_middleware(Deadline, seconds=service.options.deadline)
    app.add_middleware(Guard, token=service.options.token, body_seconds=service.options.patience)
    app.add_middleware(RequestLogging, log=log)
    return app
