"""The log on standard error: a sentence and fields, as text for people or JSON for machines.

The agent's own few lines in place of structlog, which costs 1.3 MiB, and 7 where rich is installed: too much
of what the agent may have on a gateway. The calls are the same.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import IO, Any, Final

import msgspec

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Writes lines at or above a level, each with the fields bound to the log."""

    def __init__(
        self, log_format: str = "text", log_level: str = "info", stream: IO[str] | None = None, **fields: Any
    ) -> None:
        """Take `text` or `json`, and the lowest level to write."""
        self._is_json = log_format == "json"
        self._level = LEVELS[log_level]
        self._stream = stream or sys.stderr
        self._fields = fields

    def bind(self, **fields: Any) -> Log:
        """Return a log whose lines have these fields as well."""
        bound = Log(stream=self._stream, **self._fields, **fields)
        bound._is_json, bound._level = self._is_json, self._level
        return bound

    def debug(self, sentence: str, **fields: Any) -> None:
        """Write what only developers want."""
        self._write("debug", sentence, fields)

    def info(self, sentence: str, **fields: Any) -> None:
        """Write what is as it should be."""
        self._write("info", sentence, fields)

    def warning(self, sentence: str, **fields: Any) -> None:
        """Write what somebody may have to look at."""
        self._write("warning", sentence, fields)

    def error(self, sentence: str, **fields: Any) -> None:
        """Write what somebody has to look at."""
        self._write("error", sentence, fields)

    def exception(self, sentence: str, **fields: Any) -> None:
        """Write an error with the stack of the exception that is being handled."""
        self._write("error", sentence, fields | {"exception": traceback.format_exc().rstrip()})

    def _write(self, level: str, sentence: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] < self._level:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        form = _as_json if self._is_json else _as_text
        print(form(stamp, level, sentence, self._fields | fields), file=self._stream, flush=True)


def quiet_libraries() -> None:
    """Let the MQTT library say nothing of its own: what matters of it, we say."""
    mqtt = logging.getLogger("mqtt")
    mqtt.addHandler(logging.NullHandler())
    mqtt.propagate = False


def _as_json(stamp: str, level: str, sentence: str, fields: dict[str, Any]) -> str:
    line = {"timestamp": stamp, "level": level, "event": sentence, **fields}
    return msgspec.json.encode(line, enc_hook=str).decode()


def _as_text(stamp: str, level: str, sentence: str, fields: dict[str, Any]) -> str:
    """Return `time LEVEL sentence key=value ...` with quotes where a value has blanks."""
    shown = [f"{key}={_quoted(value)}" for key, value in fields.items() if key != "exception"]
    line = " ".join([f"{stamp} {level:7} {sentence}", *shown])
    return f"{line}\n{fields['exception']}" if "exception" in fields else line


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text and '"' not in text else repr(text)
