"""Opening the shop: find its servers, starting them where they are ours and down, and connect."""

from __future__ import annotations

from helpers.errors import SettingsError
from helpers.servers import EmbeddedServers
from helpers.settings import DATABASE, Addresses, Settings, load_settings
from helpers.stores.cluster import (
    WORKERS,
    create_database,
    drop_database,
    find_nodes,
    fingerprint,
    has_citus,
    nodes_of,
)
from helpers.stores.connect import connect_postgres
from helpers.stores.stores import Stores, connect_all


def open_shop(settings: Settings | None = None) -> Stores:
    """Connect to the shop's stores, starting the course's own servers where they are not running.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``.
    """
    return connect_all(locate(settings or load_settings()))


def locate(settings: Settings, *, workers: int | None = None) -> Addresses:
    """Return where the stores are, starting the course's own servers where they are not running.

    ``workers`` is the number of PostgreSQL workers to have, by default as many as there are.

    Raises ``SettingsError`` when ``workers`` is given for servers that are not ours to start.
    """
    if settings.addresses is not None:
        if workers is not None:
            raise SettingsError(
                "The number of workers can be chosen only where the course starts its own "
                "servers: unset POSTGRES_URL, MONGO_URL and REDIS_URL, or leave it out."
            )
        return settings.addresses
    servers = EmbeddedServers(settings)
    if workers is None:
        running = servers.running()
        if running is not None and running[1] == fingerprint(running[0]):
            return running[0]
    return servers.up(workers=workers, prepare=_prepare)


def open_lesson(lesson: str) -> Stores:
    """Connect to databases of a lesson's own, empty, beside the shop's and every other lesson's.

    ``lesson`` is the notebook's name, such as ``"00_tour"``: its databases in PostgreSQL and
    MongoDB are called ``lesson_00_tour``, and its logical database in Redis has the number plus
    one (the shop's is 0). Whatever an earlier run left in them is gone.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``.
    """
    number, _, _ = lesson.partition("_")
    return open_databases(f"lesson_{lesson}", int(number) + 1, load_settings())


def open_databases(name: str, redis_number: int, settings: Settings) -> Stores:
    """Make databases called ``name`` anew, empty, and connect to them.

    ``redis_number`` is the number of a logical database in Redis, which is emptied.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``.
    """
    addresses = locate(settings)
    nodes = nodes_of(addresses) if settings.addresses is None else find_nodes(addresses)
    with connect_postgres(addresses.coordinator) as connection:
        citus = has_citus(connection)
    drop_database(nodes, name)
    create_database(nodes[: WORKERS + 1], name, citus=citus)
    stores = connect_all(addresses, database=name, redis_database=redis_number)
    stores.mongo.client.drop_database(name)
    stores.redis.flushdb()
    return stores


def _prepare(addresses: Addresses, engine: str, prepared: str) -> str:
    """Create the shop's database on the course's own cluster, once."""
    current = fingerprint(addresses)
    if prepared != current:
        create_database(nodes_of(addresses), DATABASE, citus=engine == "citus")
    return current
