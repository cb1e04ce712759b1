"""How a step ended, in words, and the terminal report of a job. Pure.

A step is good when its handler exits with status 0 and keeps within `allowStdErr`; death by a signal is a
failure (spec: control plane 8.3, A36, A37).
"""

from __future__ import annotations

import signal
from typing import Final

from thingjobs_agent.document import Document, Step
from thingjobs_agent.events import StepExited
from thingjobs_agent.output import first_part, last_part
from thingjobs_agent.work import Report
from thingjobs_protocol.status import JobExecutionStatus

_LIMIT_SIGNALS: Final[dict[int, str]] = {
    signal.SIGXCPU: ": it used more processor time than this device allows it",
    signal.SIGXFSZ: ": it wrote a larger file than this device allows it",
}


def step_label(document: Document, index: int) -> str:
    """Return how a step is called everywhere: `2/3 Write-Report`."""
    return first_part(f"{index + 1}/{len(document.steps)} {document.steps[index].name}")


def failure(step: Step, label: str, ended: StepExited, *, is_std_err_strict: bool = False) -> str | None:
    """Return why a step failed, or None if it is good. `is_std_err_strict` is the legacy rule for flat
    documents: without allowStdErr, nothing may be written to stderr (A36).
    """
    if ended.refusal is not None:
        return f"step {label}: {ended.refusal}"
    if ended.signal_number is not None:
        number = ended.signal_number
        hint = _LIMIT_SIGNALS.get(number, "")
        return f"step {label} was killed by signal {number}{_signal_name(number)}{hint}"
    if ended.exit_status != 0:
        return f"step {label} exited with status {ended.exit_status}"
    allowed = step.allow_std_err
    if allowed is None and step.is_flat and is_std_err_strict:
        allowed = 0
    if allowed is not None and ended.std_err_line_count > allowed:
        return f"step {label} wrote {ended.std_err_line_count} lines to stderr, allowStdErr is {allowed}"
    return None


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:  # real-time signals have no name of their own
        return ""


class Outputs:
    """What the steps of a job printed so far, each stream cut to the end that fits a report."""

    def __init__(self, std_out: str = "", std_err: str = "") -> None:
        """Begin with what was stored, or with nothing."""
        self.std_out = std_out
        self.std_err = std_err

    def add(self, ended: StepExited) -> None:
        """Take the output of the next step."""
        self.std_out = last_part(f"{self.std_out} {ended.std_out}")
        self.std_err = last_part(f"{self.std_err} {ended.std_err}")


def rejected(reason: str) -> Report:
    """Return the report of a job that was not begun."""
    return Report(JobExecutionStatus.REJECTED, {"reason": first_part(reason)})


def failed(
    reason: str, *, label: str = "", outputs: Outputs | None = None, include_std_out: bool = False
) -> Report:
    """Return the report of a job that failed; `label` names the step."""
    details = {
        "reason": first_part(reason),
        "step": label,
        "stdout": outputs.std_out if outputs and include_std_out else "",
        "stderr": outputs.std_err if outputs else "",
    }
    return Report(JobExecutionStatus.FAILED, _without_empty(details))


def succeeded(document: Document, ignored: list[str], outputs: Outputs) -> Report:
    """Return the report of a job whose steps are all good, or ignored."""
    count = len(document.steps)
    reason = "1 step succeeded" if count == 1 else f"{count} steps succeeded"
    if ignored:
        reason = f"{count - len(ignored)} of {count} steps succeeded; ignored: {'; '.join(ignored)}"
    details = {
        "reason": first_part(reason),
        "stdout": outputs.std_out if document.include_std_out else "",
        "stderr": outputs.std_err,
    }
    return Report(JobExecutionStatus.SUCCEEDED, _without_empty(details))


def _without_empty(details: dict[str, str]) -> dict[str, str]:
    """Return the details without empty values, which the service refuses (spec: data plane 2.2)."""
    return {key: value for key, value in details.items() if value}
