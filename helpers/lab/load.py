"""How much an HTTP server of ours takes: callers that ask it, and what became of their requests."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import re
import subprocess
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from helpers.errors import LoadError, SettingsError
from helpers.settings import redact

#: The most callers at the same time: each has a connection, and a process has only so many.
MOST_CALLERS = 1000

_CALLERS = Path(__file__).with_name("load_clients.py")
_DEFAULT_SECONDS = 5.0
_HTTP_PORT = 80
_VISIBLE = re.compile(r"[!-~]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_HEADER_VALUE = re.compile(r"[ -~\t\xa0-\xff]*")


@dataclass(frozen=True)
class Load:
    """What ``callers`` found who asked at the same time, each one request after the other.

    ``requests`` is how many were asked; those of ``failures`` had no good answer, counted by what
    came instead: a status from 400 on, such as ``"503"``, or ``"connection broken"``, ``"no
    answer"`` (in time), ``"no connection"``, ``"not HTTP"``. ``bytes`` were received, heads
    included. ``seconds`` go from the first request to the last answer. ``latencies`` has for each
    good answer the seconds from sending the request to having read the whole body, in the order in
    which they came. ``cpu_seconds`` is the processor time of the callers themselves: where it comes
    near to ``seconds``, they were what held the server up.
    """

    callers: int
    requests: int
    failures: Mapping[str, int]
    bytes: int
    seconds: float
    latencies: tuple[float, ...] = field(repr=False)
    cpu_seconds: float

    @property
    def failed(self) -> int:
        """How many requests had no good answer."""
        return sum(self.failures.values())

    @property
    def requests_per_second(self) -> float:
        """How many good answers came in a second."""
        return len(self.latencies) / self.seconds if self.seconds > 0 else 0.0

    def percentile(self, percent: float) -> float:
        """Return the seconds within which ``percent`` % of the good answers came.

        It is one of the latencies (the nearest rank), and NaN where there was no good answer.
        """
        if not self.latencies:
            return math.nan
        rank = math.ceil(len(self._sorted) * percent / 100)
        return self._sorted[min(max(rank, 1), len(self._sorted)) - 1]

    @property
    def p50(self) -> float:
        """The seconds within which half of the good answers came."""
        return self.percentile(50)

    @property
    def p95(self) -> float:
        """The seconds within which 95 % of the good answers came."""
        return self.percentile(95)

    @property
    def p99(self) -> float:
        """The seconds within which 99 % of the good answers came."""
        return self.percentile(99)

    @cached_property
    def _sorted(self) -> list[float]:
        return sorted(self.latencies)


def measure(
    url: str | Sequence[str],
    *,
    callers: int,
    seconds: float | None = None,
    requests: int | None = None,
    headers: Mapping[str, str] | None = None,
    warm_up: int = 0,
    patience: float = 120.0,
) -> Load:
    """Let ``callers`` ask for ``url`` at the same time, and return what they found.

    Each has one connection that it keeps, and asks again as soon as it has read the whole answer.
    Of several addresses, all of one server, each caller asks for one after the other, beginning
    where its own number says. The callers are a process of their own.

    After ``seconds`` nobody asks again, nor once there were ``requests`` in all, whichever comes
    first; 5 seconds where neither is given. Each caller asks once at least, unless there are fewer
    requests than callers. What is under way then is waited for, and counts, and so does the time
    until the last answer: a rate is answers that were read, divided by the time that it took to
    give them. Of an answer that takes longer than the window nothing is cut off, and nothing is
    guessed. (While the last answers are waited for, some callers have nothing to do any more. Where
    the server could have answered them meanwhile, its rate is higher than what is returned, and the
    longer the window, the less so.)

    Before that, ``warm_up`` requests for each caller are asked, and do not count.

    A request that has no answer after ``patience`` seconds is given up. Its caller asks no more,
    and neither does one that finds nothing to connect to for ten seconds: a measurement ends, also
    where the server hangs or dies.

    Raises ``SettingsError`` where the address is not plain HTTP on this very machine, or a number
    is not what it must be, and ``LoadError`` where nothing listens at the address.
    """
    addresses = [url] if isinstance(url, str) else list(url)
    host, port, requests_as_text = _requests(addresses, headers or {})
    if seconds is None and requests is None:
        seconds = _DEFAULT_SECONDS
    _check("callers", callers, 1, MOST_CALLERS)
    _check("seconds", seconds, 0.001, 86_400)
    _check("requests", requests, 1, 100_000_000)
    _check("warm_up", warm_up, 0, 100_000)
    _check("patience", patience, 0.001, 86_400)
    found, latencies = _let_them_call(
        addresses[0],
        {
            "host": host,
            "port": port,
            "requests": requests_as_text,
            "callers": callers,
            "warm_up": warm_up,
            "most": requests,
            "seconds": seconds,
            "patience": patience,
        },
    )
    return Load(callers=callers, latencies=tuple(latencies), **found)


def _let_them_call(url: str, order: dict[str, Any]) -> tuple[dict[str, Any], array[float]]:
    output = b""
    with contextlib.suppress(BrokenPipeError):  # where the process has ended early
        output = _run_callers(json.dumps(order).encode())
    line, _, latencies = output.partition(b"\n")
    found: dict[str, Any] = json.loads(line) if line else {}
    if "refused" in found:
        raise LoadError(
            f"Nothing can be asked at {url}: {found['refused']}. Start the server (`python -m "
            "helpers serve`), and take the address that it prints."
        )
    if found.pop("latencies", None) != len(latencies):
        raise LoadError(
            "The process of the callers has ended before its time; something else stopped it. "
            "Measure again."
        )
    return found, array("d", latencies)


def _run_callers(order: bytes) -> bytes:
    # Isolated: what lies in the working directory is not imported. In a session of its own: an
    # interrupt meant for us is none for it; we end it ourselves.
    with subprocess.Popen(
        [sys.executable, "-I", _CALLERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Headers may hold a token: they go by the input, and stand on no command line.
            process.stdin.write(order + b"\n")
            process.stdin.flush()
            return process.stdout.read()
        finally:
            process.kill()  # it has ended by itself, unless we were interrupted


def _requests(addresses: Sequence[str], headers: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """Return where the one server of all ``addresses`` is, and the request for each."""
    if not addresses:
        raise SettingsError("There is nothing to measure: give an address, or several.")
    parts = [_split(address) for address in addresses]
    servers = {(_loopback(one), one.port or _HTTP_PORT) for one in parts}
    if len(servers) > 1:
        raise SettingsError(
            "The addresses to measure lead to more than one server, and each caller has one "
            "connection: measure one server after the other."
        )
    ((host, port),) = servers
    lines = "".join(f"{_header(name, value)}\r\n" for name, value in headers.items())
    return host, port, [f"{_first_lines(one)}{lines}\r\n" for one in parts]


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        plain = parts.scheme == "http" and parts.username is None and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not _VISIBLE.fullmatch(address):
        raise SettingsError(
            f"{redact(address)!r} cannot be measured: give an address of the form "
            "http://127.0.0.1:port/path, without a password, with other characters than ASCII's "
            "percent-encoded."
        )
    return parts._replace(path=parts.path or "/")


def _loopback(parts: SplitResult) -> str:
    """Return where to connect to. Load is for servers of our own: nobody else asked for it."""
    host = parts.hostname or ""
    if host == "localhost":
        return "127.0.0.1"  # whatever the system takes it for
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise SettingsError(
        f"{host!r} may be somebody else's computer, and is not put under load: measure a server "
        "on this one, at 127.0.0.1 or ::1."
    )


def _first_lines(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return f"GET {parts.path}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"


def _header(name: str, value: str) -> str:
    if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
        raise SettingsError(
            f"The header {name!r} cannot be sent: its name must be of letters, digits and hyphens, "
            "its value one line of printable characters."
        )
    return f"{name}: {value}"


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise SettingsError(
            f"{name} is {value}, and must be from {low:g} to {high:,.10g}: give another number."
        )
