"""Open the shop: find its servers, start embedded servers that are not running, and connect."""

from __future__ import annotations

import re
import time

from helpers.citus.cluster_databases import (
    WORKERS,
    Node,
    create_database,
    drop_database,
    find_nodes,
    fingerprint,
    has_citus,
    nodes_of,
    prepare_database,
)
from helpers.embedded import EmbeddedServers
from helpers.errors import CourseError, SettingsError
from helpers.settings import DATABASE, Addresses, Settings, load_settings
from helpers.stores.connect import connect_postgres, explaining
from helpers.stores.ownership import check_mongo_and_redis, claim
from helpers.stores.stores import Stores, connect_all

# The server process of the session in which this process has opened databases last, by their name.
_own_sessions: dict[str, int] = {}

# The number of the advisory lock that a session holds in the database that it has opened alone.
_OPEN_LOCK = 20_240_817
# The server notices at once that a client was killed, also during a query, and within half a minute
# that its network was cut.
_HOLD_OPEN = """
    SELECT set_config('client_connection_check_interval', '500', false),
           set_config('tcp_keepalives_idle', '10', false),
           set_config('tcp_keepalives_interval', '5', false),
           set_config('tcp_keepalives_count', '4', false),
           pg_advisory_lock(%s)
"""
_OTHER_HOLDER = """
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = %s AND l.locktype = 'advisory' AND l.objid = %s AND l.pid <> %s
"""
_RELEASE_ATTEMPTS, _RELEASE_SECONDS = 20, 0.1

# With ``lesson_`` in front, no longer than the name of a database may be.
_LESSON = re.compile(r"0[0-8]_[a-z0-9_]{1,50}")


def open_shop(settings: Settings | None = None) -> Stores:
    """Connect to the shop's stores; start the embedded servers if they are not running.

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``.
    """
    return connect_all(locate(settings or load_settings()))


def locate(settings: Settings, *, workers: int | None = None) -> Addresses:
    """Return the addresses of the stores; start the embedded servers if they are not running.

    ``workers`` is the number of PostgreSQL workers, by default as many as there are.

    Raises ``SettingsError`` if ``workers`` is given for servers that are configured by URL.
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
    """Connect to empty databases for one lesson, separate from the shop's and other lessons'.

    ``lesson`` is the notebook's name, such as ``"00_tour"``. Its databases in PostgreSQL and
    MongoDB are called ``lesson_00_tour``; its logical database in Redis has the lesson's number
    plus one (the shop's is 0). Data of an earlier run is deleted.

    Raises ``ServerError``, ``StoreError``, or ``SettingsError``, also for an invalid name;
    ``CourseError``, before it changes anything, if another process has the lesson open.
    """
    if _LESSON.fullmatch(lesson) is None:
        raise SettingsError(
            f"{lesson!r} is not the name of a lesson: give the notebook's name, such as '00_tour'. "
            "It starts with two digits, at most 08; then come lower-case letters and digits."
        )
    name, number = f"lesson_{lesson}", int(lesson[:2]) + 1
    return open_alone(f"The lesson {lesson}", name, number, load_settings())


def open_alone(title: str, name: str, redis_number: int, settings: Settings) -> Stores:
    """Recreate the databases of a notebook as ``open_databases`` does, for one process at a time.

    Otherwise the next statement of another kernel would fail, or find the data of this one. Raises
    ``CourseError``, before it changes anything, if another process has them open.
    """
    coordinator = locate(settings).coordinator
    with connect_postgres(coordinator, database="postgres") as connection:
        with explaining("PostgreSQL", coordinator):
            # Another process that opens them at this moment has to finish first.
            connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [_OPEN_LOCK, name])
            held = [name, _OPEN_LOCK, _own_sessions.get(name, 0)]
            for _ in range(_RELEASE_ATTEMPTS):
                if connection.execute(_OTHER_HOLDER, held).fetchone() is None:
                    break
                time.sleep(_RELEASE_SECONDS)  # a kernel that was just restarted
            else:
                raise CourseError(
                    f"{title} is open in another kernel, and opening it here would delete its "
                    "data there: shut that kernel down (in JupyterLab: Kernel, Shut Down All "
                    "Kernels), then run this cell again."
                )
        stores = open_databases(name, redis_number, settings)
        with stores.explaining():
            stores.postgres.execute(_HOLD_OPEN, [_OPEN_LOCK])
            _own_sessions[name] = stores.postgres.info.backend_pid
    return stores


def open_databases(name: str, redis_number: int, settings: Settings) -> Stores:
    """Recreate empty databases called ``name``, and connect to them.

    ``redis_number`` is the number of a logical database in Redis, which is emptied. On servers
    given by address, only databases that the course created are emptied (``ownership``).

    Raises ``SettingsError``, ``ServerError`` or ``StoreError``; ``ForeignDataError``, before it
    changes anything, if a database has data that the course did not create.
    """
    addresses = locate(settings)
    embedded = addresses.embedded
    if not embedded:
        check_mongo_and_redis(addresses, name, redis_number)
    nodes = _nodes(settings, addresses)
    with connect_postgres(addresses.coordinator) as connection:
        citus = has_citus(connection)
    drop_database(nodes, name, embedded=embedded)
    create_database(nodes[: WORKERS + 1], name, citus=citus, embedded=embedded)
    stores = connect_all(addresses, database=name, redis_database=redis_number)
    try:
        with stores.explaining():
            stores.mongo.client.drop_database(name)
            stores.redis.flushdb()
            claim(stores)
    except BaseException:
        stores.close()
        raise
    return stores


def start_worker(stores: Stores) -> tuple[str, int]:
    """Start one more worker, and create the database of ``stores`` on it.

    Returns the host and port at which the coordinator reaches it; the caller adds it to the
    cluster. Servers configured by URL are not started: the next worker in the settings is used.

    Raises ``SettingsError`` if the settings have no further worker.
    """
    settings = load_settings()
    row = stores.postgres.execute("SELECT count(*) FROM pg_dist_node WHERE groupid <> 0").fetchone()
    have = int(row[0]) if row else 0
    addresses = locate(settings)
    if settings.addresses is None and len(addresses.workers) <= have:
        addresses = locate(settings, workers=have + 1)
    nodes = _nodes(settings, addresses)
    if len(nodes) <= have + 1:
        raise SettingsError(
            f"The cluster has {have} workers, and POSTGRES_WORKER_URLS names no further one: start "
            "another (with Docker: `docker compose --profile scale-out up -d worker3`) and name it."
        )
    node = nodes[have + 1]
    citus = has_citus(stores.postgres)
    prepare_database(node, stores.mongo.name, citus=citus, embedded=addresses.embedded)
    return node.host, node.port


def _nodes(settings: Settings, addresses: Addresses) -> list[Node]:
    """Return the nodes: of embedded servers by address, of others from the coordinator."""
    return nodes_of(addresses) if settings.addresses is None else find_nodes(addresses)


def _prepare(addresses: Addresses, engine: str, prepared: str) -> str:
    """Create the shop's database on the embedded cluster, once."""
    current = fingerprint(addresses)
    if prepared != current:
        create_database(nodes_of(addresses), DATABASE, citus=engine == "citus")
    return current
