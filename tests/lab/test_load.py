"""Load tests: the clients send the requested load, count failures, and end."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from helpers.embedded.server_processes import is_alive
from helpers.errors import LoadError, SettingsError
from helpers.lab.load import MAX_CLIENTS, Load, measure
from helpers.settings import PROJECT
from tests.lab.apps import BODY, Site, site
from tests.proxy.servers import port_of, serving
from tests.waiting import wait_until

RunningSite = tuple[Site, str]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningSite]:
    with site() as both:
        yield both


@pytest.fixture
def server(running: RunningSite) -> RunningSite:
    """A server without recorded requests, and its address."""
    running[0].forget()
    return running


def _load(*latencies: float, seconds: float = 1.0, **failures: int) -> Load:
    requests = len(latencies) + sum(failures.values())
    return Load(1, requests, failures, 0, seconds, latencies, 0.0)


@pytest.mark.parametrize(("clients", "requests"), [(1, 1), (16, 100), (8, 3)])
def test_exactly_the_requested_number_of_requests_is_sent(
    server: RunningSite, clients: int, requests: int
) -> None:
    app, url = server
    load = measure(url, clients=clients, requests=requests)
    assert (load.clients, load.requests, load.failures) == (clients, requests, {})
    assert app.paths == {"/": requests}
    assert len(load.latencies) == requests
    assert min(load.latencies) > 0
    assert load.bytes > requests * len(BODY)
    assert load.requests_per_second == requests / load.seconds


def test_each_client_keeps_one_connection(server: RunningSite) -> None:
    app, url = server
    measure(url, clients=5, requests=100, warm_up=2)
    assert len(app.clients) == 5


def test_clients_send_requests_concurrently() -> None:
    """The server responds when all clients are there, so sequential requests would never end."""
    with site(concurrent=20) as (_, url):
        load = measure(f"{url}/together", clients=20, requests=60)
    assert (load.requests, load.failures) == (60, {})


def test_requests_in_flight_at_the_end_are_counted() -> None:
    with site(delay=0.2) as (app, url):
        load = measure(f"{url}/late", clients=3, seconds=0.001)
    assert app.paths == {"/late": 3}
    assert (load.requests, load.failures) == (3, {})
    assert min(load.latencies) >= 0.2
    assert load.seconds >= max(load.latencies)


def test_the_test_ends_with_the_last_request(server: RunningSite) -> None:
    _, url = server
    load = measure(url, clients=2, seconds=600, requests=10)
    assert load.requests == 10


def test_the_test_lasts_for_the_requested_time(server: RunningSite) -> None:
    _, url = server
    load = measure(url, clients=2, seconds=0.3)
    assert load.requests == len(load.latencies) >= 2
    assert load.seconds >= 0.3


def test_the_warm_up_is_not_counted(server: RunningSite) -> None:
    app, url = server
    load = measure(url, clients=4, requests=10, warm_up=3)
    assert load.requests == len(load.latencies) == 10
    assert app.paths == {"/": 10 + 4 * 3}


def test_each_client_requests_all_addresses_in_turn(server: RunningSite) -> None:
    app, url = server
    measure([f"{url}/a", f"{url}/b?c=%20", f"{url}/d#e"], clients=1, requests=9)
    measure([f"{url}/f", f"{url}/g"], clients=2, requests=2)
    assert app.paths == {"/a": 3, "/b": 3, "/d": 3, "/f": 1, "/g": 1}


def test_headers_are_sent(server: RunningSite) -> None:
    app, url = server
    measure(url, clients=1, requests=1, headers={"If-None-Match": '"abc"', "X-Name": "né"})
    assert app.headers[0][b"if-none-match"] == b'"abc"'
    assert app.headers[0][b"x-name"] == "né".encode("latin-1")
    assert app.headers[0][b"host"].decode() in url


def test_an_error_status_is_a_failure_without_a_latency(server: RunningSite) -> None:
    _, url = server
    paths = ("", "/status/503", "/status/304", "/status/400", "/status/503")
    load = measure([url + path for path in paths], clients=1, requests=10)
    assert load.failures == {"503": 4, "400": 2}
    assert load.failed == 6
    assert load.requests == 10
    assert len(load.latencies) == 4
    assert load.requests_per_second == 4 / load.seconds


def test_a_broken_connection_is_a_failure_and_the_client_continues(server: RunningSite) -> None:
    _, url = server
    load = measure([f"{url}/broken", url], clients=2, requests=8)
    assert load.failures == {"connection broken": 4}
    assert len(load.latencies) == 4


def test_an_immediately_closed_connection_is_a_failure() -> None:
    with serving(lambda _: None) as address:
        load = measure(f"http://127.0.0.1:{port_of(address)}", clients=2, requests=6)
    assert load.failures == {"connection broken": 6}


def test_chunked_responses_are_read_completely(server: RunningSite) -> None:
    app, url = server
    load = measure(f"{url}/chunks", clients=2, requests=10)
    assert (load.requests, load.failures) == (10, {})
    assert len(app.clients) == 2


def test_a_connection_closed_after_the_response_is_not_a_failure(server: RunningSite) -> None:
    app, url = server
    load = measure(f"{url}/closed", clients=2, requests=10)
    assert (load.requests, load.failures) == (10, {})
    assert len(app.clients) >= 10


def test_the_test_ends_if_the_server_never_responds(server: RunningSite) -> None:
    app, url = server
    load = measure(f"{url}/never", clients=3, requests=1_000_000, timeout=0.3)
    assert load.failures == {"timeout": 3}
    assert load.requests == 3
    wait_until(lambda: app.paths["/never"] == 3)
    assert load.requests_per_second == 0
    assert math.isnan(load.p50)


@pytest.mark.verify
def test_the_test_ends_if_the_server_dies() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    clients = 3

    def respond_once_and_die() -> None:
        connections = [listener.accept()[0] for _ in range(clients)]
        listener.close()
        for connection in connections:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.close()

    thread = threading.Thread(target=respond_once_and_die)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    load = measure(url, clients=clients, requests=1_000_000, timeout=3)
    thread.join()
    assert len(load.latencies) == clients
    assert load.failures["no connection"] == clients
    assert load.failed + len(load.latencies) == load.requests < 1_000_000


def test_a_response_that_is_not_http_is_a_failure() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"-ERR unknown command\r\n")

    with serving(talk) as address:
        load = measure(f"http://127.0.0.1:{port_of(address)}", clients=1, requests=2)
    assert load.failures == {"not HTTP": 2}


def test_a_refused_connection_raises_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadError, match=f"127.0.0.1:{port}: Connection refused"):
        measure(f"http://127.0.0.1:{port}", clients=2)


def test_killed_clients_raise_an_error(server: RunningSite) -> None:
    app, url = server
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(measure, f"{url}/never", clients=2)
        wait_until(lambda: app.paths["/never"] == 2)
        for child in psutil.Process().children():
            # A process started by another test may just have ended.
            with contextlib.suppress(psutil.Error):
                if "load_clients.py" in " ".join(child.cmdline()):
                    child.kill()
        with pytest.raises(LoadError, match="ended early"):
            load.result()


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.verify)]
)
def test_clients_end_when_their_parent_dies(server: RunningSite, end: signal.Signals) -> None:
    app, url = server
    code = f"from helpers.lab.load import measure; measure('{url}/never', clients=2)"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stderr=subprocess.DEVNULL
    ) as parent:
        wait_until(lambda: app.paths["/never"] == 2)
        (clients,) = psutil.Process(parent.pid).children()
        parent.send_signal(end)
    wait_until(lambda: not is_alive(clients))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://192.0.2.1:8000/",
        "http://0.0.0.0:8000/",
        "http://[::]/",
        "http://10.0.0.1/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http:///api",
    ],
)
def test_other_computers_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="may be another computer"):
        measure(url, clients=1, requests=1)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "127.0.0.1:8000",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX-Forged: 1",
        "http://127.0.0.1/é",
        "",
    ],
)
def test_invalid_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="cannot be measured"):
        measure(url, clients=1, requests=1)


def test_passwords_are_redacted_from_errors() -> None:
    with pytest.raises(SettingsError) as caught:
        measure("http://user:secret@127.0.0.1/", clients=1)
    assert "secret" not in str(caught.value)


def test_addresses_of_several_servers_are_refused() -> None:
    with pytest.raises(SettingsError, match="more than one server"):
        measure(["http://127.0.0.1:1/", "http://127.0.0.1:2/"], clients=1)
    with pytest.raises(SettingsError, match="nothing to measure"):
        measure([], clients=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clients": 0},
        {"clients": MAX_CLIENTS + 1},
        {"clients": 1, "seconds": 0},
        {"clients": 1, "seconds": math.nan},
        {"clients": 1, "seconds": math.inf},
        {"clients": 1, "requests": 0},
        {"clients": 1, "warm_up": -1},
        {"clients": 1, "timeout": 0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="give a number from"):
        measure("http://127.0.0.1:1/", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [("X: 1", ""), ("", "1"), ("X", "1\r\nY: 2"), ("X", "☃")])
def test_invalid_headers_are_refused(header: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="cannot be sent"):
        measure("http://127.0.0.1:1/", clients=1, headers=dict([header]))


def test_percentiles_are_measured_latencies() -> None:
    load = _load(*(rank / 1000 for rank in range(200, 0, -1)), seconds=4)
    assert (load.p50, load.p95, load.percentile(99)) == (0.1, 0.19, 0.198)
    assert (load.percentile(0), load.percentile(100)) == (0.001, 0.2)
    assert load.requests_per_second == 50
    assert _load(0.3).p50 == _load(0.3).percentile(99) == 0.3


def test_percentiles_are_nan_without_a_successful_response() -> None:
    load = _load(seconds=0, broken=3)
    assert math.isnan(load.p95)
    assert (load.requests_per_second, load.failed) == (0, 3)
