"""What the agent does and did: status, history, show, logs, config. Reads the disk alone, whether an agent
runs or not.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from thingjobs_agent.commands.common import (
    config_of,
    plain,
    show,
    state_directory,
    table,
    when,
)
from thingjobs_agent.config import ENV_PREFIX, Settings
from thingjobs_agent.errors import EXIT_OK, NotFoundError, StateDirectoryError
from thingjobs_agent.history import Entry, History
from thingjobs_agent.joblog import LOGS_NAME, OLDER, log_path, read_log
from thingjobs_agent.local import shown_rule
from thingjobs_agent.status import read_status, status_lines
from thingjobs_protocol.settings import settings_table

FOLLOW_SECONDS: Final = 0.3


def status(options: SimpleNamespace) -> int:
    """Show the job in hand."""
    state = read_status(state_directory(options), time.time())
    show(options, state, status_lines(state))
    return EXIT_OK


def history(options: SimpleNamespace) -> int:
    """Show the last jobs, the newest last."""
    entries = _entries(state_directory(options))[-options.count :]
    rows = [
        (when(each.ended_at), f"{each.job_id} #{each.execution_number}", each.status.value, _reason(each))
        for each in entries
    ]
    show(options, plain(entries), table(rows) if rows else ["No job has ended on this device yet."])
    return EXIT_OK


def show_job(options: SimpleNamespace) -> int:
    """Show all that is known of a job: the one in hand, or the last of that id."""
    directory = state_directory(options)
    job = read_status(directory, time.time())["job"]
    if job is not None and job["job_id"] == options.job_id and job["phase"] != "done":
        found: dict[str, Any] = job
    else:
        entries = [each for each in _entries(directory) if each.job_id == options.job_id]
        if not entries:
            raise NotFoundError(f"this device knows no job {options.job_id}; see thingjobs-agent history")
        found = plain(entries[-1])
    log = log_path(directory, options.job_id, found["execution_number"])
    found["log"] = str(log) if log.exists() else None
    show(options, found, table([(key, _shown(key, value)) for key, value in found.items()]))
    return EXIT_OK


def logs(options: SimpleNamespace) -> int:
    """Show what the handlers of a job printed; without a job, of the newest."""
    path = _log(state_directory(options), options.job_id)
    data = read_log(path)
    if options.lines is not None:
        data = b"".join(data.splitlines(keepends=True)[-options.lines :] if options.lines else [])
    _write(data)
    return _follow(path) if options.follow else EXIT_OK


def config(options: SimpleNamespace) -> int:
    """Show the settings as they are in effect; secrets are hidden."""
    loaded = config_of(options)
    effective = {}
    for row in settings_table(Settings, env_prefix=ENV_PREFIX):
        value: Any = getattr(loaded.settings, row.key)
        if Settings.__dataclass_fields__[row.key].metadata["secret"] and value:
            value = "(hidden)"
        effective[row.key] = value
    rules = {name: shown_rule(rule) for name, rule in loaded.local.rules.items()}
    value = {"settings": effective, "handlers": rules}
    if options.origin:
        value["origins"] = dict(loaded.origins)
    rows = [
        (key, "=", _toml(given), *([f"# {loaded.origins[key]}"] if options.origin else []))
        for key, given in effective.items()
        if options.effective or loaded.origins[key] != "default"
    ]
    lines = table(rows)
    for name, rule in rules.items():
        lines += ["", f'[handlers."{name}"]', *(f"{key} = {_toml(given)}" for key, given in rule.items())]
    show(options, value, lines)
    return EXIT_OK


def _entries(directory: Path) -> list[Entry]:
    try:
        return History(directory).entries()
    except OSError as error:
        raise StateDirectoryError(
            f"the history in {directory} cannot be read: {error.strerror}; run this as the agent's user"
        ) from None


def _reason(entry: Entry) -> str:
    reason = entry.status_details.get("reason", "")
    return reason if entry.ending.startswith("accepted") else f"{reason} ({entry.ending})"


def _log(directory: Path, job_id: str | None) -> Path:
    pattern = "*.log" if job_id is None else f"{job_id}-*.log"
    found = sorted((directory / LOGS_NAME).glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    if job_id is not None:
        found = [path for path in found if path.stem.rpartition("-")[0] == job_id]
    if not found:
        what = "has run a handler" if job_id is None else f"{job_id} has a log"
        raise NotFoundError(f"no job {what} on this device; see thingjobs-agent history")
    return found[-1]


def _follow(path: Path) -> int:
    """Show what is added, until interrupted; the log may turn into its older part meanwhile."""
    offset = path.stat().st_size
    inode = path.stat().st_ino
    try:
        while True:
            time.sleep(FOLLOW_SECONDS)
            try:
                now = path.stat()
            except FileNotFoundError:
                continue
            if now.st_ino != inode:
                with path.with_name(path.name + OLDER).open("rb") as older:
                    older.seek(offset)
                    _write(older.read())
                offset, inode = 0, now.st_ino
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            offset += len(data)
            _write(data)
    except KeyboardInterrupt:
        return EXIT_OK


def _write(data: bytes) -> None:
    """Print what handlers wrote, without what could take over a terminal."""
    text = data.decode(errors="replace")
    sys.stdout.write(
        "".join(
            each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text
        )
    )
    sys.stdout.flush()


def _shown(key: str, value: object) -> str:
    if key.endswith("_at") and isinstance(value, int | float):
        return when(value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {item}" for key, item in value.items())
    return "" if value is None else str(value)


def _toml(value: object) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
