"""A link by itself: bytes arrive whole, in order, not too early, and as its orders say."""

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

from helpers.embedded.server import is_alive
from helpers.errors import ProxyError, SettingsError
from helpers.proxy import ProxyState, TcpProxy
from helpers.settings import PROJECT
from tests.proxy.servers import connect, echo, receive, serving
from tests.waiting import wait_until

ROUND_TRIP = 0.05
LARGE = 20_000_000


@pytest.fixture(scope="module")
def shared_link() -> Iterator[TcpProxy]:
    """A link to a server that sends everything back, for all tests that leave it as it was."""
    with serving(echo) as url, TcpProxy(url) as link:
        yield link


@pytest.fixture
def link(shared_link: TcpProxy) -> Iterator[TcpProxy]:
    """The same, without a connection, undisturbed and without delay before and afterwards."""
    yield shared_link
    shared_link.cut()
    shared_link.restore()
    shared_link.set_round_trip(0)
    wait_until(lambda: shared_link.state() == ProxyState(0, 0))


def _ends(connection: socket.socket) -> bool:
    """Tell whether the other side closed the connection without an answer."""
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def test_what_is_sent_comes_back(link: TcpProxy) -> None:
    with connect(link.url) as client:
        client.sendall(b"to and fro")
        assert receive(client, 10) == b"to and fro"


@pytest.mark.parametrize("seconds", [0.001, 0.02])
def test_no_answer_comes_before_the_round_trip(link: TcpProxy, seconds: float) -> None:
    with connect(link.url) as client:
        for _ in range(10):
            link.set_round_trip(seconds)
            start = time.perf_counter()
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
            assert time.perf_counter() - start >= seconds


def test_each_direction_takes_half_of_it() -> None:
    arrived = []

    def note(connection: socket.socket) -> None:
        receive(connection, 1)
        arrived.append(time.monotonic())
        connection.sendall(b"x")

    with serving(note) as url, TcpProxy(url, ROUND_TRIP) as link, connect(link.url) as client:
        start = time.monotonic()
        client.sendall(b"x")
        receive(client, 1)
        assert arrived[0] - start >= ROUND_TRIP / 2
        assert time.monotonic() - arrived[0] >= ROUND_TRIP / 2


def test_requests_in_flight_together_do_not_wait_for_one_another() -> None:
    """The server answers the first only after it has seen the last: all must be on their way."""
    count = 50
    seen = 0

    def answer_at_the_end(connection: socket.socket) -> None:
        nonlocal seen
        while seen < count and receive(connection, 1):
            seen += 1
        connection.sendall(b"y" * seen)

    with (
        serving(answer_at_the_end) as url,
        TcpProxy(url, ROUND_TRIP) as link,
        connect(link.url) as client,
    ):
        start = time.perf_counter()
        for _ in range(count):
            client.sendall(b"x")
            time.sleep(0.001)  # in pieces of their own
        assert receive(client, count) == b"y" * count
        assert time.perf_counter() - start >= ROUND_TRIP
    assert seen == count


def test_pieces_wait_side_by_side(link: TcpProxy) -> None:
    """All of them are held at the same moment, so none is waited out before the next is taken."""
    link.set_round_trip(20)
    with connect(link.url) as client:
        for _ in range(10):
            client.sendall(b"x")
            time.sleep(0.001)
        wait_until(lambda: link.state() == ProxyState(1, 10))


def test_a_shorter_round_trip_lets_nothing_overtake(link: TcpProxy) -> None:
    with connect(link.url) as client:
        link.set_round_trip(0.4)
        start = time.perf_counter()
        client.sendall(b"first")
        wait_until(lambda: link.state().held_bytes == 5)
        link.set_round_trip(0)
        client.sendall(b"second")
        assert receive(client, 11) == b"firstsecond"
        assert time.perf_counter() - start >= 0.2


@pytest.mark.parametrize(
    ("seconds", "size"), [(0.01, LARGE // 10), pytest.param(0, LARGE, marks=pytest.mark.verify)]
)
def test_large_transfers_arrive_whole_in_both_directions(
    link: TcpProxy, seconds: float, size: int
) -> None:
    data = random.Random(1).randbytes(size)
    link.set_round_trip(seconds)
    with connect(link.url) as client:
        sender = threading.Thread(target=client.sendall, args=[data])
        sender.start()
        back = bytearray()
        while len(back) < size and (part := client.recv(1 << 20)):
            back += part
        sender.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    wait_until(lambda: link.state() == ProxyState(0, 0))


@pytest.mark.verify
def test_one_who_does_not_read_makes_the_sender_wait() -> None:
    """The sender cannot get rid of a hundred megabytes, and the relay holds only a few."""
    reading = threading.Event()
    received = 0

    def read_late(connection: socket.socket) -> None:
        nonlocal received
        reading.wait(60)
        while data := connection.recv(1 << 20):
            received += len(data)

    sent = 0
    with serving(read_late) as url, TcpProxy(url) as link, connect(link.url) as client:
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < 100_000_000:
                sent += client.send(b"x" * 65536)
        assert sent < 100_000_000
        assert link.state().held_bytes < 10_000_000
        reading.set()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert received == sent


def test_the_end_of_one_direction_leaves_the_other_open() -> None:
    def answer_after_the_end(connection: socket.socket) -> None:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(str(total).encode())

    with (
        serving(answer_after_the_end) as url,
        TcpProxy(url, 0.01) as link,
        connect(link.url) as client,
    ):
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 5) == b"1000"
        assert _ends(client)


def test_a_cut_closes_what_is_open_and_refuses_what_is_new(link: TcpProxy) -> None:
    with connect(link.url) as before:
        before.sendall(b"x")
        assert receive(before, 1) == b"x"
        link.cut()
        assert _ends(before)
    for _ in range(3):
        with connect(link.url) as during:
            assert _ends(during)
    assert link.state() == ProxyState(0, 0)
    link.restore()
    with connect(link.url) as after:
        after.sendall(b"x")
        assert receive(after, 1) == b"x"


def test_a_cut_throws_away_what_was_on_its_way() -> None:
    received = b""

    def note(connection: socket.socket) -> None:
        nonlocal received
        while data := connection.recv(100):
            received += data
            connection.sendall(data)

    with serving(note) as url, TcpProxy(url) as link:
        link.freeze()
        with connect(link.url) as client:
            client.sendall(b"lost")
            wait_until(lambda: link.state().held_bytes == 4)
            link.cut()
            link.restore()
            assert _ends(client)
        with connect(link.url) as client:
            client.sendall(b"kept")
            assert receive(client, 4) == b"kept"
    assert received == b"kept"


def test_a_frozen_link_takes_everything_and_delivers_it_when_it_is_restored(link: TcpProxy) -> None:
    with connect(link.url) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        link.freeze()
        client.sendall(b"bc")
        wait_until(lambda: link.state() == ProxyState(1, 2))
        with connect(link.url) as other:
            other.sendall(b"d")
            wait_until(lambda: link.state() == ProxyState(2, 3))
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.settimeout(60)
            link.restore()
            assert receive(client, 2) == b"bc"
            assert receive(other, 1) == b"d"


def test_a_frozen_link_can_be_cut(link: TcpProxy) -> None:
    with connect(link.url) as client:
        link.freeze()
        client.sendall(b"x")
        link.cut()
        assert _ends(client)


@pytest.mark.verify
def test_three_hundred_connections_at_once(link: TcpProxy) -> None:
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(link.url)) for _ in range(300)]
        for number, client in enumerate(clients):
            client.sendall(b"%03d" % number)
        for number, client in enumerate(clients):
            assert receive(client, 3) == b"%03d" % number
        assert link.state() == ProxyState(300, 0)
    wait_until(lambda: link.state() == ProxyState(0, 0))


def test_a_store_that_is_not_there_looks_like_a_closed_connection() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        with (
            TcpProxy(f"redis://127.0.0.1:{reserved.getsockname()[1]}") as link,
            connect(link.url) as client,
        ):
            assert _ends(client)


def test_a_unix_socket_is_reached() -> None:
    with (
        # The path of a socket may have about a hundred characters.
        tempfile.TemporaryDirectory() as folder,
        serving(echo, Path(folder) / ".s.PGSQL.5433"),
        TcpProxy(f"postgresql:///shop?host={folder}&port=5433") as link,
        connect(link.url) as client,
    ):
        client.sendall(b"x")
        assert receive(client, 1) == b"x"


def test_a_round_trip_that_cannot_be_is_refused(link: TcpProxy) -> None:
    link.set_round_trip(0.001)
    for seconds in (-0.001, math.nan, math.inf, -math.inf, 60.1):
        with pytest.raises(SettingsError, match="from 0 to 60"):
            link.set_round_trip(seconds)
        assert link.round_trip == 0.001
        with pytest.raises(SettingsError, match="from 0 to 60"):
            TcpProxy("redis://127.0.0.1", seconds)


def test_a_closed_link_says_so() -> None:
    link = TcpProxy("redis://127.0.0.1:1")
    link.close()
    link.close()
    with pytest.raises(ProxyError, match="is closed: make another one"):
        link.cut()
    with pytest.raises(ConnectionRefusedError):
        connect(link.url)


def test_a_relay_that_was_killed_is_noticed() -> None:
    with TcpProxy("redis://:secret@127.0.0.1:1") as link:
        link._process.kill()
        link._process.wait()
        with pytest.raises(ProxyError, match="has ended") as caught:
            link.freeze()
        assert "secret" not in str(caught.value)


def test_an_interrupted_order_does_not_shift_the_answers(
    link: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: TcpProxy) -> dict[str, int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TcpProxy, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            link.freeze()
    assert link.state() == ProxyState(0, 0)


def test_the_relay_ends_when_the_body_fails() -> None:
    with pytest.raises(ZeroDivisionError), TcpProxy("redis://127.0.0.1:1") as link:
        raise ZeroDivisionError
    assert link._process.returncode == 0


def test_the_relay_ends_with_a_link_that_was_forgotten() -> None:
    link = TcpProxy("redis://127.0.0.1:1")
    process = link._process
    del link
    assert process.wait(60) == 0


@pytest.mark.verify
@pytest.mark.parametrize("children", [0, 1])
def test_no_relay_outlives_a_parent_that_was_killed(children: int) -> None:
    """Nor where the parent forked a child, which has the relay's input open still."""
    program = f"""
        import os, sys, time
        from helpers.proxy import TcpProxy
        link = TcpProxy("redis://127.0.0.1:1")
        child = 0
        if {children}:
            child = os.fork()
        if child or not {children}:
            print(link._process.pid, child, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    relay, child = map(int, parent.stdout.readline().split())
    process = psutil.Process(relay)
    assert process.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        wait_until(lambda: not is_alive(process))
    finally:
        if child:
            psutil.Process(child).kill()


def test_the_relay_imports_nothing_but_the_standard_library() -> None:
    program = (
        "import runpy, sys; runpy.run_path('helpers/proxy/forwarder.py', run_name='relay');"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], cwd=PROJECT, capture_output=True, text=True
    )
    assert set(done.stdout.split()) <= {"__main__", "relay"}, done.stderr
