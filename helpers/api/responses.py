"""Answers in JSON, as they are sent: with a tag, compressed where that pays, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from helpers.api.timing_header import server_timing
from helpers.errors import StoreName
from helpers.joins.partial_answers import MissingShards
from helpers.stores.trace import Trace

_JSON = "application/json"
# What fits into a packet or two is not worth it.
_COMPRESSED_FROM = 2048
_LEVEL = 1  # level 6 takes three times as long for a list of products, to save a tenth
_AT_ONCE = 32 * 1024
# So many ids of up to 18 digits fit into a header that any client takes.
_MOST_NAMED = 200


class Content:
    """Bytes of JSON, their tag, and their compressed form, made at the first wish."""

    def __init__(self, body: bytes, tag: str | None = None) -> None:
        self.body = body
        self._tag = tag
        self._gzip: bytes | None = None

    @cached_property
    def tag(self) -> str:
        """What tells this content from any other, without quotation marks."""
        return self._tag or hashlib.sha256(self.body).hexdigest()[:32]

    async def compressed(self) -> bytes:
        """Return the body in the format of gzip."""
        if self._gzip is None:
            if len(self.body) < _AT_ONCE:
                self._gzip = _compress(self.body)
            else:
                self._gzip = await asyncio.to_thread(_compress, self.body)
        return self._gzip


@dataclass(frozen=True)
class Answer:
    """What the stores said: its content, how it was asked for, and who was missing.

    ``next`` is the id after which the next page begins. ``lost`` are the shards that did not
    answer, ``lost_products`` those that may be missing by that, as far as MongoDB knows them
    (``None``: it does not answer).

    With ``age_seconds`` it comes from views: so long ago these were known to be as PostgreSQL is,
    which does not answer.
    """

    content: Content
    trace: Trace
    missing: frozenset[StoreName] = frozenset()
    next: int | None = None
    notes: tuple[str, ...] = field(default=())
    lost: MissingShards = field(default=MissingShards())
    lost_products: tuple[int, ...] | None = None
    age_seconds: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was missing."""
        return not self.missing and not self.lost

    def missing_headers(self) -> dict[str, str]:
        """Return the headers that say what is missing."""
        found = {}
        if self.missing:
            found["X-Missing-Stores"] = ", ".join(sorted(self.missing))
        if self.lost:
            found["X-Missing-Nodes"] = ", ".join(self.lost.nodes)
            found["X-Missing-Shards"] = ", ".join(map(str, self.lost.shard_ids[:_MOST_NAMED]))
        if self.lost and self.lost_products is not None:
            found["X-Missing-Count"] = str(len(self.lost_products))
            found["X-Missing-Products"] = ", ".join(map(str, self.lost_products[:_MOST_NAMED]))
        return found


async def respond(
    request: Request, answer: Answer, *, shared: bool = False, headers: dict[str, str] | None = None
) -> Response:
    """Return the response with ``answer``: 200, or 304 where the client has it already.

    An answer without some of the stores, or of the shards, has no tag: it is not to be kept.
    """
    timing = server_timing(answer.trace, request.state.began, shared=shared)
    timing = ", ".join(part for part in (*answer.notes, timing) if part)
    sent = {"Vary": "Accept-Encoding", **(headers or {})}
    if timing:
        sent["Server-Timing"] = timing
    stores = answer.trace.round_trips
    request.state.logged = {"round_trips": {one: count for one, count in stores.items() if count}}
    if shared:
        request.state.logged["shared"] = True
    if answer.missing:
        request.state.logged["missing"] = ", ".join(sorted(answer.missing))
    if answer.lost:
        request.state.logged["missing_nodes"] = ", ".join(answer.lost.nodes)
    sent |= answer.missing_headers()
    sent["Cache-Control"] = "no-cache" if answer.is_whole else "no-store"
    if answer.age_seconds is not None:
        sent |= {"Age": str(math.ceil(answer.age_seconds)), "X-Stale": "PostgreSQL"}
        request.state.logged["stale"] = round(answer.age_seconds, 1)
    content = answer.content
    zipped = len(content.body) >= _COMPRESSED_FROM and accepts_gzip(
        request.headers.get("accept-encoding", "")
    )
    if answer.is_whole:
        # Bytes that differ have tags that differ.
        sent["ETag"] = f'"{content.tag}-gzip"' if zipped else f'"{content.tag}"'
        if matches(request.headers.get("if-none-match", ""), content.tag):
            return Response(status_code=304, headers=sent)
    if zipped:
        sent["Content-Encoding"] = "gzip"
        return Response(await content.compressed(), headers=sent, media_type=_JSON)
    return Response(content.body, headers=sent, media_type=_JSON)


def matches(if_none_match: str, tag: str) -> bool:
    """Tell whether the client names this content, compressed or not (RFC 9110, 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    named = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return f'"{tag}"' in named or f'"{tag}-gzip"' in named


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the client takes gzip (RFC 9110, 12.5.3)."""
    wishes: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.partition(";")
        quality = weight.strip().removeprefix("q=").strip()
        try:
            wishes[name.strip()] = not quality or float(quality) > 0
        except ValueError:
            wishes[name.strip()] = False
    return wishes.get("gzip", wishes.get("*", False))


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)
