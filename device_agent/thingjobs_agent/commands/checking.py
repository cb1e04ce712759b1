"""Is this device well: handlers list and check, doctor, support-bundle, next."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from thingjobs_agent.commands.common import config_of, show, table
from thingjobs_agent.config import absolute
from thingjobs_agent.errors import EXIT_NO, EXIT_OK, UnreachableError, UsageError
from thingjobs_agent.verdicts import handler_verdicts


def handlers(options: SimpleNamespace) -> int:
    """List the handlers, each with its verdict; `check` fails when one may not run."""
    config = config_of(options)
    found = handler_verdicts(config)
    rows = [(each["name"], each["user"], "may run" if each["may_run"] else each["reason"]) for each in found]
    show(options, found, table(rows) if rows else [f"no handlers in {config.local.handler_dir}"])
    is_bad = any(not each["may_run"] for each in found)
    return EXIT_NO if options.what == "check" and is_bad else EXIT_OK


def doctor(options: SimpleNamespace) -> int:
    """Check everything, and say how to repair what is wrong."""
    from thingjobs_agent.doctor import examine  # noqa: PLC0415 - the MQTT library

    findings = asyncio.run(examine(config_of(options), is_offline=options.offline))
    lines = []
    for each in findings:
        lines.append(f"{each.verdict.upper():4}  {each.what}: {each.detail}")
        if each.fix:
            lines.append(f"      fix: {each.fix}")
    is_well = all(each.verdict != "fail" for each in findings)
    show(options, {"is_well": is_well, "findings": [each.as_json() for each in findings]}, lines)
    return EXIT_OK if is_well else EXIT_NO


def next_job(options: SimpleNamespace) -> int:
    """Show what comes next: what is in hand, or what the service would hand out."""
    from thingjobs_agent.inquiry import Inquiry  # noqa: PLC0415 - the MQTT library
    from thingjobs_agent.status import read_status, status_lines  # noqa: PLC0415

    config = config_of(options)
    directory = absolute(config.settings.state_dir)
    known: dict[str, Any] | None = read_status(directory, time.time()) if directory.is_dir() else None
    lines = [] if known is None else status_lines(known)
    try:
        execution = asyncio.run(Inquiry(config).next_execution())
    except UnreachableError as error:
        show(
            options, {"device": known, "service": None, "reason": str(error)}, [*lines, f"Not known: {error}"]
        )
        return error.exit_code
    if execution is None:
        lines.append("The service has no job for this device.")
    else:
        lines.append(
            f"The service would hand out job {execution['jobId']}, execution {execution['executionNumber']}, "
            f"{execution['status']}."
        )
    show(options, {"device": known, "service": execution}, lines)
    return EXIT_OK


def support_bundle(options: SimpleNamespace) -> int:
    """Collect what somebody needs who is asked for help, without secrets."""
    from thingjobs_agent.doctor import examine  # noqa: PLC0415 - the MQTT library
    from thingjobs_agent.support_bundle import write_bundle  # noqa: PLC0415

    config = config_of(options)
    name = options.output or f"thingjobs-agent-{config.settings.thing}-{int(time.time())}.tar.gz"
    findings = asyncio.run(examine(config, is_offline=options.offline))
    try:
        names = write_bundle(Path(name), config, [each.as_json() for each in findings], os.uname())
    except OSError as error:
        raise UsageError(f"{name} cannot be written: {error.strerror}") from None
    show(options, {"file": name, "contents": names}, [f"{name}: {len(names)} files, secrets hidden"])
    return EXIT_OK
