"""Topics and payloads to inputs: only our own thing's, only well-formed ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingjobs_agent.events import Accepted, NextChanged, PendingChanged, Rejected
from thingjobs_agent.inbox import Inbox, MessageError
from thingjobs_protocol.topics import Api

BASE = "$aws/things/press-7/jobs/"
INBOX = Inbox("press-7", "$aws")
EXECUTION = (
    b'{"jobId":"J1","status":"QUEUED","queuedAt":1,"lastUpdatedAt":1,"versionNumber":1,"executionNumber":1,'
    b'"jobDocument":{"operation":"x"}}'
)
REJECTED = b'{"timestamp":1,"code":"InvalidRequest","message":"no"}'


@pytest.mark.parametrize(
    ("suffix", "payload", "kind", "api", "job_id"),
    [
        ("start-next/accepted", b'{"timestamp":1,"execution":' + EXECUTION + b"}", Accepted, "Start", ""),
        ("start-next/rejected", REJECTED, Rejected, "Start", ""),
        ("J1/get/accepted", b'{"timestamp":1}', Accepted, "Describe", "J1"),
        ("$next/get/accepted", b'{"timestamp":1}', Accepted, "Describe", "$next"),
        ("J1/update/accepted", b'{"timestamp":1}', Accepted, "Update", "J1"),
        ("get/update/rejected", REJECTED, Rejected, "Update", "get"),
        ("start-next/get/accepted", b'{"timestamp":1}', Accepted, "Describe", "start-next"),
    ],
)
def test_replies_are_read(suffix: str, payload: bytes, kind: type, api: str, job_id: str) -> None:
    """Data plane 1.1, A36: by the number of segments, so that job ids may be topic words."""
    given = INBOX.read(BASE + suffix, payload)
    assert type(given) is kind
    assert isinstance(given, Accepted | Rejected)
    assert given.api.value.startswith(api)
    assert given.job_id == job_id


def test_notifications_are_read() -> None:
    """Data plane 5.1."""
    assert isinstance(INBOX.read(BASE + "notify", b'{"timestamp":1,"jobs":{}}'), PendingChanged)
    given = INBOX.read(BASE + "notify-next", b'{"timestamp":1,"execution":' + EXECUTION + b"}")
    assert isinstance(given, NextChanged)
    assert given.message.execution is not None


@pytest.mark.parametrize(
    "topic",
    [
        BASE + "start-next",
        BASE + "J1/update",
        BASE + "get/accepted",
        BASE + "J1/get",
        BASE + "notify-namespace-aws-gg-deployment",
        BASE + "J1/namespace-aws-gg-deployment/get/accepted",
        "$aws/things/press-8/jobs/notify-next",
        "$aws/things/press-7/shadow/get/accepted",
        "aws/things/press-7/jobs/notify",
    ],
)
def test_other_topics_are_passed_over(topic: str) -> None:
    """Data plane 1.1, 1.6: requests, other things, other services."""
    assert INBOX.read(topic, b"not even json") is None


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"timestamp":"x"}', b"[" * 90_000])
def test_bad_payload_is_one_error(payload: bytes) -> None:
    """A bad message is passed over by the caller, with a reason."""
    with pytest.raises(MessageError) as caught:
        INBOX.read(BASE + "notify-next", payload)
    assert "\n" not in str(caught.value)


def test_job_id_that_is_no_job_id_is_refused() -> None:
    """Data plane 1.3: job ids become parts of paths and topics."""
    payload = b'{"timestamp":1,"execution":' + EXECUTION.replace(b"J1", b"../../x") + b"}"
    with pytest.raises(MessageError, match="breaks the pattern"):
        INBOX.read(BASE + "start-next/accepted", payload)


def test_deep_document_leaves_the_reply_readable() -> None:
    """A hostile document must be answered, so the rest of the reply is read without its depths."""
    deep = b'{"a":"]}\\"[","b":' + b"[" * 9000 + b'"]"' + b"]" * 9000 + b',"c":1}'
    payload = (
        b'{"timestamp":1,"execution":'
        + EXECUTION.replace(b'{"operation":"x"}', deep)
        + b',"clientToken":"t"}'
    )
    given = INBOX.read(BASE + "start-next/accepted", payload)
    assert isinstance(given, Accepted)
    assert given.response.client_token == "t"
    assert given.api is Api.START_NEXT_PENDING_JOB_EXECUTION


def test_eight_filters_are_subscribed() -> None:
    """AWS takes no more than eight in one packet."""
    filters = INBOX.filters()
    assert len(filters) == len(set(filters)) == 8
    assert all(each.startswith(BASE) for each in filters)


@given(st.text(), st.binary())
def test_any_message_is_read_passed_over_or_refused(suffix: str, payload: bytes) -> None:
    """Nothing on the wire makes anything else happen."""
    for topic in (BASE + suffix, BASE + "notify", BASE + "J1/get/accepted"):
        with contextlib.suppress(MessageError):
            INBOX.read(topic, payload)
