"""The archive for whoever is asked for help: state, settings, logs and checks, all without secrets."""

from __future__ import annotations

import io
import os
import platform
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from thingjobs_agent import VERSION
from thingjobs_agent.checkpoint import CHECKPOINT_NAME
from thingjobs_agent.config import Config, Settings, absolute
from thingjobs_agent.errors import AgentError
from thingjobs_agent.history import HISTORY_NAME
from thingjobs_agent.joblog import LOGS_NAME
from thingjobs_agent.local import shown_rule
from thingjobs_agent.redaction import Secrets
from thingjobs_agent.status import read_status
from thingjobs_agent.verdicts import handler_verdicts

BUNDLE_NAME: Final = "thingjobs-agent"


def write_bundle(
    path: Path, config: Config, findings: list[dict[str, Any]], system: os.uname_result
) -> list[str]:
    """Write the archive, for the owner's eyes only; return the names in it.

    Raises:
        OSError: it cannot be written.

    """
    secrets = Secrets(config.secrets)
    names = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:  # noqa: PTH123
        for name, data in _parts(config, findings, system):
            hidden = secrets.hide(data)
            entry = tarfile.TarInfo(f"{BUNDLE_NAME}/{name}")
            entry.size, entry.mtime, entry.mode = len(hidden), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(hidden))
            names.append(name)
    return names


def _parts(
    config: Config, findings: list[dict[str, Any]], system: os.uname_result
) -> Iterator[tuple[str, bytes]]:
    directory = absolute(config.settings.state_dir)
    about = {
        "agent": VERSION,
        "python": platform.python_version(),
        "system": list(system),
        "os_release": _text(Path("/etc/os-release")),
        "uptime": _text(Path("/proc/uptime")),
        "memory": _text(Path("/proc/meminfo"))[:500],
    }
    yield "about.json", _json(about)
    yield "config.json", _json(_settings(config))
    yield "doctor.json", _json(findings)
    try:
        yield "handlers.json", _json(handler_verdicts(config))
        yield "status.json", _json(read_status(directory, time.time()))
    except AgentError as error:
        yield "error.txt", str(error).encode()
    for path in (directory / CHECKPOINT_NAME, directory / HISTORY_NAME, *directory.glob(f"{LOGS_NAME}/*")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        yield str(path.relative_to(directory)), data


def _settings(config: Config) -> dict[str, Any]:
    shown = {}
    for name, field in Settings.__dataclass_fields__.items():
        value = getattr(config.settings, name)
        shown[name] = {
            "value": "(hidden)" if field.metadata["secret"] and value else value,
            "origin": config.origins[name],
        }
    return {
        "settings": shown,
        "handlers": {name: shown_rule(rule) for name, rule in config.local.rules.items()},
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value))
