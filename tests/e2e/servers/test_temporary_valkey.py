"""The spare key-value server: it can be killed and started again, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from helpers.embedded.cleanup_process import delete_with_processes
from helpers.embedded.data_folder import is_free
from helpers.embedded.server import input_pipe, is_alive
from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.errors import ServerError
from helpers.settings import PROJECT
from tests.waiting import wait_until

pytestmark = pytest.mark.servers

_GONE_SECONDS = 20


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def _assert_gone(spare: TemporaryValkey) -> None:
    assert spare.processes() == []
    assert not spare.folder.path.exists()
    assert is_free(spare.port)


@pytest.mark.parametrize("password", [True, pytest.param(False, marks=pytest.mark.verify)])
def test_acknowledged_writes_survive_a_kill(password: bool) -> None:
    with temporary_valkey(password=password) as spare, _client(spare.url) as client:
        before = spare.url
        for round_ in range(3):
            for number in range(50):
                client.rpush("kept", f"{round_}:{number}")
            spare.kill()
            assert spare.processes() == []
            with _client(spare.url) as late, pytest.raises(redis.ConnectionError):
                late.ping()
            spare.start()
        assert spare.url == before
        assert client.llen("kept") == 150
    _assert_gone(spare)


def test_nothing_survives_a_kill_without_the_append_only_file() -> None:
    with temporary_valkey(append_only=False) as spare, _client(spare.url) as client:
        client.set("kept", "1")
        spare.kill()
        spare.start()
        assert client.get("kept") is None


def test_killed_twice_and_started_twice_is_harmless() -> None:
    with temporary_valkey() as spare, _client(spare.url) as client:
        spare.start()
        (process,) = spare.processes()
        spare.kill()
        spare.kill()
        spare.start()
        spare.start()
        assert client.ping()
        assert [one.pid for one in spare.processes()] != [process.pid]


def test_memory_limit_and_policy_hold_after_a_kill() -> None:
    with (
        temporary_valkey(
            maxmemory=8 << 20, policy="allkeys-lfu", settings={"maxmemory-samples": 10}
        ) as spare,
        _client(spare.url) as client,
    ):
        for _ in range(2):
            assert client.config_get("maxmemory*") | {
                "maxmemory": str(8 << 20),
                "maxmemory-policy": "allkeys-lfu",
                "maxmemory-samples": "10",
            } == client.config_get("maxmemory*")
            spare.kill()
            spare.start()


def test_only_this_machine_gets_in_and_only_with_the_password() -> None:
    with temporary_valkey() as spare:
        password = urlsplit(spare.url).password
        assert password
        with (
            redis.Redis.from_url(f"redis://127.0.0.1:{spare.port}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        for process in spare.processes():
            assert password not in " ".join(process.cmdline())
            for connection in psutil.Process(process.pid).net_connections("inet"):
                assert connection.laddr.ip == "127.0.0.1"
        for file in spare.folder.path.rglob("*"):
            assert not file.is_file() or password.encode() not in file.read_bytes()
        assert password not in repr(spare)
        assert not spare.folder.path.stat().st_mode & 0o077


def test_several_run_side_by_side() -> None:
    with temporary_valkey() as one, temporary_valkey() as other:
        assert one.port != other.port
        with _client(one.url) as first, _client(other.url) as second:
            first.set("whose", "one")
            assert second.get("whose") is None


def test_it_ends_when_the_body_raises() -> None:
    with pytest.raises(ZeroDivisionError), temporary_valkey() as spare:
        _ = 1 / 0
    _assert_gone(spare)


def test_a_setting_that_the_server_refuses_is_named() -> None:
    with (
        pytest.raises(ServerError, match="maxmemory-policy") as caught,
        temporary_valkey(settings={"maxmemory-policy": "oldest-first"}),
    ):
        pytest.fail("it started")
    assert "stopped while starting" in str(caught.value)


def test_a_port_that_was_taken_meanwhile_is_named() -> None:
    with temporary_valkey() as spare:
        spare.kill()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", spare.port))
            taken.listen()
            with pytest.raises(ServerError, match=f"its port {spare.port} was taken"):
                spare.start()
        spare.start()


def test_clearing_away_what_is_gone_is_harmless(tmp_path: Path) -> None:
    delete_with_processes(tmp_path / "gone")


def test_what_a_server_reads_is_complete_before_it_is_started() -> None:
    """One that read the half of its settings would start on another port, without its password."""
    with input_pipe("port 1\n", close=True) as source:
        assert [os.read(source, 100), os.read(source, 100)] == [b"port 1\n", b""]


_MAKER = """
import time
from helpers.embedded.temporary_valkey import temporary_valkey
with temporary_valkey() as spare:
    print(spare.folder.path, spare.processes()[0].pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.verify
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_it_does_not_outlive_its_maker(sign: signal.Signals) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", _MAKER],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with maker:
        assert maker.stdout is not None
        folder, pid = maker.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert Path(folder).parent == Path(tempfile.gettempdir()).resolve()
        os.kill(maker.pid, sign)
    wait_until(lambda: not (Path(folder).exists() or is_alive(server)), _GONE_SECONDS)
