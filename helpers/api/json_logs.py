"""Logs as JSON, a line for each event, on standard error."""

from __future__ import annotations

import logging.config
import sys
from typing import Any, BinaryIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

_SHARED: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.dict_tracebacks,
)


def json_logger(file: BinaryIO | None = None) -> FilteringBoundLogger:
    """Return a logger that writes to ``file`` (standard error by default)."""
    logger = structlog.wrap_logger(
        structlog.BytesLogger(file or sys.stderr.buffer),
        processors=[*_SHARED, structlog.processors.JSONRenderer(_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return cast("FilteringBoundLogger", logger)


def uvicorn_logging() -> dict[str, Any]:
    """Return the configuration by which the messages of uvicorn and others are such lines, too."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(lambda *a, **k: _dumps(*a, **k).decode()),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        # Among the others are the pools, which tell of connections that were lost.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=repr)
