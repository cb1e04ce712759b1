"""Waiting requests: one of each operation, temporary and permanent answers, and waits in virtual time."""

from __future__ import annotations

import pytest

from thingjobs_agent.events import Accepted, Rejected, Send
from thingjobs_agent.requests import Requests, backoff_ms
from thingjobs_protocol.messages import (
    RejectedResponse,
    UpdateJobExecutionRequest,
    UpdateJobExecutionResponse,
)
from thingjobs_protocol.status import JobExecutionStatus
from thingjobs_protocol.topics import Api

UPDATE = Api.UPDATE_JOB_EXECUTION


def put(requests: Requests, **options: bool) -> str:
    sends = requests.put(UPDATE, "J1", UpdateJobExecutionRequest(JobExecutionStatus.SUCCEEDED), 0, **options)
    token: str = sends[0].message.client_token  # type: ignore[attr-defined]
    return token


def accepted(token: str | None, job_id: str = "J1") -> Accepted:
    return Accepted(UPDATE, job_id, UpdateJobExecutionResponse(1, token))


def rejected(code: str, token: str | None) -> Rejected:
    return Rejected(UPDATE, "J1", RejectedResponse(1, code, "no", token))


def test_backoff_doubles_from_10_to_640_seconds() -> None:
    """Data plane 3.5."""
    assert [backoff_ms(failures, 0) // 1000 for failures in range(1, 9)] == [
        10,
        20,
        40,
        80,
        160,
        320,
        640,
        640,
    ]
    assert backoff_ms(10_000, 0) == 640_000
    assert 5000 < backoff_ms(1, 0.999) < 10_000


def test_answer_with_our_token_settles() -> None:
    """And only once."""
    requests = Requests("t", lambda: 0)
    token = put(requests)
    assert not requests.settle(accepted("other"), 0)
    assert not requests.settle(accepted(token, "J2"), 0)
    assert not requests.settle(accepted(None), 0)
    assert requests.settle(accepted(token), 0)
    assert not requests.settle(accepted(token), 0)


def test_rejection_without_token_settles_too() -> None:
    """Data plane 3.1: a service that could not read the request cannot echo the token."""
    requests = Requests("t", lambda: 0)
    put(requests)
    assert requests.settle(rejected("InvalidJson", None), 0)


def test_answer_to_an_earlier_copy_counts() -> None:
    """All copies carry one token, so that a late answer is not lost."""
    requests = Requests("t", lambda: 0)
    token = put(requests)
    requests.fire(10_000)
    copies = requests.fire(20_000)
    assert [type(copy) for copy in copies] == [Send]
    assert requests.settle(accepted(token), 20_001)
    assert requests.next_deadline_ms() is None


def test_temporary_rejection_keeps_the_request_for_later() -> None:
    """Data plane 3.5."""
    requests = Requests("t", lambda: 0)
    token = put(requests)
    assert not requests.settle(rejected("RequestThrottled", token), 1000)
    assert requests.next_deadline_ms() == 11_000
    assert len(requests.fire(11_000)) == 1


def test_request_that_is_not_repeated_ends_in_silence() -> None:
    """A lost progress report is no harm."""
    requests = Requests("t", lambda: 0)
    put(requests, is_repeated=False)
    assert requests.fire(10_000) == []
    assert UPDATE not in requests


def test_newer_request_takes_the_place_of_the_older() -> None:
    """A terminal report does not wait for a progress report; the older answer is nobody's."""
    requests = Requests("t", lambda: 0)
    older = put(requests, is_repeated=False)
    newer = put(requests)
    assert older != newer
    assert not requests.settle(accepted(older), 0)
    assert requests.settle(accepted(newer), 0)


@pytest.mark.parametrize(
    ("code", "is_settled"),
    [
        ("RequestThrottled", False),
        ("InternalError", False),
        ("VersionMismatch", True),
        ("InvalidRequest", True),
    ],
)
def test_only_two_refusals_are_temporary(code: str, is_settled: bool) -> None:
    """Data plane 3.5: the others would be the same the next time."""
    requests = Requests("t", lambda: 0)
    token = put(requests)
    assert requests.settle(rejected(code, token), 0) is is_settled
    assert (UPDATE in requests) is not is_settled
