"""The shop over HTTP, as a FastAPI application: ``uvicorn helpers.api:app``.

Importing this package opens no connection and imports no framework. ``app`` is built when it is
first used, from the options in the environment (``helpers.api.options``); its lifespan opens the
stores. ``python -m helpers serve`` serves the same application.

A request passes ``client_timeouts`` (time limits for slow clients), ``middleware`` (request
logging, authentication and body limit, deadline) and one of the ``…_routes``. ``product_reads``
joins the three stores; ``responses`` adds the ETag, compression and ``Server-Timing``;
``problems`` has every error. ``service`` holds what all routes share.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    app: FastAPI

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    """Build ``app`` at its first use."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from helpers.api.application import create_app_from_environment

    globals()["app"] = create_app_from_environment()
    return globals()["app"]
