"""The exact bytes of every message, and that a device reads back what the service wrote (data plane 2, 5)."""

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_protocol import messages
from thingjobs_protocol.codec import decode_reply, encode
from thingjobs_protocol.errors import Rejected, RejectedErrorCode
from thingjobs_protocol.status import (
    DEVICE_MAY_SET,
    PENDING,
    TERMINAL,
    JobExecutionStatus,
    JobStatus,
    TargetSelection,
)

QUEUED = JobExecutionStatus.QUEUED
IN_PROGRESS = JobExecutionStatus.IN_PROGRESS
DOCUMENT = msgspec.Raw(b'{"operation": "install"}')
SUMMARY = messages.JobExecutionSummary("J1", 10, 20, 1, 1)
SUMMARY_BYTES = b'{"jobId":"J1","queuedAt":10,"lastUpdatedAt":20,"versionNumber":1,"executionNumber":1}'

WIRE = {
    "get accepted, nothing pending": (
        messages.GetPendingJobExecutionsResponse(7, [], []),
        b'{"timestamp":7,"inProgressJobs":[],"queuedJobs":[]}',
    ),
    "get accepted": (
        messages.GetPendingJobExecutionsResponse(
            7, [messages.JobExecutionSummary("J2", 10, 20, 2, 3, 15)], [SUMMARY], "c"
        ),
        b'{"timestamp":7,"inProgressJobs":[{"jobId":"J2","queuedAt":10,"lastUpdatedAt":20,"versionNumber":2,'
        b'"executionNumber":3,"startedAt":15}],"queuedJobs":[' + SUMMARY_BYTES + b'],"clientToken":"c"}',
    ),
    "start-next accepted, nothing pending": (
        messages.JobExecutionResponse(7, "c"),
        b'{"timestamp":7,"clientToken":"c"}',
    ),
    "describe accepted without the document": (
        messages.JobExecutionResponse(7, None, messages.JobExecution("J1", QUEUED, 10, 10, 1, 1)),
        (
            b'{"timestamp":7,"execution":{"jobId":"J1","status":"QUEUED","queuedAt":10,"lastUpdatedAt":10,'
            b'"versionNumber":1,"executionNumber":1}}'
        ),
    ),
    "start-next accepted": (
        messages.JobExecutionResponse(
            7,
            "c",
            messages.JobExecution("J1", IN_PROGRESS, 10, 20, 2, 1, {"step": "dl"}, 20, 599, DOCUMENT),
        ),
        (
            b'{"timestamp":7,"clientToken":"c","execution":{"jobId":"J1","status":"IN_PROGRESS","queuedAt":10,'
            b'"lastUpdatedAt":20,"versionNumber":2,"executionNumber":1,"statusDetails":{"step":"dl"},"startedAt":20,'
            b'"approximateSecondsBeforeTimedOut":599,"jobDocument":{"operation": "install"}}}'
        ),
    ),
    "no seconds left is a number, not nothing": (
        messages.JobExecution("J1", IN_PROGRESS, 10, 20, 2, 1, None, 20, 0),
        (
            b'{"jobId":"J1","status":"IN_PROGRESS","queuedAt":10,"lastUpdatedAt":20,"versionNumber":2,'
            b'"executionNumber":1,"startedAt":20,"approximateSecondsBeforeTimedOut":0}'
        ),
    ),
    "update accepted": (messages.UpdateJobExecutionResponse(7), b'{"timestamp":7}'),
    "update accepted with everything": (
        messages.UpdateJobExecutionResponse(
            7, "c", messages.JobExecutionState(IN_PROGRESS, 3, {"p": "50"}), DOCUMENT
        ),
        (
            b'{"timestamp":7,"clientToken":"c","executionState":{"status":"IN_PROGRESS","versionNumber":3,'
            b'"statusDetails":{"p":"50"}},"jobDocument":{"operation": "install"}}'
        ),
    ),
    "rejected": (
        messages.RejectedResponse(7, "InvalidJson", "why"),
        b'{"timestamp":7,"code":"InvalidJson","message":"why"}',
    ),
    "rejected with the state": (
        messages.RejectedResponse(7, "VersionMismatch", "why", "c", messages.JobExecutionState(QUEUED, 1)),
        (
            b'{"timestamp":7,"code":"VersionMismatch","message":"why","clientToken":"c",'
            b'"executionState":{"status":"QUEUED","versionNumber":1}}'
        ),
    ),
    "notify": (
        messages.JobExecutionsChanged(7, {"QUEUED": [SUMMARY]}),
        b'{"timestamp":7,"jobs":{"QUEUED":[' + SUMMARY_BYTES + b"]}}",
    ),
    "notify, nothing pending": (messages.JobExecutionsChanged(7, {}), b'{"timestamp":7,"jobs":{}}'),
    "notify-next": (
        messages.NextJobExecutionChanged(
            7, messages.JobExecution("J1", QUEUED, 10, 10, 1, 1, job_document=DOCUMENT)
        ),
        (
            b'{"timestamp":7,"execution":{"jobId":"J1","status":"QUEUED","queuedAt":10,"lastUpdatedAt":10,'
            b'"versionNumber":1,"executionNumber":1,"jobDocument":{"operation": "install"}}}'
        ),
    ),
    "notify-next, nothing pending": (messages.NextJobExecutionChanged(7), b'{"timestamp":7}'),
    "get": (messages.GetPendingJobExecutionsRequest(), b"{}"),
    "start-next": (
        messages.StartNextPendingJobExecutionRequest("c", {"step": "dl"}, 5),
        b'{"clientToken":"c","statusDetails":{"step":"dl"},"stepTimeoutInMinutes":5}',
    ),
    "describe": (
        messages.DescribeJobExecutionRequest("c", 2, include_job_document=False),
        b'{"clientToken":"c","executionNumber":2,"includeJobDocument":false}',
    ),
    "update": (
        messages.UpdateJobExecutionRequest(
            JobExecutionStatus.SUCCEEDED,
            "c",
            {},
            2,
            1,
            include_job_execution_state=True,
            include_job_document=True,
            step_timeout_in_minutes=-1,
        ),
        (
            b'{"status":"SUCCEEDED","clientToken":"c","statusDetails":{},"expectedVersion":2,"executionNumber":1,'
            b'"includeJobExecutionState":true,"includeJobDocument":true,"stepTimeoutInMinutes":-1}'
        ),
    ),
}


@pytest.mark.parametrize(("message", "payload"), WIRE.values(), ids=WIRE)
def test_a_message_has_exactly_these_bytes(message: messages.Wire, payload: bytes) -> None:
    """Names, order and what is absent: never null, never a list too many (data plane 2.1 to 2.6, 5.1)."""
    assert encode(message) == payload
    assert decode_reply(type(message), payload) == message


JSON_OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8)),
    max_size=4,
)
DETAILS = st.dictionaries(st.from_regex(r"\A[a-z]{1,4}\Z"), st.text(min_size=1, max_size=5), min_size=1)
NUMBERS = st.integers(0, 2**53)
EXECUTIONS = st.builds(
    messages.JobExecution,
    st.text(min_size=1, max_size=8),
    st.sampled_from(JobExecutionStatus),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.none() | DETAILS,
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.just(msgspec.UNSET) | JSON_OBJECTS.map(lambda value: msgspec.Raw(msgspec.json.encode(value))),
)


@hypothesis.given(NUMBERS, st.none() | st.text(max_size=10), st.none() | EXECUTIONS)
def test_a_device_reads_back_any_execution(
    timestamp: int, token: str | None, execution: messages.JobExecution | None
) -> None:
    """Encoding and decoding are inverse, and no member is ever null outside the document (data plane 2.1)."""
    message = messages.JobExecutionResponse(timestamp, token, execution)
    payload = encode(message)
    assert decode_reply(messages.JobExecutionResponse, payload) == message
    shown = msgspec.json.decode(payload)
    assert None not in shown.values()
    assert None not in shown.get("execution", {}).values()


def test_a_reply_of_another_shape_is_no_reply() -> None:
    """A device must not take milliseconds as text, or a list, for an execution."""
    for payload in (b"[]", b"{}", b'{"timestamp":"7"}', b'{"timestamp":7,"execution":[]}', b"\xff", b""):
        with pytest.raises(msgspec.DecodeError):
            decode_reply(messages.JobExecutionResponse, payload)


def test_a_device_ignores_members_it_does_not_know() -> None:
    """AWS may send more, such as thingName (data plane 2.2)."""
    payload = b'{"timestamp":7,"namespace":"n","execution":{"jobId":"J1","thingName":"T","status":"QUEUED",'
    payload += b'"queuedAt":1,"lastUpdatedAt":1,"versionNumber":1,"executionNumber":1}}'
    reply = decode_reply(messages.NextJobExecutionChanged, payload)
    assert reply.execution is not None
    assert reply.execution.job_id == "J1"


def test_every_code_of_the_wire_has_one_class() -> None:
    """Data plane 3.2: nine codes."""
    assert [kind.code for kind in Rejected.__subclasses__()] == list(
        dict.fromkeys(kind.code for kind in Rejected.__subclasses__())
    )
    assert {kind.code for kind in Rejected.__subclasses__()} == set(RejectedErrorCode)
    assert {code.value for code in RejectedErrorCode} == {
        *("InvalidTopic", "InvalidJson", "InvalidRequest", "InvalidStateTransition", "ResourceNotFound"),
        *("VersionMismatch", "InternalError", "RequestThrottled", "TerminalStateReached"),
    }
    assert all(kind.__name__ == kind.code for kind in Rejected.__subclasses__())


def test_the_states_are_those_of_the_protocol() -> None:
    """Data plane 4.1, control plane 2.2: eight states of an execution, five of a job."""
    terminal = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED", "REMOVED"}
    assert {status.value for status in TERMINAL} == terminal
    assert {status.value for status in PENDING} == {"QUEUED", "IN_PROGRESS"}
    assert set(JobExecutionStatus) == TERMINAL | PENDING
    assert {status.value for status in DEVICE_MAY_SET} == {"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"}
    assert {status.value for status in JobStatus} == {
        *("SCHEDULED", "IN_PROGRESS", "COMPLETED", "CANCELED", "DELETION_IN_PROGRESS"),
    }
    assert {selection.value for selection in TargetSelection} == {"SNAPSHOT", "CONTINUOUS"}
