"""The servers of the tests, in a temporary folder, and the fixtures for their databases.

If POSTGRES_URL, MONGO_URL and REDIS_URL are set, the tests use those servers. Otherwise they start
embedded servers; with ``--layer by-address``, those are used by their addresses only. Either way,
each process of the run has separate databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from helpers.embedded import EmbeddedServers
from helpers.settings import Settings, load_settings
from helpers.shop import locate
from helpers.shop.engines import describe_stores
from helpers.shop.opening import open_databases
from helpers.stores import Stores
from helpers.stores.environment import environment_of
from helpers.stores.ownership import MONGO_MARKER
from helpers.stores.stores import connect_all
from tests.background_workers import StartWorker, starting_workers
from tests.cleanup import Run, begin
from tests.e2e.servers.server_helpers import temporary_servers
from tests.layers import BY_ADDRESS

_URLS = ("POSTGRES_URL", "MONGO_URL", "REDIS_URL")
_FIRST_REDIS_DATABASE = 10  # lower numbers are the shop's and the lessons'


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    # The main process of the session starts the servers; its workers inherit the addresses.
    run = begin()
    if run is not None:
        config.stash[_RUN] = run
    if any(name in os.environ for name in _URLS):
        return
    folder = Path(tempfile.mkdtemp(prefix="servers-"))
    folder.chmod(0o711)
    config.stash[_SERVERS_FOLDER] = folder
    os.environ["SHOP_HOME"] = str(folder / "shop")
    os.environ["SHOP_DURABILITY"] = "off"
    by_address = config.getoption("--layer") in BY_ADDRESS
    # The course can start a third worker of embedded servers; by address, it must exist.
    addresses = locate(load_settings(), workers=3 if by_address else None)
    if by_address:
        os.environ["POSTGRES_URL"] = addresses.coordinator
        os.environ["POSTGRES_WORKER_URLS"] = " ".join(addresses.workers)
        os.environ["MONGO_URL"] = addresses.mongo
        os.environ["REDIS_URL"] = addresses.redis
        # In this mode no test may start servers: there is no data folder.
        os.environ["SHOP_HOME"] = os.devnull


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Stop the servers and the remaining processes; fail if a test left a process running."""
    yield
    folder = session.config.stash.get(_SERVERS_FOLDER, None)
    if folder is not None:
        EmbeddedServers(Settings(folder / "shop")).reset()
    run = session.config.stash.get(_RUN, None)
    left = [] if run is None else run.finish()
    if left:
        print("\nThese processes were still running and were killed:", *left, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_report_header(config: pytest.Config) -> str:
    with connect_all(locate(load_settings())) as stores:
        engines = describe_stores(stores)
    return "stores: " + ", ".join(f"{row['engine']} {row['version']}" for row in engines)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The settings of the servers that the tests share."""
    return load_settings()


@pytest.fixture(scope="session")
def process_number() -> int:
    """The number of this process of the test run, from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def redis_number(process_number: int) -> int:
    """The logical database in Redis that belongs to this process of the test run."""
    return _FIRST_REDIS_DATABASE + process_number


@pytest.fixture(scope="session")
def shared(settings: Settings, process_number: int, redis_number: int) -> Iterator[Stores]:
    """Databases that belong to this process of the test run."""
    with open_databases(f"test_{process_number}", redis_number, settings) as stores:
        yield stores


@pytest.fixture
def stores(shared: Stores) -> Stores:
    """Empty databases: no tables, no collections, no keys."""
    tables = shared.postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables.fetchall():
        drop = sql.SQL("DROP TABLE IF EXISTS public.{} CASCADE")
        shared.postgres.execute(drop.format(sql.Identifier(table)))
    for name in set(shared.mongo.list_collection_names()) - {MONGO_MARKER}:
        shared.mongo.drop_collection(name)
    shared.redis.flushdb()
    return shared


@pytest.fixture
def shop_environ(stores: Stores) -> dict[str, str]:
    """The environment of a command that uses the databases of ``stores``."""
    environ = {key: value for key, value in os.environ.items() if key not in _URLS}
    return environ | environment_of(stores)


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Starts background workers, which stop before the shop named earlier in the test is reset."""
    with starting_workers() as start:
        yield start


@pytest.fixture
def own_servers() -> Iterator[EmbeddedServers]:
    """Embedded servers for one test, not started."""
    with temporary_servers() as servers:
        yield servers


_SERVERS_FOLDER = pytest.StashKey[Path]()
_RUN = pytest.StashKey[Run]()
