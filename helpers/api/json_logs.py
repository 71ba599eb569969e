"""Write logs as JSON, one line for each event."""

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
    """Return a logger that writes to ``file`` (default: standard error)."""
    logger = structlog.wrap_logger(
        structlog.BytesLogger(file or sys.stderr.buffer),
        processors=[*_SHARED, structlog.processors.JSONRenderer(_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return cast("FilteringBoundLogger", logger)


def uvicorn_logging() -> dict[str, Any]:
    """Return the logging configuration that makes JSON of the messages of uvicorn and others."""
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
        # The connection pools log lost connections here.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=repr)
