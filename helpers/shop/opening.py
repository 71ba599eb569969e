"""Open the shop: find its servers, start embedded servers that are not running, and connect."""

from __future__ import annotations

import re
import time
from weakref import WeakValueDictionary

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
from helpers.stores.connect import connect_postgres
from helpers.stores.ownership import check_mongo_and_redis, claim
from helpers.stores.stores import Stores, connect_all

# The stores of each lesson that this process has opened last.
_opened: WeakValueDictionary[str, Stores] = WeakValueDictionary()

# The number of the advisory lock that a session holds in the database of its lesson.
_LESSON_LOCK = 20_240_817
# The server notices within half a minute that a client is gone whose network was cut.
_HOLD_LESSON = """
    SELECT set_config('tcp_keepalives_idle', '10', false),
           set_config('tcp_keepalives_interval', '5', false),
           set_config('tcp_keepalives_count', '4', false),
           pg_advisory_lock(%s)
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
    number, _, _ = lesson.partition("_")
    settings = load_settings()
    earlier = _opened.get(lesson)
    _refuse_if_open(settings, lesson, earlier.postgres.info.backend_pid if earlier else 0)
    stores = open_databases(f"lesson_{lesson}", int(number) + 1, settings)
    stores.postgres.execute(_HOLD_LESSON, [_LESSON_LOCK])
    _opened[lesson] = stores
    return stores


def _refuse_if_open(settings: Settings, lesson: str, own: int) -> None:
    """Raise ``CourseError`` if a session other than ``own`` holds the lock of a lesson.

    Otherwise the other kernel's next statement would fail, or find the data of this one.
    """
    with connect_postgres(locate(settings).coordinator, database="postgres") as connection:
        for _ in range(_RELEASE_ATTEMPTS):
            held = connection.execute(
                "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE locktype = 'advisory' AND objid = %s AND datname = %s AND pid <> %s",
                [_LESSON_LOCK, f"lesson_{lesson}", own],
            ).fetchone()
            if held is None:
                return
            time.sleep(_RELEASE_SECONDS)  # a kernel that was just restarted
    raise CourseError(
        f"The lesson {lesson} is open in another kernel, and opening it here would delete its "
        "data there: shut that kernel down (in JupyterLab: Kernel, Shut Down All Kernels), "
        "then run this cell again."
    )


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
