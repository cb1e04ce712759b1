"""How long an execution may run or wait, beyond what AWS knows: defaults, maxima, changes while it runs, and
expiry in the queue (spec: control plane 9). Minutes in, decisions out; timers are set elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from thingjobs_protocol.limits import TIMEOUT_MINUTES_MAX, TIMEOUT_MINUTES_MIN
from thingjobs_protocol.status import TERMINAL, JobExecutionStatus

MINUTE_MS: Final = 60_000

EXTENSION_MINUTES_MAX: Final = 60
"""Beyond the initial timeout, over all changes together (B14)."""

EXPIRY_MINUTES_MIN: Final = 1
EXPIRY_MINUTES_MAX: Final = 43_200
"""30 days; the default when expiry is on (B19). In AWS-compatible mode it is off: None."""


class Timeout(msgspec.Struct, frozen=True):
    """The in-progress timeout of a job. `source` tells where it came from, for previews and `why`."""

    minutes: int | None
    source: str = ""


class Refusal(Enum):
    """Why a change of a timeout is refused. All are InvalidRequest, except the wrong states."""

    NOT_MINUTES = "is not a whole number of minutes in range"
    TERMINAL = "the execution has ended"
    NOT_STARTED = "the execution has not started"
    ABOVE_MAXIMUM = "is above a configured maximum"
    ABOVE_EXTENSION = "is too far above the initial timeout"

    @property
    def is_state_error(self) -> bool:
        """Whether it is answered with InvalidStateTransition (B12)."""
        return self in (Refusal.TERMINAL, Refusal.NOT_STARTED)


class Refused(msgspec.Struct, frozen=True):
    """A refused change: nothing happens, `message` says why in one line."""

    refusal: Refusal
    message: str


class Changed(msgspec.Struct, frozen=True):
    """An accepted change. The timeline gets `previous_minutes` and `minutes` (B18)."""

    previous_minutes: int | None
    minutes: int
    deadline_ms: int
    """The new in-progress deadline. In the past if the time has elapsed: the next sweep times out (B16)."""


def effective(
    candidates: Iterable[tuple[str, int | None]], maxima: Iterable[tuple[str, int | None]] = ()
) -> Timeout:
    """Return the in-progress timeout of a job, at CreateJob and at an UpdateJob with a timeoutConfig.

    `candidates` in the order of precedence: job, template, the target groups' defaults in the order of the
    targets, the service's default; each a name and minutes, None where unset; the first that is set wins
    (B3, B4). `maxima` in any order: of the service, of the target groups, of a plan; the smallest binds
    (B24): it replaces a larger timeout and stands in for a missing one (B5). Store the result in the job's
    timeoutConfig, so that DescribeJob shows it. The range 1 to 10080 is checked before, not clamped here.
    """
    chosen = next((Timeout(minutes, name) for name, minutes in candidates if minutes is not None), None)
    maximum = _smallest(maxima)
    if maximum is not None and (chosen is None or chosen.minutes is None or chosen.minutes > maximum[1]):
        return Timeout(maximum[1], f"maximum of {maximum[0]}")
    return chosen or Timeout(None)


def changed(
    requested: object,
    *,
    status: JobExecutionStatus,
    started_at_ms: int,
    initial_minutes: int | None,
    current_minutes: int | None,
    maxima: Iterable[tuple[str, int | None]] = (),
) -> Changed | Refused:
    """Decide on a request to set, extend or reduce the timeout of one running execution (B9 to B16).

    `requested` is the member as decoded, in minutes from the start of the execution (B10).
    `initial_minutes` is the in-progress timeout that it started with, wherever that came from (B14), and
    never changes; `current_minutes` is the one in force; None: there is none. A timeout cannot be removed
    (B11). The step timer is not touched. The caller applies `deadline_ms` and bumps the version.
    """
    if status in TERMINAL:
        return Refused(Refusal.TERMINAL, f"The execution is {status.value}; its timeout cannot change")
    if status is not JobExecutionStatus.IN_PROGRESS:
        return Refused(
            Refusal.NOT_STARTED, f"The execution is {status.value}; no timeout runs before it starts"
        )
    if not _is_minutes(requested):
        span = f"a whole number from {TIMEOUT_MINUTES_MIN} to {TIMEOUT_MINUTES_MAX}"
        return Refused(Refusal.NOT_MINUTES, f"timeoutInMinutes must be {span}, not {str(requested)[:40]}")
    assert isinstance(requested, int)
    maximum = _smallest(maxima)
    if maximum is not None and requested > maximum[1]:
        message = (
            f"timeoutInMinutes must be at most {maximum[1]}, the maximum of {maximum[0]}, not {requested}"
        )
        return Refused(Refusal.ABOVE_MAXIMUM, message)
    if initial_minutes is not None and requested > initial_minutes + EXTENSION_MINUTES_MAX:
        most = f"{initial_minutes + EXTENSION_MINUTES_MAX}, {EXTENSION_MINUTES_MAX} above the initial timeout"
        message = f"timeoutInMinutes must be at most {most}, not {requested}"
        return Refused(Refusal.ABOVE_EXTENSION, message)
    return Changed(current_minutes, requested, started_at_ms + requested * MINUTE_MS)


def expires_at_ms(
    expiry_minutes: int | None, *, job_created_at_ms: int, queued_at_ms: int, is_own_clock: bool
) -> int | None:
    """Return when an execution that is still QUEUED expires, None if expiry is off (B19).

    It counts from the job's creation; with `is_own_clock` from `queued_at_ms`: for retries, and for those
    who join or re-join a continuous job. An execution that would be born expired, because its job's rollout
    or startTime came later than that, counts from `queued_at_ms` too.
    """
    if expiry_minutes is None:
        return None
    expiry_ms = expiry_minutes * MINUTE_MS
    from_creation_ms = job_created_at_ms + expiry_ms
    if is_own_clock or from_creation_ms <= queued_at_ms:
        return queued_at_ms + expiry_ms
    return from_creation_ms


def is_expired(status: JobExecutionStatus, expires_at_ms: int | None, now_ms: int) -> bool:
    """Tell whether a sweep cancels an execution: only QUEUED ones expire, never early (B19, B20)."""
    return status is JobExecutionStatus.QUEUED and expires_at_ms is not None and now_ms >= expires_at_ms


def expiry_details(expiry_minutes: int) -> dict[str, str]:
    """Return the statusDetails of an expired execution, which becomes CANCELED (B19, B21)."""
    return {"reason": f"Expired: not started within {expiry_minutes} minutes"}


def _is_minutes(value: object) -> bool:
    """A whole number in range; a boolean is none, and neither is 5.0 (B10)."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return TIMEOUT_MINUTES_MIN <= value <= TIMEOUT_MINUTES_MAX


def _smallest(maxima: Iterable[tuple[str, int | None]]) -> tuple[str, int] | None:
    given: Sequence[tuple[str, int]] = [(name, minutes) for name, minutes in maxima if minutes is not None]
    return min(given, key=lambda named: named[1], default=None)
