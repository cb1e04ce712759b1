"""How a step's end is put into words (control plane 8.3, A36, A37)."""

from __future__ import annotations

import pytest

from thingjobs_agent.document import Document, Step
from thingjobs_agent.events import StepExited
from thingjobs_agent.report import Outputs, failed, failure, step_label, succeeded
from thingjobs_protocol.codec import checked_status_details

STEP = Step("Work", "work.sh")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (StepExited(exit_status=0, std_err="noise", std_err_line_count=100), None),
        (StepExited(exit_status=1), "step 1/1 Work exited with status 1"),
        (StepExited(exit_status=127), "step 1/1 Work exited with status 127"),
        (StepExited(signal_number=15), "step 1/1 Work was killed by signal 15 (SIGTERM)"),
        (StepExited(signal_number=40), "step 1/1 Work was killed by signal 40"),
        (StepExited(refusal="there is no handler x"), "step 1/1 Work: there is no handler x"),
        (StepExited(), "step 1/1 Work exited with status None"),
    ],
)
def test_end_of_a_step_is_told_rightly(ended: StepExited, expected: str | None) -> None:
    """Known defects of the Device Client: wrong decoding, and signals as success."""
    assert failure(STEP, "1/1 Work", ended) == expected


@pytest.mark.parametrize(("lines", "is_good"), [(2, True), (3, False)])
def test_stderr_beyond_what_is_allowed_fails_the_step(lines: int, is_good: bool) -> None:
    """A36: fail when the lines exceed allowStdErr; without it there is no limit."""
    step = Step("Work", "work.sh", allow_std_err=2)
    reason = failure(step, "1/1 Work", StepExited(exit_status=0, std_err_line_count=lines))
    assert (reason is None) is is_good


def test_label_counts_from_one_and_is_fit_for_details() -> None:
    """It goes into status details as it is."""
    label = step_label(Document((STEP, Step("Café\u200b", "x"))), 1)
    assert label == "2/2 Café"


def test_empty_details_are_left_out() -> None:
    """Control plane 8.3, data plane 2.2: empty values are refused."""
    assert succeeded(Document((STEP,), include_std_out=True), [], Outputs()).status_details == {
        "reason": "1 step succeeded"
    }


def test_details_of_long_outputs_pass_the_services_check() -> None:
    """Data plane 2.2: at most 1024 characters each, over many steps."""
    outputs = Outputs()
    for _ in range(5):
        outputs.add(StepExited(std_out="o" * 1024, std_err="e" * 1000))
    details = failed("r" * 5000, label="1/1 Work", outputs=outputs, include_std_out=True).status_details
    assert checked_status_details(dict(details)) == details
    assert details["stdout"].startswith("[...] ")


@pytest.mark.parametrize(
    ("is_flat", "is_strict", "is_good"),
    [(True, True, False), (True, False, True), (False, True, True)],
)
def test_flat_documents_may_be_held_to_the_old_rule(is_flat: bool, is_strict: bool, is_good: bool) -> None:
    """A36: no stderr at all when allowStdErr is absent, under a legacy setting, in the flat form."""
    step = Step("w", "w.sh", is_flat=is_flat)
    ended = StepExited(exit_status=0, std_err_line_count=1)
    assert (failure(step, "1/1 w", ended, is_std_err_strict=is_strict) is None) is is_good


@pytest.mark.parametrize(("number", "expected"), [(24, "more processor time"), (25, "larger file")])
def test_death_by_a_limit_is_explained(number: int, expected: str) -> None:
    """Operators do not know signals by heart."""
    assert expected in (failure(STEP, "1/1 Work", StepExited(signal_number=number)) or "")
