"""Load test an HTTP server on this machine with concurrent clients."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from helpers.errors import LoadError, SettingsError
from helpers.settings import redact

#: The maximum number of clients, limited by the connections that a process can open.
MAX_CLIENTS = 1000

_CLIENTS_PROGRAM = Path(__file__).with_name("load_clients.py")
_DEFAULT_SECONDS = 5.0
_HTTP_PORT = 80
_VISIBLE = re.compile(r"[!-~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_HEADER_VALUE = re.compile(r"[ -~\t\xa0-\xff]*")


@dataclass(frozen=True)
class Load:
    """The result of a load test by ``clients`` concurrent clients.

    ``requests`` is the number of requests sent. ``failures`` counts the failed ones by cause: a
    status from 400 on, such as ``"503"``, or ``"connection broken"``, ``"timeout"``, ``"no
    connection"``, ``"not HTTP"``. ``bytes`` were received, headers included. ``seconds`` is the
    time from the first request to the last response. ``latencies`` are the seconds from sending a
    request to reading the whole body, for each successful response, in the order of arrival.
    ``cpu_seconds`` is the CPU time of the clients: if it is close to ``seconds``, the clients were
    the bottleneck.
    """

    clients: int
    requests: int
    failures: Mapping[str, int]
    bytes: int
    seconds: float
    latencies: tuple[float, ...] = field(repr=False)
    cpu_seconds: float

    @property
    def failed(self) -> int:
        """The number of failed requests."""
        return sum(self.failures.values())

    @property
    def requests_per_second(self) -> float:
        """The number of successful responses per second."""
        return len(self.latencies) / self.seconds if self.seconds > 0 else 0.0

    def percentile(self, percent: float) -> float:
        """Return the latency, in seconds, of the given percentile of the successful responses.

        It is one of the latencies (nearest rank), or NaN without a successful response.
        """
        if not self.latencies:
            return math.nan
        rank = math.ceil(len(self._sorted) * percent / 100)
        return self._sorted[min(max(rank, 1), len(self._sorted)) - 1]

    @property
    def p50(self) -> float:
        """The median latency, in seconds."""
        return self.percentile(50)

    @property
    def p95(self) -> float:
        """The 95th percentile of the latencies, in seconds."""
        return self.percentile(95)

    @cached_property
    def _sorted(self) -> list[float]:
        return sorted(self.latencies)


def measure(
    url: str | Sequence[str],
    *,
    clients: int,
    seconds: float | None = None,
    requests: int | None = None,
    headers: Mapping[str, str] | None = None,
    warm_up: int = 0,
    timeout: float = 120.0,
) -> Load:
    """Send GET requests to ``url`` with concurrent ``clients``, and return the results.

    Each client keeps one connection, and sends the next request as soon as it has read the whole
    response. Of several addresses, all on one server, each client requests one after the other,
    starting at a different one. The clients run in a separate process.

    No client starts a request after ``seconds``, nor after ``requests`` requests in all, whichever
    comes first; the default is 5 seconds. Each client sends at least one request, unless there are
    fewer requests than clients. Requests in flight at the end are awaited and counted, with the
    time they take. (Meanwhile some clients are idle, so the measured rate is slightly too low; the
    longer the test, the less.)

    Before the test, each client sends ``warm_up`` requests, which are not counted.

    A request fails if there is no response after ``timeout`` seconds. Its client stops, as does one
    that cannot connect for ten seconds, so the test ends even if the server hangs or dies.

    Raises ``SettingsError`` if the address is not plain HTTP on this machine or a number is out of
    range, and ``LoadError`` if nothing listens at the address.
    """
    addresses = [url] if isinstance(url, str) else list(url)
    host, port, requests_as_text = _requests(addresses, headers or {})
    if seconds is None and requests is None:
        seconds = _DEFAULT_SECONDS
    _check("clients", clients, 1, MAX_CLIENTS)
    _check("seconds", seconds, 0.001, 86_400)
    _check("requests", requests, 1, 100_000_000)
    _check("warm_up", warm_up, 0, 100_000)
    _check("timeout", timeout, 0.001, 86_400)
    found = _run_clients(
        addresses[0],
        {
            "host": host,
            "port": port,
            "requests": requests_as_text,
            "clients": clients,
            "warm_up": warm_up,
            "most": requests,
            "seconds": seconds,
            "timeout": timeout,
        },
    )
    return Load(clients=clients, **found | {"latencies": tuple(found["latencies"])})


def _run_clients(url: str, job: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(_run_process(json.dumps(job).encode()))
    except (BrokenPipeError, json.JSONDecodeError):
        raise LoadError(
            "The clients' process ended early, because something else stopped it: measure again."
        ) from None
    if "refused" in found:
        raise LoadError(
            f"No server responds at {url}: {found['refused']}. Start it (`python -m helpers "
            "serve`), and use the address that it prints."
        )
    return found


def _run_process(job: bytes) -> bytes:
    # -I: modules in the working directory are not imported. A new session: an interrupt of this
    # process does not reach it, and is handled below.
    with subprocess.Popen(
        [sys.executable, "-I", _CLIENTS_PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Headers may contain a token, so they must not appear on the command line.
            process.stdin.write(job + b"\n")
            process.stdin.flush()
            return process.stdout.read()
        finally:
            process.kill()  # it has ended already, unless we were interrupted


def _requests(addresses: Sequence[str], headers: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """Return host and port of the server, and the request for each of ``addresses``."""
    if not addresses:
        raise SettingsError("There is nothing to measure: give one or more addresses.")
    parts = [_split(address) for address in addresses]
    servers = {(_loopback(part), part.port or _HTTP_PORT) for part in parts}
    if len(servers) > 1:
        raise SettingsError(
            "The addresses to measure belong to more than one server, but each client has one "
            "connection: measure one server at a time."
        )
    ((host, port),) = servers
    lines = "".join(f"{_header(name, value)}\r\n" for name, value in headers.items())
    return host, port, [f"{_first_lines(part)}{lines}\r\n" for part in parts]


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        plain = parts.scheme == "http" and parts.username is None and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not _VISIBLE.fullmatch(address):
        raise SettingsError(
            f"{redact(address)!r} cannot be measured: give an address of the form "
            "http://127.0.0.1:port/path, without a password, with non-ASCII characters "
            "percent-encoded."
        )
    return parts._replace(path=parts.path or "/")


def _loopback(parts: SplitResult) -> str:
    """Return the host to connect to. Other computers are never put under load."""
    host = parts.hostname or ""
    if host == "localhost":
        return "127.0.0.1"  # however the system resolves it
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise SettingsError(
        f"{host!r} may be another computer, and is not put under load: measure a server on this "
        "one, at 127.0.0.1 or ::1."
    )


def _first_lines(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return f"GET {parts.path}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"


def _header(name: str, value: str) -> str:
    if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
        raise SettingsError(
            f"The header {name!r} cannot be sent: give a name of letters, digits and hyphens, "
            "and a value of one line of printable characters."
        )
    return f"{name}: {value}"


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise SettingsError(f"{name} is {value}: give a number from {low:g} to {high:,.10g}.")
