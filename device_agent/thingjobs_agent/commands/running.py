"""Runs the agent, and takes what somebody at the device wants of it: hold, unhold, cancel."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Final

from thingjobs_agent import control
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.commands.common import config_of, show, state_directory
from thingjobs_agent.config import Broker, Config, absolute, broker_of
from thingjobs_agent.errors import (
    EXIT_FAULT,
    EXIT_OK,
    AgentError,
    NotFoundError,
    StateDirectoryError,
    UsageError,
)
from thingjobs_agent.lazily import without_signatures
from thingjobs_agent.logs import Log, quiet_libraries
from thingjobs_agent.work import Phase

UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
HOLD_SECONDS_MAX: Final = 30 * 86_400
REASON_CHARACTERS_MAX: Final = 200


def run(options: SimpleNamespace) -> int:
    """Connect and run jobs until stopped."""
    config = config_of(options)
    settings = config.settings
    broker = broker_of(settings)
    check_handler_dir(config.local.handler_dir)
    store = Store(absolute(settings.state_dir))
    # From the lock on we may be told to look; what there is to see is seen at the start anyway.
    signal.signal(control.LOOK_SIGNAL, signal.SIG_IGN)
    # Until the loop takes it, SIGINT ends us as SIGTERM does; asyncio's own handler is a large one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    store.prepare()
    log = Log(settings.log_format, settings.log_level, thing_name=settings.thing)
    quiet_libraries()
    try:
        is_restart = asyncio.run(_drive(config, broker, store, log))
    except AgentError:
        raise
    except Exception:
        log.exception("The agent stops because of a fault of its own", action="fault")
        return EXIT_FAULT
    finally:
        store.close()
    if is_restart:
        signal.signal(control.LOOK_SIGNAL, signal.SIG_IGN)
        # The same process begins anew: nobody has to be there to start it again.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    log.info("Stopped", action="stopped")
    return EXIT_OK


async def _drive(config: Config, broker: Broker, store: Store, log: Log) -> bool:
    with without_signatures():
        from thingjobs_agent.client import MqttClient  # noqa: PLC0415 - the MQTT library
    from thingjobs_agent.driver import Driver  # noqa: PLC0415 - as above
    from thingjobs_agent.notify import Notifier  # noqa: PLC0415 - as above

    settings = config.settings
    driver = Driver(
        config,
        store,
        log,
        lambda deliver: MqttClient(
            broker,
            settings.thing,
            root=settings.topic_root,
            keepalive_seconds=settings.keepalive_seconds,
            is_session_persistent=settings.persistent_session,
            deliver=deliver,
            jitter=random.random,
            log=log,
        ),
        Notifier(os.environ),
    )
    return await driver.run()


def check_handler_dir(handler_dir: Path) -> None:
    """Say at once what would otherwise reject every job.

    Raises:
        UsageError: the handler directory is not there, or others can write it.

    """
    from thingjobs_agent.handlers import directory_refusal  # noqa: PLC0415

    if not handler_dir.is_dir():
        raise UsageError(
            f"handler_dir {handler_dir} is not a directory; create it, or give it with --handler-dir"
        )
    refusal = directory_refusal(handler_dir.stat(), handler_dir)
    if refusal is not None:
        raise UsageError(refusal)


def hold(options: SimpleNamespace) -> int:
    """Begin no new job for a while."""
    seconds = _seconds(options.duration)
    request = control.HoldRequest(int(time.time()) + seconds, seconds, _reason(options.reason))
    directory = state_directory(options)
    is_running = _put(directory, request)
    when = "now" if is_running else "when the agent starts"
    lines = [f"New jobs wait, {request.sentence()}.", f"In force {when}; a job that runs goes on."]
    show(options, {"until": request.until, "reason": request.reason, "is_running": is_running}, lines)
    return EXIT_OK


def unhold(options: SimpleNamespace) -> int:
    """End a hold."""
    directory = state_directory(options)
    try:
        was_held = control.drop(directory, control.HOLD_NAME)
        control.tell_agent(directory)
    except OSError as error:
        raise _not_ours(directory, error) from None
    lines = ["The hold is lifted." if was_held else "There was no hold."]
    show(options, {"was_held": was_held}, lines)
    return EXIT_OK


def cancel(options: SimpleNamespace) -> int:
    """End the job in hand; it is reported as failed, with the reason."""
    directory = state_directory(options)
    try:
        checkpoint = Store(directory).peek().checkpoint
    except OSError as error:
        raise _not_ours(directory, error) from None
    if checkpoint is None or checkpoint.phase in (Phase.REPORTING, Phase.DONE):
        raise NotFoundError("no job runs on this device; see thingjobs-agent status")
    if options.job_id is not None and options.job_id != checkpoint.job_id:
        raise NotFoundError(f"the job that runs is {checkpoint.job_id}, not {options.job_id}")
    reason = f"canceled at the device: {_reason(options.reason)}"
    request = control.CancelRequest(checkpoint.job_id, checkpoint.execution_number, reason)
    is_running = _put(directory, request)
    lines = [
        f"Job {checkpoint.job_id} is being stopped; thingjobs-agent status shows when it has ended."
        if is_running
        else f"Job {checkpoint.job_id} will not go on when the agent starts."
    ]
    show(options, {"job_id": checkpoint.job_id, "is_running": is_running}, lines)
    return EXIT_OK


def _put(directory: Path, request: control.HoldRequest | control.CancelRequest) -> bool:
    try:
        control.put(directory, request)
        return control.tell_agent(directory)
    except OSError as error:
        raise _not_ours(directory, error) from None


def _not_ours(directory: Path, error: OSError) -> StateDirectoryError:
    return StateDirectoryError(
        f"the state directory {directory} cannot be used: {error.strerror}; run this as the agent's user"
    )


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,7})([smhd])", text)
    seconds = int(found[1]) * UNIT_SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= HOLD_SECONDS_MAX:
        raise UsageError(f"--for must be a time such as 90s, 30m, 2h or 1d, at most 30d, not {text!a}")
    return seconds


def _reason(text: str) -> str:
    """Return a reason that fits into status details."""
    if not text.strip() or len(text) > REASON_CHARACTERS_MAX or not text.isprintable():
        raise UsageError(f"--reason must be 1 to {REASON_CHARACTERS_MAX} printable characters")
    return text.strip()
