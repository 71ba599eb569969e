"""The shop and the service of the tests of the API."""

from tests.api.conftest import (
    client,
    linked_shop,
    links,
    seeded,
    service,
    shared_service,
    shop,
    tireless,
    writer,
)

__all__ = [
    "client",
    "linked_shop",
    "links",
    "seeded",
    "service",
    "shared_service",
    "shop",
    "tireless",
    "writer",
]
