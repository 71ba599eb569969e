"""The course's own servers: started once, healed after any crash, stopped without a trace."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from helpers.servers import EmbeddedServers
from helpers.servers.postgres import PostgresNode
from helpers.stores import open_shop
from helpers.stores.stores import Stores
from tests.servers.driving import (
    NAMES,
    kill,
    pids,
    processes_below,
    run,
    temporary_servers,
)

pytestmark = pytest.mark.servers


def _write(stores: Stores, value: str) -> None:
    stores.postgres.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
    stores.postgres.execute("INSERT INTO kept VALUES (%s)", [value])
    stores.mongo.kept.insert_one({"value": value})
    stores.redis.rpush("kept", value)


def _read(stores: Stores) -> dict[str, list[Any]]:
    return {
        "PostgreSQL": [row[0] for row in stores.postgres.execute("SELECT * FROM kept")],
        "MongoDB": [document["value"] for document in stores.mongo.kept.find().sort("_id")],
        "Redis": list(stores.redis.lrange("kept", 0, -1)),
    }


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedServers]:
    """Servers that the tests of this module share; each test leaves them so that they can heal."""
    with temporary_servers() as servers:
        open_shop(servers.settings).close()
        yield servers


def test_a_first_connection_starts_everything(running: EmbeddedServers) -> None:
    assert sorted(pids(running)) == sorted(NAMES)


def test_products_and_status_give_the_same_answer_after_every_server_was_killed(
    running: EmbeddedServers,
) -> None:
    home = running.settings.home
    assert run(home, "seed", "--products", "5").returncode == 0
    products = run(home, "products", "--json")
    status = run(home, "status", "--json")
    assert json.loads(products.stdout)[0]["name"] == "Laptop A"
    for arguments, before in ((["products", "--json"], products), (["status", "--json"], status)):
        kill(pids(running))
        after = run(home, *arguments)
        assert (after.returncode, after.stdout) == (0, before.stdout), after.stderr


@pytest.mark.parametrize("victims", [*([name] for name in NAMES), NAMES], ids=" ".join)
def test_no_acknowledged_write_is_lost_by_a_kill(
    victims: list[str], running: EmbeddedServers
) -> None:
    """What was acknowledged before the servers were killed is there afterwards."""
    acknowledged = []
    with open_shop(running.settings) as stores:
        stores.postgres.execute("DROP TABLE IF EXISTS kept")
        stores.mongo.kept.drop()
        stores.redis.delete("kept")
        for number in range(20):
            _write(stores, str(number))
            acknowledged.append(str(number))
        before = pids(running)
        kill({name: before[name] for name in victims})
    with open_shop(running.settings) as stores:
        assert _read(stores) == dict.fromkeys(("PostgreSQL", "MongoDB", "Redis"), acknowledged)
    after = pids(running)
    assert {name for name in NAMES if before[name] != after[name]} == set(victims)


def test_a_postmaster_whose_number_went_to_another_process_heals(running: EmbeddedServers) -> None:
    """After a reboot, the process id in PostgreSQL's lock may belong to anybody."""
    node = running.server("worker1")
    kill({"worker1": pids(running)["worker1"]})
    lock = node.directory / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    open_shop(running.settings).close()
    assert "worker1" in pids(running)


def test_down_leaves_no_process_and_data_survive(running: EmbeddedServers) -> None:
    home = running.settings.home
    with open_shop(running.settings) as stores:
        stores.redis.set("survivor", "yes")
    assert run(home, "down").returncode == 0
    assert processes_below(home) == []
    stopped = run(home, "status")
    assert stopped.returncode == 2
    assert "are not running" in stopped.stderr
    assert run(home, "down").returncode == 0, "down twice is harmless"
    assert run(home, "up").returncode == 0
    with open_shop(running.settings) as stores:
        assert stores.redis.get("survivor") == "yes"


def test_ports_are_remembered(running: EmbeddedServers) -> None:
    before = running.up()
    running.down()
    assert running.up() == before


def test_only_the_owner_gets_in(running: EmbeddedServers) -> None:
    """Loopback only, a password everywhere, and no secret that another user may read."""
    addresses = running.up()
    home = running.settings.home
    for pid in pids(running).values():
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1"
    for process in processes_below(home):
        for password in (url.split("@")[0].rpartition(":")[2] for url in _urls(addresses)):
            assert password not in " ".join(process.cmdline())
    others = stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP | stat.S_IWGRP
    for path in (home, home / "servers.json", home / "postgres" / "passfile", *home.iterdir()):
        assert not path.stat().st_mode & others, path
    for pattern in ("log/*", "mongo/secantusd.toml"):
        for file in home.glob(pattern):
            text = file.read_text("utf-8", "replace")
            for url in _urls(addresses):
                assert url.split("@")[0].rpartition(":")[2] not in text


def _urls(addresses: Any) -> list[str]:
    return [addresses.coordinator, addresses.mongo, addresses.redis]


@pytest.mark.parametrize("name", NAMES)
def test_no_server_answers_without_its_password(name: str, running: EmbeddedServers) -> None:
    running.up()
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

        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    else:
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


def test_a_third_worker_is_added_and_remembered(running: EmbeddedServers) -> None:
    home = running.settings.home
    assert run(home, "up", "--workers", "3").returncode == 0
    status = json.loads(run(home, "status", "--json").stdout)
    assert len(status["postgres"]["workers"]) == 3
    fewer = run(home, "up", "--workers", "2")
    assert fewer.returncode == 2
    assert "There are 3 workers" in fewer.stderr
    assert run(home, "up", "--workers", "0").returncode == 2


def test_a_port_in_use_is_named(running: EmbeddedServers) -> None:
    running.down()
    port = running.server("redis").port
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(running.settings.home, "up")
    assert done.returncode == 2
    assert f"redis cannot start: its port {port} is in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    running.up()


def test_data_of_another_postgres_are_refused_and_untouched(running: EmbeddedServers) -> None:
    running.down()
    node = running.server("worker2")
    assert isinstance(node, PostgresNode)
    version = node.directory / "PG_VERSION"
    original = version.read_text()
    version.write_text("15\n")
    try:
        done = run(running.settings.home, "up")
        assert done.returncode == 2
        assert "was made by PostgreSQL 15" in done.stderr
        assert version.read_text() == "15\n"
    finally:
        version.write_text(original)
    running.up()
