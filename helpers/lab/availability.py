"""Monitor the availability of a service during an outage, with requests at a constant rate.

Clients that wait for a response before they send the next request send fewer requests the slower
the service becomes, and so underestimate an outage (coordinated omission). The monitor starts a
request at a fixed interval, whether or not earlier ones have been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import httpx

from helpers.errors import LoadError, SettingsError

#: ``whole``: a complete response; ``partial``: without a store or a node, or stale; ``refused``: a
#: 503 response; ``none``: another error, or no response in time.
Kind = Literal["whole", "partial", "refused", "none"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_MAX_CONNECTIONS = 200
_REFUSED, _ERROR = 503, 400
_PARTIAL_HEADERS = ("X-Missing-Stores", "X-Missing-Nodes", "X-Stale")
_JOIN_SECONDS = 60.0


@dataclass(frozen=True)
class Sample:
    """One request: its start, in seconds since monitoring started, its duration, its outcome."""

    began: float
    seconds: float
    kind: Kind

    @property
    def ended(self) -> float:
        """When the response was complete, in seconds since monitoring started."""
        return self.began + self.seconds


@dataclass
class Availability:
    """The samples, in the order of their start, and the events marked meanwhile (``marks``).

    ``start`` is when monitoring started, on ``time.perf_counter()``.
    """

    samples: list[Sample] = field(default_factory=list, repr=False)
    marks: list[tuple[float, str]] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter, repr=False)

    def mark(self, event: str) -> float:
        """Record that ``event`` happens now; return the seconds since monitoring started."""
        moment = time.perf_counter() - self.start
        self.marks.append((moment, event))
        return moment

    def counts(self, begin: float = 0.0, end: float = float("inf")) -> dict[Kind, int]:
        """Return the number of outcomes of each kind, of requests started from begin to end."""
        found = Counter(sample.kind for sample in self.samples if begin <= sample.began < end)
        return {kind: found[kind] for kind in KINDS}

    def slowest(self, begin: float = 0.0, end: float = float("inf")) -> float:
        """Return the longest duration, in seconds, of requests started from begin to end."""
        durations = (s.seconds for s in self.samples if begin <= s.began < end)
        return max(durations, default=0.0)

    def recovery(self, moment: float) -> float | None:
        """Return how many seconds after ``moment`` all requests got a whole response again.

        Returns ``None`` if they do not yet.
        """
        lacking = [sample.began for sample in self.samples if sample.kind != "whole"]
        last = max((began for began in lacking if began >= moment), default=moment)
        first = next((s for s in self.samples if s.began > last and s.kind == "whole"), None)
        return None if first is None else first.ended - moment


@contextlib.contextmanager
def monitor(
    url: str | Sequence[str], *, interval: float = 0.05, timeout: float = 20.0
) -> Iterator[Availability]:
    """Send a GET request to ``url`` every ``interval`` seconds, and yield the samples.

    Several addresses are requested in turn. Requests are sent by a background thread. At the end
    no further request is started; those in flight are awaited for up to ``timeout`` seconds.

    Raises ``SettingsError`` if ``interval`` is not from 0.005 to 60 seconds, and ``LoadError`` if
    the requests in flight do not end.
    """
    if not 0.005 <= interval <= 60:
        raise SettingsError(f"interval is {interval} s: give from 0.005 to 60.")
    urls = [url] if isinstance(url, str) else list(url)
    found = Availability()
    stopping = threading.Event()

    def run() -> None:
        asyncio.run(_send_requests(urls, interval, timeout, found, stopping))

    thread = threading.Thread(target=run, name="availability", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join(timeout + _JOIN_SECONDS)
    if thread.is_alive():
        raise LoadError("Requests to the service do not end: stop it, and monitor it again.")
    found.samples.sort(key=lambda sample: sample.began)


async def _send_requests(
    urls: Sequence[str],
    interval: float,
    timeout: float,
    found: Availability,
    stopping: threading.Event,
) -> None:
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS)
    start = found.start
    async with (
        httpx.AsyncClient(timeout=timeout, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        count = 0
        while not stopping.is_set():
            group.create_task(_send(client, urls[count % len(urls)], start, found))
            count += 1
            # Sleep until a fixed time: fixed pauses would add up to a drift.
            await asyncio.sleep(max(0.0, start + count * interval - time.perf_counter()))


async def _send(client: httpx.AsyncClient, url: str, start: float, found: Availability) -> None:
    began = time.perf_counter()
    kind: Kind = "none"
    with contextlib.suppress(httpx.HTTPError):
        kind = _kind(await client.get(url))
    found.samples.append(Sample(began - start, time.perf_counter() - began, kind))


def _kind(response: httpx.Response) -> Kind:
    if response.status_code == _REFUSED:
        return "refused"
    if response.status_code >= _ERROR:
        return "none"
    return "partial" if any(name in response.headers for name in _PARTIAL_HEADERS) else "whole"
