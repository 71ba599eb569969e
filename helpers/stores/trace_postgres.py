"""Trace PostgreSQL: each time that psycopg waits for a reply is one round trip.

psycopg implements its protocol as generators, which it runs in ``Connection.wait()``: each yields
whether it waits to read or to write. A round trip is a wait to read after something was sent. This
counts what the driver really does, whichever method was called: also the ``BEGIN`` that it sends
before a statement, or the preparation before a statement's sixth execution.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.sql import Composable
from psycopg.waiting import Wait

from helpers.stores.trace import RoundTrip, Trace

Result = TypeVar("Result")

# The names of the local variables in psycopg's generators that hold what they send.
_REQUESTS = ("command", "query", "statement")
# The generator that sends one request and reads its reply; in Python or in C.
_EXECUTES = {"execute", "_execute"}
_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)


class TracedConnection(psycopg.Connection):
    """A connection whose round trips are recorded if ``tracer`` is set."""

    tracer: PostgresTrace | None = None

    def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        if self.tracer is not None:
            gen = self.tracer.record(gen, self.pgconn)
        return super().wait(gen, *args, **kwargs)


class PostgresTrace:
    """Records the round trips of one connection, blocking or async."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._execute: object = None
        self._name = "statement"
        self._sent_at: float | None = None  # something was sent, and no reply was awaited yet
        self._current: RoundTrip | None = None

    def record(self, gen: PQGen[Result], pgconn: PGconn) -> PQGen[Result]:
        """Return a generator that runs ``gen`` on ``pgconn`` and records its round trips."""
        resumed = time.perf_counter()
        was_active = _is_active(pgconn)
        if self._sent_at is None and pgconn.pipeline_status != PipelineStatus.OFF:
            self._name = "pipeline"
        request = _request(gen)
        ready: Any = None
        has_read = False
        try:
            while True:
                try:
                    state = gen.send(ready)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                self._record_wait(gen, state, resumed)
                has_read = has_read or state == Wait.R
                ready = yield state
                resumed = time.perf_counter()
        finally:
            active = _is_active(pgconn)
            if self._sent_at is not None and not active:
                self._receive()  # the reply arrived before the driver waited for it
                has_read = True
            elif self._sent_at is None and self._current is None and active > was_active:
                self._send(request, resumed)  # a stream: what follows only reads
            if self._current is not None and has_read:
                self._current.extend()
            if not active:
                self._current = None

    def _record_wait(self, gen: Generator[Any, Any, Any], state: Wait, resumed: float) -> None:
        """Record that the driver, resumed at ``resumed``, is about to wait for ``state``.

        ``gen`` is the outermost generator; each one refers to the one that it delegates to.
        """
        name, execute = "", None
        inner: Any = gen
        while inner is not None and execute is None:
            name = _request(inner) or name
            execute = inner if inner.__name__ in _EXECUTES else None
            inner = getattr(inner, "gi_yieldfrom", None)
        if execute is not None and execute is not self._execute:
            self._execute = execute  # kept alive, so that no later one has its identity
            self._send(name, resumed)
        elif state != Wait.R and self._sent_at is None:
            self._send(name, resumed)
        if state == Wait.R and self._sent_at is not None:
            self._receive()

    def _send(self, name: str, at: float) -> None:
        self._name = name or self._name
        self._sent_at = at

    def _receive(self) -> None:
        if self._current is not None and self._sent_at is not None:
            self._current.extend(max(self._sent_at, self._current.end))
        self._current = self._trace.begin("PostgreSQL", self._name, self._sent_at)
        self._sent_at = None


def _is_active(pgconn: PGconn) -> bool:
    return pgconn.transaction_status == TransactionStatus.ACTIVE


def _request(gen: Any) -> str:
    """Return the first word of the statement that one of the driver's generators sends."""
    frame = getattr(gen, "gi_frame", None)
    found = {} if frame is None else frame.f_locals
    words = (_first_word(found[name]) for name in _REQUESTS if name in found)
    return next((word for word in words if word), "")


def _first_word(statement: object) -> str:
    if isinstance(statement, Composable):
        statement = statement.as_string(None)
    if isinstance(statement, bytes):
        statement = statement.decode("utf-8", "replace")
    if not isinstance(statement, str):
        return ""
    found = re.match(r"\W*([A-Za-z]+)", _COMMENTS.sub(" ", statement))
    return found[1].upper() if found else "statement"
