"""A proxy delivers bytes complete, in order and not too early, and executes its commands."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from helpers.embedded.server_processes import is_alive
from helpers.errors import ProxyError, SettingsError
from helpers.proxy import ProxyState, TcpProxy
from helpers.settings import PROJECT
from tests.proxy.servers import connect, echo, receive, serving
from tests.waiting import wait_until

ROUND_TRIP = 0.05
LARGE = 20_000_000


@pytest.fixture(scope="module")
def shared_proxy() -> Iterator[TcpProxy]:
    """A proxy to an echo server, for all tests that restore it."""
    with serving(echo) as url, TcpProxy(url) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: TcpProxy) -> Iterator[TcpProxy]:
    """The same, restored and without connections and delay, before and after the test."""
    yield shared_proxy
    shared_proxy.cut()
    shared_proxy.restore()
    shared_proxy.set_round_trip(0)
    wait_until(lambda: shared_proxy.state() == ProxyState(0, 0))


def _ends(connection: socket.socket) -> bool:
    """Tell whether the other side closed the connection without a reply."""
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def test_data_passes_in_both_directions(proxy: TcpProxy) -> None:
    with connect(proxy.url) as client:
        client.sendall(b"to and fro")
        assert receive(client, 10) == b"to and fro"


@pytest.mark.parametrize("seconds", [0.001, 0.02])
def test_no_reply_arrives_before_the_round_trip(proxy: TcpProxy, seconds: float) -> None:
    with connect(proxy.url) as client:
        for _ in range(10):
            proxy.set_round_trip(seconds)
            start = time.perf_counter()
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
            assert time.perf_counter() - start >= seconds


def test_each_direction_takes_half_of_the_round_trip() -> None:
    arrived = []

    def record(connection: socket.socket) -> None:
        receive(connection, 1)
        arrived.append(time.monotonic())
        connection.sendall(b"x")

    with serving(record) as url, TcpProxy(url, ROUND_TRIP) as proxy, connect(proxy.url) as client:
        start = time.monotonic()
        client.sendall(b"x")
        receive(client, 1)
        assert arrived[0] - start >= ROUND_TRIP / 2
        assert time.monotonic() - arrived[0] >= ROUND_TRIP / 2


def test_concurrent_requests_are_delayed_in_parallel() -> None:
    """The server replies only after it has received the last request."""
    count = 50
    seen = 0

    def reply_at_the_end(connection: socket.socket) -> None:
        nonlocal seen
        while seen < count and receive(connection, 1):
            seen += 1
        connection.sendall(b"y" * seen)

    with (
        serving(reply_at_the_end) as url,
        TcpProxy(url, ROUND_TRIP) as proxy,
        connect(proxy.url) as client,
    ):
        start = time.perf_counter()
        for _ in range(count):
            client.sendall(b"x")
            time.sleep(0.001)  # as separate chunks
        assert receive(client, count) == b"y" * count
        assert time.perf_counter() - start >= ROUND_TRIP
    assert seen == count


def test_chunks_are_buffered_together(proxy: TcpProxy) -> None:
    """The proxy accepts each chunk before it delivers the first one."""
    proxy.set_round_trip(20)
    with connect(proxy.url) as client:
        for _ in range(10):
            client.sendall(b"x")
            time.sleep(0.001)
        wait_until(lambda: proxy.state() == ProxyState(1, 10))


def test_a_shorter_round_trip_does_not_reorder_data(proxy: TcpProxy) -> None:
    with connect(proxy.url) as client:
        proxy.set_round_trip(0.4)
        start = time.perf_counter()
        client.sendall(b"first")
        wait_until(lambda: proxy.state().buffered_bytes == 5)
        proxy.set_round_trip(0)
        client.sendall(b"second")
        assert receive(client, 11) == b"firstsecond"
        assert time.perf_counter() - start >= 0.2


@pytest.mark.parametrize(
    ("seconds", "size"), [(0.01, LARGE // 10), pytest.param(0, LARGE, marks=pytest.mark.verify)]
)
def test_large_transfers_arrive_complete_in_both_directions(
    proxy: TcpProxy, seconds: float, size: int
) -> None:
    data = random.Random(1).randbytes(size)
    proxy.set_round_trip(seconds)
    with connect(proxy.url) as client:
        sender = threading.Thread(target=client.sendall, args=[data])
        sender.start()
        back = bytearray()
        while len(back) < size and (part := client.recv(1 << 20)):
            back += part
        sender.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    wait_until(lambda: proxy.state() == ProxyState(0, 0))


@pytest.mark.verify
def test_backpressure_makes_the_sender_wait() -> None:
    """The sender cannot send a hundred megabytes, and the proxy buffers only a few."""
    reading = threading.Event()
    received = 0

    def read_late(connection: socket.socket) -> None:
        nonlocal received
        reading.wait(60)
        while data := connection.recv(1 << 20):
            received += len(data)

    sent = 0
    with serving(read_late) as url, TcpProxy(url) as proxy, connect(proxy.url) as client:
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < 100_000_000:
                sent += client.send(b"x" * 65536)
        assert sent < 100_000_000
        assert proxy.state().buffered_bytes < 10_000_000
        reading.set()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert received == sent


def test_a_half_closed_connection_stays_open_in_the_other_direction() -> None:
    def reply_after_eof(connection: socket.socket) -> None:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(str(total).encode())

    with (
        serving(reply_after_eof) as url,
        TcpProxy(url, 0.01) as proxy,
        connect(proxy.url) as client,
    ):
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 5) == b"1000"
        assert _ends(client)


def test_a_cut_closes_open_and_new_connections(proxy: TcpProxy) -> None:
    with connect(proxy.url) as before:
        before.sendall(b"x")
        assert receive(before, 1) == b"x"
        proxy.cut()
        assert _ends(before)
    for _ in range(3):
        with connect(proxy.url) as during:
            assert _ends(during)
    assert proxy.state() == ProxyState(0, 0)
    proxy.restore()
    with connect(proxy.url) as after:
        after.sendall(b"x")
        assert receive(after, 1) == b"x"


def test_a_cut_discards_buffered_data() -> None:
    received = b""

    def record(connection: socket.socket) -> None:
        nonlocal received
        while data := connection.recv(100):
            received += data
            connection.sendall(data)

    with serving(record) as url, TcpProxy(url) as proxy:
        proxy.freeze()
        with connect(proxy.url) as client:
            client.sendall(b"lost")
            wait_until(lambda: proxy.state().buffered_bytes == 4)
            proxy.cut()
            proxy.restore()
            assert _ends(client)
        with connect(proxy.url) as client:
            client.sendall(b"kept")
            assert receive(client, 4) == b"kept"
    assert received == b"kept"


def test_a_frozen_proxy_accepts_data_and_delivers_it_when_restored(proxy: TcpProxy) -> None:
    with connect(proxy.url) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        proxy.freeze()
        client.sendall(b"bc")
        wait_until(lambda: proxy.state() == ProxyState(1, 2))
        with connect(proxy.url) as other:
            other.sendall(b"d")
            wait_until(lambda: proxy.state() == ProxyState(2, 3))
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.settimeout(60)
            proxy.restore()
            assert receive(client, 2) == b"bc"
            assert receive(other, 1) == b"d"


def test_a_frozen_proxy_can_be_cut(proxy: TcpProxy) -> None:
    with connect(proxy.url) as client:
        proxy.freeze()
        client.sendall(b"x")
        proxy.cut()
        assert _ends(client)


@pytest.mark.verify
def test_three_hundred_concurrent_connections(proxy: TcpProxy) -> None:
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(proxy.url)) for _ in range(300)]
        for number, client in enumerate(clients):
            client.sendall(b"%03d" % number)
        for number, client in enumerate(clients):
            assert receive(client, 3) == b"%03d" % number
        assert proxy.state() == ProxyState(300, 0)
    wait_until(lambda: proxy.state() == ProxyState(0, 0))


def test_an_unavailable_store_looks_like_a_closed_connection() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        with (
            TcpProxy(f"redis://127.0.0.1:{reserved.getsockname()[1]}") as proxy,
            connect(proxy.url) as client,
        ):
            assert _ends(client)


def test_a_unix_socket_can_be_proxied() -> None:
    with (
        # The path of a socket may have about a hundred characters.
        tempfile.TemporaryDirectory() as folder,
        serving(echo, Path(folder) / ".s.PGSQL.5433"),
        TcpProxy(f"postgresql:///shop?host={folder}&port=5433") as proxy,
        connect(proxy.url) as client,
    ):
        client.sendall(b"x")
        assert receive(client, 1) == b"x"


def test_an_invalid_round_trip_is_rejected(proxy: TcpProxy) -> None:
    proxy.set_round_trip(0.001)
    for seconds in (-0.001, math.nan, math.inf, -math.inf, 60.1):
        with pytest.raises(SettingsError, match="from 0 to 60"):
            proxy.set_round_trip(seconds)
        assert proxy.round_trip == 0.001
        with pytest.raises(SettingsError, match="from 0 to 60"):
            TcpProxy("redis://127.0.0.1", seconds)


def test_a_closed_proxy_raises_an_error() -> None:
    proxy = TcpProxy("redis://127.0.0.1:1")
    proxy.close()
    proxy.close()
    with pytest.raises(ProxyError, match="is closed: make another one"):
        proxy.cut()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy.url)


def test_a_killed_proxy_process_raises_an_error() -> None:
    with TcpProxy("redis://:secret@127.0.0.1:1") as proxy:
        proxy._process.kill()
        proxy._process.wait()
        with pytest.raises(ProxyError, match="has ended") as caught:
            proxy.freeze()
        assert "secret" not in str(caught.value)


def test_the_reply_to_an_interrupted_command_is_skipped(
    proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: TcpProxy) -> dict[str, int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TcpProxy, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            proxy.freeze()
    assert proxy.state() == ProxyState(0, 0)


def test_the_process_exits_if_the_body_fails() -> None:
    with pytest.raises(ZeroDivisionError), TcpProxy("redis://127.0.0.1:1") as proxy:
        raise ZeroDivisionError
    assert proxy._process.returncode == 0


def test_the_process_exits_if_the_proxy_is_garbage_collected() -> None:
    proxy = TcpProxy("redis://127.0.0.1:1")
    process = proxy._process
    del proxy
    assert process.wait(60) == 0


@pytest.mark.verify
@pytest.mark.parametrize("children", [0, 1])
def test_the_process_exits_if_its_parent_is_killed(children: int) -> None:
    """Also if the parent forked a child, which keeps the process's standard input open."""
    program = f"""
        import os, sys, time
        from helpers.proxy import TcpProxy
        proxy = TcpProxy("redis://127.0.0.1:1")
        child = 0
        if {children}:
            child = os.fork()
        if child or not {children}:
            print(proxy._process.pid, child, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    forwarder, child = map(int, parent.stdout.readline().split())
    process = psutil.Process(forwarder)
    assert process.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        wait_until(lambda: not is_alive(process))
    finally:
        if child:
            psutil.Process(child).kill()


def test_the_process_imports_only_the_standard_library() -> None:
    program = (
        "import runpy, sys; runpy.run_path('helpers/proxy/forwarder.py', run_name='forwarder');"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], cwd=PROJECT, capture_output=True, text=True
    )
    assert set(done.stdout.split()) <= {"__main__", "forwarder"}, done.stderr
