"""Documents without a service: validate, plan, run-document."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from thingjobs_agent import handlers
from thingjobs_agent.checkpoint import WORK_NAME, Store
from thingjobs_agent.commands.common import config_of, print_lines, show
from thingjobs_agent.config import Config, absolute
from thingjobs_agent.document import Document, Step, parse
from thingjobs_agent.environment import handler_environment
from thingjobs_agent.errors import EXIT_NO, EXIT_OK, AlreadyRunningError, StateDirectoryError, UsageError
from thingjobs_agent.events import StartStep
from thingjobs_agent.facts import facts_of_device
from thingjobs_agent.joblog import log_path
from thingjobs_agent.local import shown_rule
from thingjobs_agent.local_link import LocalLink
from thingjobs_agent.logs import Log
from thingjobs_agent.members import DocumentError
from thingjobs_agent.process import Files
from thingjobs_agent.report import step_label
from thingjobs_agent.work import Identity, Phase
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX
from thingjobs_protocol.status import JobExecutionStatus

LOCAL_NAME: Final = "local"
"""Where run-document keeps its own state, beside that of the agent."""


def validate(options: SimpleNamespace) -> int:
    """Check the form of a document."""
    try:
        count = len(_parsed(_text(options.document)).steps)
    except DocumentError as error:
        show(options, {"is_valid": False, "reason": str(error)}, [f"invalid: {error}"])
        return EXIT_NO
    lines = [f"valid: {count} steps" if count > 1 else "valid: 1 step"]
    show(options, {"is_valid": True, "reason": None}, lines)
    return EXIT_OK


def plan(options: SimpleNamespace) -> int:
    """Show what a document would do on this device, without doing it."""
    config = config_of(options)
    try:
        document = _parsed(_text(options.document))
    except DocumentError as error:
        show(options, {"would_run": False, "reason": str(error)}, [f"rejected: {error}"])
        return EXIT_NO
    facts = facts_of_device(config.settings.thing, config.settings.facts)
    reason = document.unmet(facts) if config.settings.evaluate_conditions else None
    steps = [_planned(document, index, config) for index in range(len(document.steps))]
    refused = [step for step in steps if "refusal" in step and not step["ignore_step_failure"]]
    if reason is None and refused:
        reason = f"step {refused[0]['step']}: {refused[0]['refusal']}"
    value = {"would_run": reason is None, "reason": reason, "on_restart": document.on_restart, "steps": steps}
    lines = [line for step in steps for line in _plan_lines(step)]
    lines.append("would run" if reason is None else f"rejected: {reason}")
    show(options, value, lines)
    return EXIT_OK if reason is None else EXIT_NO


def run_document(options: SimpleNamespace) -> int:
    """Run a document on this device, without any service."""
    if options.dry_run:
        return plan(options)
    config = config_of(options)
    text = _text(options.document)
    try:
        document = _parsed(text)
    except DocumentError as error:
        show(options, {"status": "REJECTED", "reason": str(error)}, [f"REJECTED: {error}"])
        return EXIT_NO
    if any(step.type == "reboot" for step in document.steps):
        raise UsageError("the document has a reboot step: only a job of the service can go on after a reboot")
    directory = absolute(config.settings.state_dir)
    _check_idle(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirectoryError(f"{directory} cannot be made: {error.strerror}; try --state-dir") from None
    store = Store(directory / LOCAL_NAME)
    store.prepare()
    try:
        # What an earlier run left behind is of no interest.
        store.path.unlink(missing_ok=True)
        link = asyncio.run(_drive(config, store, text, is_quiet=options.json))
    finally:
        store.close()
    status, details = link.result()
    log = str(log_path(store.directory, link.job_id, 1))
    lines = [f"{status}: {details.get('reason', '')}"]
    lines += [f"{name}: {details[name]}" for name in ("stdout", "stderr") if name in details]
    lines.append(f"all output: {log}")
    show(options, {"status": status, "status_details": details, "log": log}, lines)
    return EXIT_OK if status == JobExecutionStatus.SUCCEEDED else EXIT_NO


async def _drive(config: Config, store: Store, text: bytes, *, is_quiet: bool) -> LocalLink:
    from thingjobs_agent.driver import Driver  # noqa: PLC0415 - the MQTT library
    from thingjobs_agent.notify import Notifier  # noqa: PLC0415 - as above

    log = Log("text", "error")
    link = LocalLink(msgspec.Raw(text), lambda line: None if is_quiet else print_lines([line]))
    # Nothing here outlives a reboot, so no handler may ask for one.
    config = Config(
        config.settings,
        msgspec.structs.replace(config.local, reboot_command=()),
        config.origins,
        config.secrets,
    )
    is_again = True
    while is_again:
        is_again = await Driver(config, store, log, link.bind, Notifier({})).run()
    return link


def _check_idle(directory: Path) -> None:
    store = Store(directory)
    try:
        checkpoint = store.peek().checkpoint
    except OSError as error:
        raise StateDirectoryError(
            f"{store.path} cannot be read: {error.strerror}; run this as the agent's user"
        ) from None
    if checkpoint is not None and checkpoint.phase is Phase.RUNNING and store.holder() is not None:
        raise AlreadyRunningError(
            f"the agent runs job {checkpoint.job_id}; wait for its end, or use thingjobs-agent cancel"
        )


def _text(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(JOB_DOCUMENT_BYTES_MAX + 1)
        with Path(name).open("rb") as file:
            return file.read(JOB_DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parsed(text: bytes) -> Document:
    if len(text) > JOB_DOCUMENT_BYTES_MAX:
        raise DocumentError(f"the document is larger than {JOB_DOCUMENT_BYTES_MAX} bytes")
    return parse(text)


def _planned(document: Document, index: int, config: Config) -> dict[str, Any]:
    """Return what would happen to a step."""
    step = document.steps[index]
    planned: dict[str, Any] = {
        "step": step_label(document, index),
        "type": step.type,
        "timeout_seconds": _timeout_seconds(step, config),
        "ignore_step_failure": step.ignore_step_failure,
    }
    program = handlers.resolve(step, config.local)
    if isinstance(program, handlers.Refusal):
        return planned | {"refusal": program.reason}
    run_as = program.run_as
    return planned | {
        "argv": list(program.argv),
        "user": handlers.user_name(os.geteuid()) if run_as is None else run_as.name,
        "environment": _environment_names(step, program, config),
        "limits": {
            key: value
            for key, value in shown_rule(program.rule).items()
            if key not in ("user", "environment")
        },
    }


def _timeout_seconds(step: Step, config: Config) -> int:
    if step.timeout_seconds is not None:
        return step.timeout_seconds
    settings = config.settings
    return settings.reboot_wait_seconds if step.type == "reboot" else settings.step_timeout_seconds


def _environment_names(step: Step, program: handlers.Program, config: Config) -> list[str]:
    directory = absolute(config.settings.state_dir) / WORK_NAME
    command = StartStep(Identity("plan", 1, int(time.time())), step, "1/1", 0)
    return sorted(
        handler_environment(
            command,
            thing_name=config.settings.thing,
            state_dir=directory.parent,
            files=Files(directory, directory / "progress-1", directory / "then-1"),
            run_as=program.run_as,
            own=os.environ,
            allowed=(*config.settings.environment, *program.rule.environment),
        )
    )


def _plan_lines(step: dict[str, Any]) -> list[str]:
    if "refusal" in step:
        end = " (its failure is ignored)" if step["ignore_step_failure"] else ""
        return [f"step {step['step']}: refused: {step['refusal']}{end}"]
    lines = [
        f"step {step['step']}",
        f"  argv         {shlex.join(step['argv'])}",
        f"  user         {step['user']}",
        f"  environment  {' '.join(step['environment'])}",
        f"  time limit   {step['timeout_seconds']} s",
    ]
    if step["limits"]:
        lines.append(f"  limits       {', '.join(f'{key} {value}' for key, value in step['limits'].items())}")
    return lines
