"""Whether a job's failures call for its abort (spec: control plane 4). Exact: integers only.

Counts in, decision out; the cancellation itself is an ordinary CancelJob without force.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from collections.abc import Mapping

REASON_CODE: Final = "ABORT_CRITERIA_MET"
"""Tells an abort from an operator's cancellation (A5)."""

EXECUTED: Final = (Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.TIMED_OUT)
"""The denominator: CANCELED and REMOVED are in neither count (A4)."""

BAD: Final[dict[str, tuple[Status, ...]]] = {
    "FAILED": (Status.FAILED,),
    "REJECTED": (Status.REJECTED,),
    "TIMED_OUT": (Status.TIMED_OUT,),
    "ALL": (Status.FAILED, Status.REJECTED, Status.TIMED_OUT),
}
"""What each failure type counts (spec: control plane 4, "Formula")."""

COUNT_MAX: Final = 2**31 - 1


class AbortCriteria(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """One criterion. `min_number_of_executed_things` counts completed executions (A3)."""

    failure_type: Literal["FAILED", "REJECTED", "TIMED_OUT", "ALL"]
    action: Literal["CANCEL"]
    threshold_percentage: Annotated[float, Meta(ge=0, le=100)]
    min_number_of_executed_things: Annotated[int, Meta(ge=1, le=COUNT_MAX)]

    def __post_init__(self) -> None:
        """Refuse a percentage with more than two decimals (spec: control plane 1.3, V16)."""
        hundredths = _hundredths(self.threshold_percentage)
        if hundredths != hundredths.to_integral_value():
            message = f"thresholdPercentage may have two decimals, not {self.threshold_percentage}"
            raise ValueError(message)


class AbortConfig(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """`abortConfig`, with every rule of 1.3 and 4 in it; use it as the member's type.

    Two criteria of one failure type are allowed: tight after few executions, looser after many.
    """

    criteria_list: Annotated[list[AbortCriteria], Meta(min_length=1, max_length=100)]


class Abort(msgspec.Struct, frozen=True):
    """A criterion that is met: what the abort is for, and the texts of the job that tell it."""

    failure_type: str
    bad: int
    executed: int
    measured_percentage: str
    """Two decimals, cut off, so that it never shows more than there was."""
    threshold_percentage: str
    comment: str
    reason_code: str = REASON_CODE


def decide(config: AbortConfig | None, counts: Mapping[str, int] | Mapping[Status, int]) -> Abort | None:
    """Return the abort that the job's counters call for, None where it goes on.

    Call it after an execution became terminal by its device's report or by a timer, and after an UpdateJob
    with an abortConfig; never after DeleteJobExecution, and only while the job is IN_PROGRESS or SCHEDULED
    (spec: control plane 4, "When checked", "Deletion"). `counts` are the job's counters by status, retries
    included; a missing status counts 0. The first criterion that is met decides.
    """
    if config is None:
        return None
    executed = sum(counts.get(status, 0) for status in EXECUTED)
    for number, criterion in enumerate(config.criteria_list, start=1):
        bad = sum(counts.get(status, 0) for status in BAD[criterion.failure_type])
        if executed >= criterion.min_number_of_executed_things and _is_met(criterion, bad, executed):
            return _abort(criterion, number, bad, executed)
    return None


def _is_met(criterion: AbortCriteria, bad: int, executed: int) -> bool:
    """Compare without a division; both bounds are inclusive."""
    return bad * 10_000 >= int(_hundredths(criterion.threshold_percentage)) * executed


def _abort(criterion: AbortCriteria, number: int, bad: int, executed: int) -> Abort:
    measured = _percentage(bad * 10_000 // executed)
    threshold = _percentage(int(_hundredths(criterion.threshold_percentage)))
    kind = "failed in any way" if criterion.failure_type == "ALL" else criterion.failure_type
    comment = (
        f"Abort criterion {number} is met: {bad} of {executed} executed things {kind}, {measured} %"
        f" (failureType {criterion.failure_type}, threshold {threshold} %,"
        f" after {criterion.min_number_of_executed_things} executed things)"
    )
    return Abort(criterion.failure_type, bad, executed, measured, threshold, comment)


def _percentage(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02}"


def _hundredths(percentage: float) -> Decimal:
    """The percentage times 100, from its shortest decimal form: what the caller wrote."""
    return Decimal(repr(percentage)) * 100
