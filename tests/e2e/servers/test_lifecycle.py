"""The life cycle of the embedded servers: start, recover after a crash, stop."""

from __future__ import annotations

import json
import socketserver
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import psycopg
import pytest

from helpers.embedded import EmbeddedServers
from helpers.embedded.mongo_valkey_servers import DocumentServer
from helpers.embedded.postgres_server import PostgresNode
from helpers.embedded.server_processes import processes_below
from helpers.errors import ServerError
from helpers.shop import open_shop
from helpers.shop.schema import drop_shop
from tests.e2e.servers.server_helpers import (
    NAMES,
    kill_processes,
    main_pids,
    run_command,
    run_program,
    shared_servers,
)

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> EmbeddedServers:
    """Servers that the tests share; after a test they run, or the next start recovers them."""
    return shared_servers(request.session)


def test_the_first_connection_starts_all_servers(running: EmbeddedServers) -> None:
    assert sorted(main_pids(running)) == sorted(NAMES)


@pytest.fixture
def emptied(running: EmbeddedServers) -> Iterator[EmbeddedServers]:
    """The servers with an empty shop, before the test and after it."""
    for number in range(2):
        with open_shop(running.settings) as stores:
            drop_shop(stores)
        if number == 0:
            yield running


@pytest.mark.verify
def test_products_and_status_print_the_same_after_all_servers_were_killed(
    emptied: EmbeddedServers,
) -> None:
    data_folder = emptied.settings.data_folder
    assert run_command(data_folder, "seed", "--products", "5").returncode == 0
    for arguments in (["products", "--json"], ["status", "--json"]):
        before = run_command(data_folder, *arguments)
        assert before.returncode == 0
        kill_processes(main_pids(emptied))
        after = run_program(data_folder, *arguments)
        assert (after.returncode, after.stdout) == (0, before.stdout), after.stderr
    assert (
        json.loads(run_command(data_folder, "products", "--json").stdout)[0]["name"] == "Laptop A"
    )


def test_a_postmaster_starts_if_its_process_id_belongs_to_another_process(
    running: EmbeddedServers,
) -> None:
    """After a reboot, the process id in PostgreSQL's lock file may be that of any process."""
    node = running.server("worker1")
    before = main_pids(running)
    kill_processes({"worker1": before["worker1"]})
    lock = node.directory / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(before["worker2"]), *lines[1:]]) + "\n")
    open_shop(running.settings).close()
    assert main_pids(running) == before | {"worker1": main_pids(running)["worker1"]}


def test_down_ends_all_processes_and_keeps_data_and_ports(running: EmbeddedServers) -> None:
    data_folder = running.settings.data_folder
    before = running.up()
    with open_shop(running.settings) as stores:
        stores.redis.set("survivor", "yes")
    assert run_command(data_folder, "down").returncode == 0
    assert processes_below(data_folder) == []
    stopped = run_command(data_folder, "status")
    assert stopped.returncode == 2
    assert "are not running" in stopped.stderr
    assert run_command(data_folder, "down").returncode == 0, "a second down changes nothing"
    up = run_command(data_folder, "up")
    assert up.returncode == 0, up.stderr
    with open_shop(running.settings) as stores:
        assert stores.redis.getdel("survivor") == "yes"
    assert running.running() == (before, running.folder.read().prepared)  # type: ignore[union-attr]


def test_only_the_owner_has_access(running: EmbeddedServers) -> None:
    """Servers listen on loopback only, and no other user can read a password."""
    addresses = running.up()
    data_folder = running.settings.data_folder
    for pid in main_pids(running).values():
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1"
    for process in processes_below(data_folder):
        for password in (url.split("@")[0].rpartition(":")[2] for url in _urls(addresses)):
            assert password not in " ".join(process.cmdline())
    others = stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP | stat.S_IWGRP
    for path in (
        data_folder,
        data_folder / "servers.json",
        data_folder / "postgres" / "passfile",
        *data_folder.iterdir(),
    ):
        assert not path.stat().st_mode & others, path
    for pattern in ("log/*", "mongo/secantusd.toml"):
        for file in data_folder.glob(pattern):
            text = file.read_text("utf-8", "replace")
            for url in _urls(addresses):
                assert url.split("@")[0].rpartition(":")[2] not in text


def _urls(addresses: Any) -> list[str]:
    return [addresses.coordinator, addresses.mongo, addresses.redis]


@pytest.mark.parametrize("name", NAMES)
def test_no_server_accepts_a_client_without_the_password(
    name: str, running: EmbeddedServers
) -> None:
    port = running.server(name).port
    if name == "mongo":
        import pymongo
        from pymongo.errors import OperationFailure

        with (
            pymongo.MongoClient[dict[str, Any]](
                f"mongodb://127.0.0.1:{port}/?directConnection=true"
            ) as client,
            pytest.raises(OperationFailure, match="requires authentication"),
        ):
            client.admin.command("listDatabases")
    elif name == "redis":
        import redis

        stranger = redis.Redis.from_url(f"redis://127.0.0.1:{port}")
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    else:
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


class _OtherProgram(socketserver.TCPServer):
    """A program that accepts connections and closes them."""

    allow_reuse_address = True


def test_the_error_names_a_port_in_use(running: EmbeddedServers) -> None:
    server = running.server("redis")
    server.kill()
    with _OtherProgram(("127.0.0.1", server.port), socketserver.BaseRequestHandler) as other:
        serving = threading.Thread(target=other.serve_forever, args=[0.01])
        serving.start()
        done = run_command(running.settings.data_folder, "up")
        other.shutdown()
        serving.join()
    assert done.returncode == 2
    assert f"redis cannot start: its port {server.port} is in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    running.up()


def test_data_of_another_postgresql_version_is_refused_and_not_changed(
    running: EmbeddedServers,
) -> None:
    node = running.server("worker2")
    assert isinstance(node, PostgresNode)
    node.kill()
    version = node.directory / "PG_VERSION"
    original = version.read_text()
    version.write_text("15\n")
    try:
        with pytest.raises(ServerError, match="was made by PostgreSQL 15"):
            running.up()
        assert version.read_text() == "15\n"
    finally:
        version.write_text(original)
    running.up()


@pytest.mark.verify
def test_acknowledged_writes_are_on_disk_if_durability_is_on(running: EmbeddedServers) -> None:
    names = ("coordinator", "mongo", "redis")
    durable = replace(running.settings, durable=True)
    mongo = running.server("mongo")
    assert isinstance(mongo, DocumentServer)
    kill_processes({name: main_pids(running)[name] for name in names})
    try:
        with open_shop(durable) as stores:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                row = stores.postgres.execute("SELECT current_setting(%s)", [name]).fetchone()
                assert row == ("on",), name
            assert stores.redis.config_get("append*")["appendonly"] == "yes"
            assert stores.redis.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert "method=fsync" in (mongo.directory / "WiredTiger.config").read_text()
    finally:
        kill_processes({name: main_pids(running)[name] for name in names})
        running.up()
    assert "method=none" in (mongo.directory / "WiredTiger.config").read_text()
