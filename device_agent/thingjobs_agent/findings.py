"""The checks of `doctor` that need no network: settings, clock, disk, handlers, and what runs here."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from thingjobs_agent.checkpoint import Store
from thingjobs_agent.config import Config, absolute
from thingjobs_agent.errors import UsageError
from thingjobs_agent.handlers import PATH_DEFAULT
from thingjobs_agent.verdicts import handler_verdicts

DISK_BYTES_MIN: Final = 16 * 1024 * 1024
CLOCK_SECONDS_MIN: Final = 1_750_000_000
"""Before this program was written; a clock that says so has never been set."""
EXPIRY_DAYS_MIN: Final = 30
SYSTEM_HANDLERS: Final = ("install-packages.sh", "remove-packages.sh")
DAY_SECONDS: Final = 86_400


class Finding(msgspec.Struct, frozen=True):
    """The result of one check; `fix` says what to do about one that is not good."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return msgspec.structs.asdict(self)


def local_findings(config: Config) -> list[Finding]:
    """Return what can be told without the network."""
    return [
        _clock(time.time()),
        *_state(absolute(config.settings.state_dir)),
        *_handlers(config),
        *_walls(config, Path("/proc")),
        *_programs(config),
        *_certificate(config.settings.tls_cert_file),
    ]


def _clock(now: float) -> Finding:
    shown = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(now))
    if now < CLOCK_SECONDS_MIN:
        fix = "set the clock: timedatectl set-ntp true, or date -s; TLS fails until then"
        return Finding("clock", "fail", f"{shown} is in the past", fix)
    return Finding("clock", "ok", shown)


def _state(directory: Path) -> list[Finding]:
    if not directory.is_dir():
        fix = f"start the agent once, or: mkdir -p -m 700 {directory}"
        return [Finding("state directory", "warn", f"{directory} is not there yet", fix)]
    if not os.access(directory, os.W_OK):
        fix = "run doctor as the agent's user"
        return [Finding("state directory", "fail", f"{directory} cannot be written", fix)]
    found = [Finding("state directory", "ok", str(directory))]
    mode = directory.stat().st_mode & 0o777
    if mode & 0o077:
        found = [
            Finding("state directory", "warn", f"{directory} has mode {mode:o}", f"chmod 700 {directory}")
        ]
    free = shutil.disk_usage(directory).free
    mib = free // (1024 * 1024)
    if free < DISK_BYTES_MIN:
        found.append(Finding("disk", "fail", f"{mib} MiB free", f"free space on the disk of {directory}"))
    else:
        found.append(Finding("disk", "ok", f"{mib} MiB free"))
    return [*found, *_agent(directory)]


def _agent(directory: Path) -> list[Finding]:
    store = Store(directory)
    pid = store.holder()
    found = [
        Finding("agent", "ok", f"runs, process {pid}")
        if pid is not None
        else Finding("agent", "warn", "does not run", "systemctl start thingjobs-agent")
    ]
    try:
        fault = store.peek().fault
    except OSError as error:
        fault = error.strerror
    if fault is not None:
        fix = "none needed: it is set aside at the next start, and the job is reported as failed"
        found.append(Finding("checkpoint", "warn", f"cannot be read: {fault}", fix))
    return found


def _handlers(config: Config) -> list[Finding]:
    directory = config.local.handler_dir
    try:
        verdicts = handler_verdicts(config)
    except UsageError as error:
        return [Finding("handlers", "fail", str(error), f"mkdir -p -m 755 {directory}")]
    found = [
        Finding("handler " + each["name"], "fail", each["reason"], "thingjobs-agent handlers list")
        for each in verdicts
        if not each["may_run"]
    ]
    good = [each["name"] for each in verdicts if each["may_run"]]
    if good:
        found.append(Finding("handlers", "ok", f"{len(good)} may run"))
    elif not found:
        fix = f"install some: cp /usr/share/thingjobs-agent/handlers/health-check.sh {directory}"
        found.append(Finding("handlers", "warn", f"{directory} is empty", fix))
    return found


def _walls(config: Config, proc: Path) -> list[Finding]:
    """Return whether handlers that change the system can do so inside the walls of the unit."""
    pid = Store(absolute(config.settings.state_dir)).holder()
    names = [name for name in SYSTEM_HANDLERS if (config.local.handler_dir / name).exists()]
    if pid is None or not names:
        return []
    try:
        is_closed = is_read_only((proc / str(pid) / "mountinfo").read_text(), "/usr")
    except OSError:
        return []
    if not is_closed:
        return [Finding("walls", "ok", "handlers may change the system")]
    fix = "add system-changes.conf, as its head says (/usr/share/doc/thingjobs-agent/examples)"
    return [Finding("walls", "warn", f"{names[0]} cannot write to the system in this unit", fix)]


def is_read_only(mountinfo: str, path: str) -> bool:
    """Tell whether a process with these mounts sees a path as read-only."""
    points = [(fields[4], fields[5].split(",")) for fields in map(str.split, mountinfo.splitlines())]
    above = [(point, how) for point, how in points if f"{path}/".startswith(point.rstrip("/") + "/")]
    # The last of the deepest mounts lies on top.
    return bool(above) and "ro" in max(enumerate(above), key=lambda each: (len(each[1][0]), each[0]))[1][1]


def _programs(config: Config) -> list[Finding]:
    command = config.local.reboot_command
    if not command:
        return [Finding("reboot command", "ok", "reboots are off")]
    if shutil.which(command[0], path=PATH_DEFAULT) is None:
        fix = "set reboot_command to a program of this system"
        return [Finding("reboot command", "warn", f"there is no {command[0]}", fix)]
    return [Finding("reboot command", "ok", " ".join(command))]


def _certificate(name: str | None) -> list[Finding]:
    """Return whether our own certificate is still good."""
    if name is None:
        return []
    try:
        # The only reader of certificates in the standard library; ssl itself offers none for files.
        decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]  # noqa: SLF001
        ends_at = ssl.cert_time_to_seconds(decode(name)["notAfter"])
    except (AttributeError, KeyError, OSError, ValueError) as error:
        return [Finding("own certificate", "warn", f"{name} cannot be read: {error}", "check tls_cert_file")]
    return [expiry("own certificate", ends_at, time.time())]


def expiry(what: str, ends_at: float, now: float) -> Finding:
    """Return whether a certificate lasts for a while."""
    days = int((ends_at - now) // DAY_SECONDS)
    if days < 0:
        return Finding(what, "fail", f"expired {-days} days ago", "renew it, and check the clock")
    if days < EXPIRY_DAYS_MIN:
        return Finding(what, "warn", f"expires in {days} days", "renew it")
    return Finding(what, "ok", f"valid for {days} days")
