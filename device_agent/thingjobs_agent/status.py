"""What `thingjobs-agent status` shows: read from the state directory, whether an agent runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thingjobs_agent.checkpoint import Store
from thingjobs_agent.control import read_hold
from thingjobs_agent.document import parse
from thingjobs_agent.errors import StateDirectoryError
from thingjobs_agent.members import DocumentError
from thingjobs_agent.report import step_label
from thingjobs_agent.work import Checkpoint, Phase


def read_status(state_dir: Path, now: float) -> dict[str, Any]:
    """Return the state as plain data, for people and `--json`; `now` in seconds since the epoch.

    Raises:
        StateDirectoryError: the state cannot be read.

    """
    store = Store(state_dir)
    try:
        loaded = store.peek()
    except OSError as error:
        raise StateDirectoryError(
            f"the checkpoint {store.path} cannot be read: {error.strerror}; run this as the agent's user"
        ) from None
    hold = read_hold(state_dir, now)
    status: dict[str, Any] = {
        "state_dir": str(state_dir),
        "is_running": store.holder() is not None,
        "hold": None if hold is None else hold.sentence(),
        "job": None,
    }
    if loaded.fault is not None:
        status["fault"] = f"the checkpoint cannot be read: {loaded.fault}"
    elif loaded.checkpoint is not None:
        status["job"] = _job(loaded.checkpoint)
    return status


def _job(checkpoint: Checkpoint) -> dict[str, Any]:
    job: dict[str, Any] = {
        "job_id": checkpoint.job_id,
        "execution_number": checkpoint.execution_number,
        "phase": checkpoint.phase.value,
        "restarts": checkpoint.restarts,
    }
    if checkpoint.phase in (Phase.RUNNING, Phase.REBOOTING, Phase.RESTARTING):
        job["step"] = _step(checkpoint)
    if checkpoint.report is not None:
        job["status"] = checkpoint.report.status.value
        job["status_details"] = checkpoint.report.status_details
    return job


def _step(checkpoint: Checkpoint) -> str:
    try:
        return step_label(parse(checkpoint.job_document), checkpoint.step_index)
    except (DocumentError, IndexError):
        return str(checkpoint.step_index + 1)


def status_lines(status: dict[str, Any]) -> list[str]:
    """Return the state in sentences."""
    lines = [f"The agent is {'running' if status['is_running'] else 'not running'} ({status['state_dir']})."]
    if "fault" in status:
        lines.append(f"Warning: {status['fault']}; it will be set aside at the next start.")
    if status["hold"] is not None:
        lines.append(f"New jobs wait, {status['hold']}.")
    job = status["job"]
    if job is None:
        return [*lines, "No job in hand."] if "fault" not in status else lines
    name = f"job {job['job_id']}, execution {job['execution_number']}"
    match job["phase"]:
        case "running":
            lines.append(f"In hand: {name}, step {job['step']}, restarted {job['restarts']} times.")
        case "held":
            lines.append(f"In hand: {name}, waiting for the end of the hold.")
        case "rebooting":
            lines.append(f"In hand: {name}, step {job['step']}, waiting for the device to reboot.")
        case "restarting":
            lines.append(f"In hand: {name}, step {job['step']}, waiting for the agent to restart.")
        case "reporting":
            lines.append(f"To report: {name}, {job['status']}: {job['status_details'].get('reason', '')}")
        case _:
            lines.append(f"Last: {name}, {job['status']}: {job['status_details'].get('reason', '')}")
    return lines
