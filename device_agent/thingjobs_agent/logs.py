"""The log on standard error: a sentence and fields, as text for people or JSON for machines."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(log_format: str, log_level: str) -> None:
    """Set up structlog for this process; the MQTT library says nothing of its own."""
    is_json = log_format == "json"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False) if is_json else _as_text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[log_level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    mqtt = logging.getLogger("mqtt")
    mqtt.addHandler(logging.NullHandler())
    mqtt.propagate = False


def _as_text(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """Return `time LEVEL sentence key=value ...` with quotes where a value has blanks."""
    head = f"{event.pop('timestamp')} {event.pop('level'):7} {event.pop('event')}"
    exception = event.pop("exception", None)
    fields = [f"{key}={_quoted(value)}" for key, value in event.items()]
    line = " ".join([head, *fields])
    return line if exception is None else f"{line}\n{exception}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text and '"' not in text else repr(text)
