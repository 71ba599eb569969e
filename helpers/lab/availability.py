"""What a service answers through an outage: asked at a steady pace, whatever became of the last.

Callers who wait for their answer before they ask again would ask less, the worse it goes, and so
make an outage look small. Here a question begins every few hundredths of a second.
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

#: ``whole``: everything that was asked for; ``partial``: without a store or a node, or stale;
#: ``refused``: told that it does not go now; ``none``: an error, or no answer in time.
Kind = Literal["whole", "partial", "refused", "none"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_MOST_CONNECTIONS = 200
_REFUSED, _ERROR = 503, 400
_LACKING = ("X-Missing-Stores", "X-Missing-Nodes", "X-Stale")
_JOIN_SECONDS = 60.0


@dataclass(frozen=True)
class Asked:
    """One question: when it began (seconds since the watch did), how long it took, what came."""

    began: float
    seconds: float
    kind: Kind

    @property
    def ended(self) -> float:
        """When the answer was there."""
        return self.began + self.seconds


@dataclass
class Availability:
    """What was asked, in order of beginning, and what happened meanwhile (``marks``).

    ``start`` is when the watch began, on ``time.perf_counter()``.
    """

    asked: list[Asked] = field(default_factory=list, repr=False)
    marks: list[tuple[float, str]] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter, repr=False)

    def mark(self, what: str) -> float:
        """Note that ``what`` happens now; return the seconds since the watch began."""
        moment = time.perf_counter() - self.start
        self.marks.append((moment, what))
        return moment

    def counts(self, begin: float = 0.0, end: float = float("inf")) -> dict[Kind, int]:
        """Return how many answers there were of each kind to what was asked from begin to end."""
        found = Counter(one.kind for one in self.asked if begin <= one.began < end)
        return {kind: found[kind] for kind in KINDS}

    def slowest(self, begin: float = 0.0, end: float = float("inf")) -> float:
        """Return the longest seconds that an answer took, of what was asked from begin to end."""
        return max((one.seconds for one in self.asked if begin <= one.began < end), default=0.0)

    def recovery(self, moment: float) -> float | None:
        """Return after how many seconds from ``moment`` every question was answered whole.

        ``None``: it has not been yet.
        """
        lacking = [one.began for one in self.asked if one.kind != "whole"]
        last = max((began for began in lacking if began >= moment), default=moment)
        first = next((one for one in self.asked if one.began > last and one.kind == "whole"), None)
        return None if first is None else first.ended - moment


@contextlib.contextmanager
def watching(
    url: str | Sequence[str], *, every: float = 0.05, patience: float = 20.0
) -> Iterator[Availability]:
    """Ask for ``url`` every so many seconds, in a thread, and yield what is found.

    Of several addresses, one is asked for after the other, and so again from the first.
    At the end nobody asks any more; what is under way is waited for, up to ``patience`` seconds.

    Raises ``SettingsError`` where ``every`` is not from 0.005 to 60 seconds, and ``LoadError``
    where the one who asks has ended before.
    """
    if not 0.005 <= every <= 60:
        raise SettingsError(f"Nobody can ask every {every} s: give from 0.005 to 60.")
    urls = [url] if isinstance(url, str) else list(url)
    found = Availability()
    stopping = threading.Event()

    def run() -> None:
        asyncio.run(_ask_steadily(urls, every, patience, found, stopping))

    thread = threading.Thread(target=run, name="availability", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join(patience + _JOIN_SECONDS)
    if thread.is_alive():
        raise LoadError("Questions to the service have no end: stop it, and watch again.")
    found.asked.sort(key=lambda one: one.began)


async def _ask_steadily(
    urls: Sequence[str],
    every: float,
    patience: float,
    found: Availability,
    stopping: threading.Event,
) -> None:
    limits = httpx.Limits(max_connections=_MOST_CONNECTIONS)
    start = found.start
    async with (
        httpx.AsyncClient(timeout=patience, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        turn = 0
        while not stopping.is_set():
            group.create_task(_ask(client, urls[turn % len(urls)], start, found))
            turn += 1
            # By the clock, and not by pauses: those would add up.
            await asyncio.sleep(max(0.0, start + turn * every - time.perf_counter()))


async def _ask(client: httpx.AsyncClient, url: str, start: float, found: Availability) -> None:
    began = time.perf_counter()
    kind: Kind = "none"
    with contextlib.suppress(httpx.HTTPError):
        kind = _kind(await client.get(url))
    found.asked.append(Asked(began - start, time.perf_counter() - began, kind))


def _kind(response: httpx.Response) -> Kind:
    if response.status_code == _REFUSED:
        return "refused"
    if response.status_code >= _ERROR:
        return "none"
    return "partial" if any(name in response.headers for name in _LACKING) else "whole"
