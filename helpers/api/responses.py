"""JSON responses to reads: ETag, compression, ``Server-Timing``, and headers for missing parts."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from helpers.errors import StoreName
from helpers.joins.partial_answers import MissingShards
from helpers.stores.trace import STORES, Trace

_JSON = "application/json"
# A shorter body fits into one or two packets anyway.
_MIN_COMPRESSED_BYTES = 2048
_LEVEL = 1  # level 6 takes three times as long for a list of products, and saves a tenth
# A longer body is compressed in a thread, so that other requests do not wait.
_MAX_INLINE_BYTES = 32 * 1024
# This many ids of up to 18 digits fit into a header that any client accepts.
_MAX_LISTED = 200
_MAX_TIMED_REQUESTS = 24


class JSONBody:
    """The bytes of a JSON body, their ETag, and their compressed form, made when first needed."""

    def __init__(self, content: bytes, etag: str | None = None) -> None:
        self.content = content
        self._etag = etag
        self._gzip: bytes | None = None

    @cached_property
    def etag(self) -> str:
        """The ETag without quotation marks: a hash of the content."""
        return self._etag or hashlib.sha256(self.content).hexdigest()[:32]

    async def compressed(self) -> bytes:
        """Return the content in gzip's format."""
        if self._gzip is None:
            if len(self.content) < _MAX_INLINE_BYTES:
                self._gzip = _compress(self.content)
            else:
                self._gzip = await asyncio.to_thread(_compress, self.content)
        return self._gzip


@dataclass(frozen=True)
class ReadResult:
    """What was read from the stores: the JSON body, the trace, and what is missing from it.

    ``missing`` names the stores that were unavailable, ``lost`` the shards. ``lost_products`` are
    the products that may be missing with these shards, according to MongoDB (``None`` if it is
    unavailable). ``next`` is the id after which the next page begins.

    ``age_seconds`` is set if the read model stands in for PostgreSQL: the time since its views
    were last known to agree with it. ``shared`` is true if another request did the reading.
    ``timing_notes`` are further entries of ``Server-Timing``.
    """

    body: JSONBody
    trace: Trace
    missing: frozenset[StoreName] = frozenset()
    next: int | None = None
    timing_notes: tuple[str, ...] = field(default=())
    lost: MissingShards = field(default=MissingShards())
    lost_products: tuple[int, ...] | None = None
    age_seconds: float | None = None
    shared: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether no store and no shard is missing."""
        return not self.missing and not self.lost

    def missing_headers(self) -> dict[str, str]:
        """Return the headers that name what is missing."""
        headers = {}
        if self.missing:
            headers["X-Missing-Stores"] = ", ".join(sorted(self.missing))
        if self.lost:
            headers["X-Missing-Nodes"] = ", ".join(self.lost.nodes)
            headers["X-Missing-Shards"] = ", ".join(map(str, self.lost.shard_ids[:_MAX_LISTED]))
        if self.lost and self.lost_products is not None:
            headers["X-Missing-Count"] = str(len(self.lost_products))
            headers["X-Missing-Products"] = ", ".join(map(str, self.lost_products[:_MAX_LISTED]))
        return headers


async def json_response(
    request: Request, result: ReadResult, *, headers: dict[str, str] | None = None
) -> Response:
    """Return the response with ``result``, or 304 if its ETag is in ``If-None-Match``.

    An incomplete result has no ETag and must not be cached.
    """
    _log_result(request, result)
    sent = {"Vary": "Accept-Encoding", **(headers or {}), **result.missing_headers()}
    timing = server_timing(result.trace, request.state.began, shared=result.shared)
    if timing := ", ".join(part for part in (*result.timing_notes, timing) if part):
        sent["Server-Timing"] = timing
    sent["Cache-Control"] = "no-cache" if result.is_complete else "no-store"
    if result.age_seconds is not None:
        sent |= {"Age": str(math.ceil(result.age_seconds)), "X-Stale": "PostgreSQL"}
    body = result.body
    zipped = len(body.content) >= _MIN_COMPRESSED_BYTES and accepts_gzip(
        _listed(request, "accept-encoding")
    )
    if result.is_complete:
        # A strong ETag identifies the bytes, so the compressed form has another one.
        sent["ETag"] = f'"{body.etag}-gzip"' if zipped else f'"{body.etag}"'
        if etag_matches(_listed(request, "if-none-match"), body.etag):
            return Response(status_code=304, headers=sent)
    if zipped:
        sent["Content-Encoding"] = "gzip"
        return Response(await body.compressed(), headers=sent, media_type=_JSON)
    return Response(body.content, headers=sent, media_type=_JSON)


def _listed(request: Request, name: str) -> str:
    """Return a header that has a list: on one line or on several (RFC 9110, 5.3)."""
    return ", ".join(request.headers.getlist(name))


def server_timing(trace: Trace, began: float, *, shared: bool = False) -> str:
    """Return the value of ``Server-Timing`` for a request that began at ``began``.

    ``began`` is a time on ``perf_counter()``. For each store there is an entry with the number of
    its round trips and their duration, then one for each of the first 24 round trips with its
    start, in milliseconds. ``start`` is not in the standard: other clients ignore it. ``shared``
    adds an entry for a result that several requests shared. https://www.w3.org/TR/server-timing/
    """
    spans = trace.spans
    offset = trace.beginning - began
    entries = []
    for store in STORES:
        seconds = [span.end_seconds - span.start_seconds for span in spans if span.store == store]
        if seconds:
            trips = f"{len(seconds)} round trip" + ("s" if len(seconds) > 1 else "")
            entries.append(f'{store.lower()};dur={1000 * sum(seconds):.2f};desc="{trips}"')
    if shared:
        entries.append('shared;desc="with another request"')
    numbers: Counter[str] = Counter()
    for span in spans[:_MAX_TIMED_REQUESTS]:
        numbers[span.store] += 1
        start = 1000 * (span.start_seconds + offset)
        duration = 1000 * (span.end_seconds - span.start_seconds)
        name = f"{span.store.lower()}-{numbers[span.store]}"
        entries.append(f'{name};dur={duration:.2f};start={start:.2f};desc="{span.name}"')
    return ", ".join(entries)


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Tell whether ``If-None-Match`` names this ETag, compressed or not (RFC 9110, 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    listed = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return f'"{etag}"' in listed or f'"{etag}-gzip"' in listed


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether ``Accept-Encoding`` allows gzip, and does not prefer no compression.

    See RFC 9110, 12.5.3. ``x-gzip`` is another name of gzip.
    """
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=").strip() or 1)
        except ValueError:
            quality = 0.0
        weights[name.strip().removeprefix("x-")] = quality
    weight_of_gzip = weights.get("gzip", weights.get("*", 0.0))
    return weight_of_gzip > 0 and weight_of_gzip >= weights.get("identity", 0.0)


def _log_result(request: Request, result: ReadResult) -> None:
    counts = result.trace.round_trips
    fields: dict[str, object] = {
        "round_trips": {store: count for store, count in counts.items() if count}
    }
    if result.shared:
        fields["shared"] = True
    if result.missing:
        fields["missing"] = ", ".join(sorted(result.missing))
    if result.lost:
        fields["missing_nodes"] = ", ".join(result.lost.nodes)
    if result.age_seconds is not None:
        fields["stale"] = round(result.age_seconds, 1)
    request.state.logged = fields


def _compress(content: bytes) -> bytes:
    return gzip.compress(content, _LEVEL, mtime=0)
