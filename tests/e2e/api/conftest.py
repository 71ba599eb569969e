"""The shop and the service of the tests of the API."""

from tests.api.conftest import (
    client,
    proxied_shop,
    proxies,
    seeded,
    service,
    shared_service,
    shop,
    without_breakers,
    writer,
)

__all__ = [
    "client",
    "proxied_shop",
    "proxies",
    "seeded",
    "service",
    "shared_service",
    "shop",
    "without_breakers",
    "writer",
]
