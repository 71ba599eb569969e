"""The shop and the service of the tests of the API."""

from tests.api.conftest import (
    client,
    links,
    proxied_shop,
    seeded,
    service,
    shared_service,
    shop,
    tireless,
    writer,
)

__all__ = [
    "client",
    "links",
    "proxied_shop",
    "seeded",
    "service",
    "shared_service",
    "shop",
    "tireless",
    "writer",
]
