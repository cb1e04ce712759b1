"""What goes into the agent's machine (inputs) and what comes out of it (commands). Plain data.

The driver carries commands out in order, and the next one only when the one before is done: a
`StoreCheckpoint` is on disk before the `StartStep` or `Send` behind it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from thingjobs_agent.document import Document, Step
from thingjobs_agent.work import Checkpoint, Identity, Report
from thingjobs_protocol.messages import (
    JobExecutionResponse,
    JobExecutionsChanged,
    NextJobExecutionChanged,
    RejectedResponse,
    UpdateJobExecutionResponse,
    Wire,
)
from thingjobs_protocol.topics import Api

# -- inputs


class Connected(msgspec.Struct, frozen=True):
    """The broker has accepted all subscriptions."""


class Disconnected(msgspec.Struct, frozen=True):
    """The connection is gone; what was sent and not answered may or may not have arrived."""


class Accepted(msgspec.Struct, frozen=True):
    """An `.../accepted` reply. `job_id` is empty for start-next."""

    api: Api
    job_id: str
    response: JobExecutionResponse | UpdateJobExecutionResponse


class Rejected(msgspec.Struct, frozen=True):
    """A `.../rejected` reply. `job_id` is empty for start-next."""

    api: Api
    job_id: str
    response: RejectedResponse


class NextChanged(msgspec.Struct, frozen=True):
    """`notify-next`."""

    message: NextJobExecutionChanged


class PendingChanged(msgspec.Struct, frozen=True):
    """`notify`."""

    message: JobExecutionsChanged


class HandlersChecked(msgspec.Struct, frozen=True):
    """Answer to `CheckHandlers`: for each step that may not run, its index and the reason."""

    refusals: tuple[tuple[int, str], ...] = ()


class StepProgressed(msgspec.Struct, frozen=True):
    """The handler has written to its progress file; these are all its details so far."""

    details: dict[str, str]


Then = Literal["", "reboot", "restart"]
"""What a handler that ended well asks for before the next step: nothing, a reboot of the device, a restart of
the agent.
"""


class StepExited(msgspec.Struct, frozen=True):
    """The handler has ended, or could not be started (`refusal`). Output is fit for status details."""

    exit_status: int | None = None
    signal_number: int | None = None
    refusal: str | None = None
    std_out: str = ""
    std_err: str = ""
    std_err_line_count: int = 0
    then: Then = ""


class Hold(msgspec.Struct, frozen=True):
    """Somebody at the device said "not now": for how long from now, and why."""

    remaining_ms: int
    reason: str


class HoldChanged(msgspec.Struct, frozen=True):
    """The hold has been set, changed or, with None, lifted."""

    hold: Hold | None


class CancelAsked(msgspec.Struct, frozen=True):
    """Somebody at the device wants this execution ended."""

    job_id: str
    execution_number: int
    reason: str


class ShutDown(msgspec.Struct, frozen=True):
    """The agent has been asked to stop."""


Input = (
    Connected
    | Disconnected
    | Accepted
    | Rejected
    | NextChanged
    | PendingChanged
    | HandlersChecked
    | StepProgressed
    | StepExited
    | HoldChanged
    | CancelAsked
    | ShutDown
)


# -- commands


class Send(msgspec.Struct, frozen=True):
    """Publish a request. `job_id` is empty for start-next."""

    api: Api
    job_id: str
    message: Wire


class StoreCheckpoint(msgspec.Struct, frozen=True):
    """Put this on disk, synced, before anything else."""

    checkpoint: Checkpoint


class CheckHandlers(msgspec.Struct, frozen=True):
    """Find out, without running anything, which steps may not run; answered by `HandlersChecked`."""

    document: Document


class StartStep(msgspec.Struct, frozen=True):
    """Run a handler; answered by `StepProgressed` and, at last, `StepExited`. `timeout_ms` is for its
    environment.
    """

    identity: Identity
    step: Step
    label: str
    timeout_ms: int


class StopStep(msgspec.Struct, frozen=True):
    """Stop the handler: SIGTERM to its group, after the grace SIGKILL; answered by `StepExited`."""

    reason: str
    grace_ms: int


class Reboot(msgspec.Struct, frozen=True):
    """Take the device down and up again. Answered by `StepExited` if that cannot be begun."""

    step: Step


class FinishWork(msgspec.Struct, frozen=True):
    """The job is over on this device: its working files can go, and it goes into the history. `ending` says
    what the service made of the result.
    """

    identity: Identity
    report: Report
    ending: str


class Note(msgspec.Struct, frozen=True):
    """A fact for the log."""

    level: Literal["debug", "info", "warning", "error"]
    action: str
    sentence: str
    fields: dict[str, Any] = {}


class Stop(msgspec.Struct, frozen=True):
    """Everything is stored and nothing runs: the agent can end, or begin anew (`is_restart`)."""

    is_restart: bool = False


Command = Send | StoreCheckpoint | CheckHandlers | StartStep | StopStep | Reboot | FinishWork | Note | Stop
