"""Logs: a sentence and fields, for people or as JSON lines; amqtt's own are let through from WARNING on."""

from __future__ import annotations

import logging
import os
import sys

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str, *, json_lines: bool) -> None:
    """Send logs to standard error, which leaves standard output to results.

    Raises:
        ValueError: the level is unknown.

    """
    if level not in LEVELS:
        message = f"log level {level!r} is none of {', '.join(LEVELS)}"
        raise ValueError(message)
    for_people = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    renderer = structlog.processors.JSONRenderer() if json_lines else for_people
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    plain = "%(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=plain)
    logging.getLogger("transitions").setLevel(logging.ERROR)
