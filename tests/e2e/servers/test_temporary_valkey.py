"""The temporary key-value server: kill and restart it; it leaves no process and no file."""

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
from helpers.embedded.server import input_pipe
from helpers.embedded.server_processes import is_alive
from helpers.embedded.temporary_valkey import TemporaryValkey, temporary_valkey
from helpers.errors import ServerError
from helpers.settings import PROJECT
from tests.waiting import wait_until

pytestmark = pytest.mark.servers

_END_SECONDS = 20


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def _assert_removed(server: TemporaryValkey) -> None:
    assert server.processes() == []
    assert not server.folder.path.exists()
    assert is_free(server.port)


@pytest.mark.parametrize("password", [True, pytest.param(False, marks=pytest.mark.verify)])
def test_acknowledged_writes_survive_a_kill(password: bool) -> None:
    with temporary_valkey(password=password) as server, _client(server.url) as client:
        before = server.url
        for round_ in range(3):
            for number in range(50):
                client.rpush("kept", f"{round_}:{number}")
            server.kill()
            assert server.processes() == []
            with _client(server.url) as late, pytest.raises(redis.ConnectionError):
                late.ping()
            server.start()
        assert server.url == before
        assert client.llen("kept") == 150
    _assert_removed(server)


def test_nothing_survives_a_kill_without_the_append_only_file() -> None:
    with temporary_valkey(append_only=False) as server, _client(server.url) as client:
        client.set("kept", "1")
        server.kill()
        server.start()
        assert client.get("kept") is None


def test_a_second_kill_or_start_changes_nothing() -> None:
    with temporary_valkey() as server, _client(server.url) as client:
        server.start()
        (killed,) = server.processes()
        server.kill()
        server.kill()
        server.start()
        server.start()
        assert client.ping()
        assert [process.pid for process in server.processes()] != [killed.pid]


def test_memory_limit_and_policy_hold_after_a_kill() -> None:
    with (
        temporary_valkey(
            maxmemory=8 << 20, policy="allkeys-lfu", settings={"maxmemory-samples": 10}
        ) as server,
        _client(server.url) as client,
    ):
        for _ in range(2):
            assert client.config_get("maxmemory*") | {
                "maxmemory": str(8 << 20),
                "maxmemory-policy": "allkeys-lfu",
                "maxmemory-samples": "10",
            } == client.config_get("maxmemory*")
            server.kill()
            server.start()


def test_it_listens_on_loopback_and_requires_the_password() -> None:
    with temporary_valkey() as server:
        password = urlsplit(server.url).password
        assert password
        with (
            redis.Redis.from_url(f"redis://127.0.0.1:{server.port}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        for process in server.processes():
            assert password not in " ".join(process.cmdline())
            for connection in psutil.Process(process.pid).net_connections("inet"):
                assert connection.laddr.ip == "127.0.0.1"
        for file in server.folder.path.rglob("*"):
            assert not file.is_file() or password.encode() not in file.read_bytes()
        assert password not in repr(server)
        assert not server.folder.path.stat().st_mode & 0o077


def test_several_servers_run_at_the_same_time() -> None:
    with temporary_valkey() as first, temporary_valkey() as second:
        assert first.port != second.port
        with _client(first.url) as writer, _client(second.url) as reader:
            writer.set("key", "value")
            assert reader.get("key") is None


def test_it_is_removed_if_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), temporary_valkey() as server:
        _ = 1 / 0
    _assert_removed(server)


def test_the_error_names_a_refused_setting() -> None:
    with (
        pytest.raises(ServerError, match="maxmemory-policy") as caught,
        temporary_valkey(settings={"maxmemory-policy": "oldest-first"}),
    ):
        pytest.fail("the server started")
    assert "stopped while starting" in str(caught.value)


def test_the_error_names_a_port_taken_by_another_program() -> None:
    with temporary_valkey() as server:
        server.kill()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", server.port))
            other.listen()
            with pytest.raises(ServerError, match=f"its port {server.port} was taken"):
                server.start()
        server.start()


def test_another_port_is_chosen_if_one_is_taken_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([False])
    monkeypatch.setattr("helpers.embedded.server.is_free", lambda _: next(answers, True))
    with temporary_valkey() as server:
        assert server.folder.path.name == "attempt-2"
        assert _client(server.url).ping()


def test_deleting_a_missing_folder_changes_nothing(tmp_path: Path) -> None:
    delete_with_processes(tmp_path / "missing")


def test_the_input_of_a_server_is_complete_before_it_starts() -> None:
    """With half of its settings, it would start on another port, without its password."""
    with input_pipe("port 1\n", close=True) as source:
        assert [os.read(source, 100), os.read(source, 100)] == [b"port 1\n", b""]


_STARTER = """
import time
from helpers.embedded.temporary_valkey import temporary_valkey
with temporary_valkey() as server:
    print(server.folder.path, server.processes()[0].pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.verify
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_if_the_process_that_started_it_is_killed(sign: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        folder, pid = starter.stdout.readline().split()
        process = psutil.Process(int(pid))
        assert Path(folder).parent == Path(tempfile.gettempdir()).resolve()
        os.kill(starter.pid, sign)
    wait_until(lambda: not (Path(folder).exists() or is_alive(process)), _END_SECONDS)
