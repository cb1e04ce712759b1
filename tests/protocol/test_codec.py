"""Bytes to requests: accepted, InvalidJson or InvalidRequest, and nothing else ever comes out."""

import json
import unicodedata
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_protocol import messages
from thingjobs_protocol.codec import (
    Request,
    checked_status_details,
    client_token,
    decode_request,
    is_plain_text,
)
from thingjobs_protocol.errors import InvalidJson, InvalidRequest, Rejected
from thingjobs_protocol.status import JobExecutionStatus
from thingjobs_protocol.topics import Api

GET = Api.GET_PENDING_JOB_EXECUTIONS
START_NEXT = Api.START_NEXT_PENDING_JOB_EXECUTION
DESCRIBE = Api.DESCRIBE_JOB_EXECUTION
UPDATE = Api.UPDATE_JOB_EXECUTION


def update(**members: Any) -> messages.UpdateJobExecutionRequest:
    """Decode an update with these members."""
    return decoded_update(json.dumps({"status": "IN_PROGRESS", **members}).encode())


def decoded_update(payload: bytes) -> messages.UpdateJobExecutionRequest:
    request = decode_request(UPDATE, payload)
    assert isinstance(request, messages.UpdateJobExecutionRequest)
    return request


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        (GET, messages.GetPendingJobExecutionsRequest()),
        (START_NEXT, messages.StartNextPendingJobExecutionRequest()),
        (DESCRIBE, messages.DescribeJobExecutionRequest()),
    ],
)
def test_an_empty_payload_is_an_empty_object(api: Api, expected: messages.Wire) -> None:
    """Data plane 2.1; the defaults are those of 2.3 to 2.5, the document included (A29)."""
    assert decode_request(api, b"") == decode_request(api, b"{}") == decode_request(api, b" { } ") == expected


def test_an_empty_update_lacks_its_status() -> None:
    """The status is required every time (data plane 2.6, C41)."""
    with pytest.raises(InvalidRequest, match="status"):
        decode_request(UPDATE, b"")


def test_every_member_of_an_update_arrives() -> None:
    """Data plane 2.6."""
    payload = b"""{"status": "FAILED", "clientToken": "c", "statusDetails": {"a": "b"}, "expectedVersion": 3,
    "executionNumber": 2, "includeJobExecutionState": true, "includeJobDocument": true,
    "stepTimeoutInMinutes": -1}"""
    assert decoded_update(payload) == messages.UpdateJobExecutionRequest(
        JobExecutionStatus.FAILED, "c", {"a": "b"}, 3, 2, True, True, -1
    )


def test_the_defaults_of_an_update_ask_for_nothing() -> None:
    """The opposite of Describe (data plane 2.6)."""
    request = update()
    assert not request.include_job_document
    assert not request.include_job_execution_state


@pytest.mark.parametrize("api", Api)
def test_null_is_as_good_as_absent(api: Api) -> None:
    """Clients that write every member send null for what they do not mean."""
    nothing: dict[str, Any] = dict.fromkeys(
        ["clientToken", "statusDetails", "stepTimeoutInMinutes", "expectedVersion", "executionNumber"]
    )
    nothing |= {"includeJobDocument": None, "includeJobExecutionState": None}
    status = {"status": "IN_PROGRESS"}
    assert decode_request(api, json.dumps(nothing | status).encode()) == decode_request(
        api, json.dumps(status).encode()
    )


def test_a_status_of_null_is_refused() -> None:
    """It is the one member that must be there (data plane 3.3)."""
    with pytest.raises(InvalidRequest, match="status"):
        decode_request(UPDATE, b'{"status":null}')


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"clientToken":"c"',
        b"{'a':1}",
        b'{"a":1,}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"clientToken":"\xc3"}',
        b'{"clientToken":"\\ud800"}',
        b'{"a":"\\ud800"}',
        b'{"a":01}',
        b'{"a":"\n"}',
        b" ",
        b"\x00",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_in_utf_8_is_invalid_json(api: Api, payload: bytes) -> None:
    """Data plane 3.2, A19: also scalars, arrays, NaN and a byte order mark; nothing can be echoed."""
    with pytest.raises(InvalidJson) as refusal:
        decode_request(api, payload)
    assert refusal.value.client_token is None


@pytest.mark.parametrize("token", ["", "c", "ü", "x" * 70_000, "😀", "\x00", '"\\'])
@pytest.mark.parametrize("api", Api)
def test_any_text_is_a_client_token(api: Api, token: str) -> None:
    """Bounded by the payload alone (A18)."""
    request = decode_request(api, json.dumps({"clientToken": token, "status": "FAILED"}).encode())
    assert request.client_token == token


@pytest.mark.parametrize("token", [1, True, ["c"], {"c": "c"}, 1.5])
def test_a_client_token_of_another_type_is_refused_and_not_echoed(token: object) -> None:
    """A18."""
    with pytest.raises(InvalidRequest) as refusal:
        decode_request(GET, json.dumps({"clientToken": token}).encode())
    assert refusal.value.client_token is None


HUGE = "1" + "0" * 5000
REFUSED_MEMBERS = {
    "status": ['"DONE"', '"succeeded"', '"SUCCESS"', '""', "1", '["FAILED"]', '" FAILED"'],
    "statusDetails": ['"text"', "1", "[]", '[["a","b"]]', "true"],
    "expectedVersion": [
        *("true", "2.0", "1.5", '"x"', '""', '"2.0"', '"+2"', '"-2"', '" 2"', '"٣"', "[1]"),
        *(f'"{"1" * 19}"', "9223372036854775808", HUGE),
    ],
    "executionNumber": ["false", "1.0", '"one"', '"1e0"', "{}", "1e0", "-9223372036854775808", HUGE],
    "includeJobExecutionState": ["1", "0", '"true"', "[]"],
    "includeJobDocument": ["1", '"false"', "{}"],
    "stepTimeoutInMinutes": ["0", "-2", "10081", "1.5", "5.0", '"5"', "true", "[]", "1e1", HUGE],
}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        pytest.param(member, value, id=f"{member} {value[:30]}")
        for member, values in REFUSED_MEMBERS.items()
        for value in values
    ],
)
def test_a_member_of_the_wrong_kind_is_refused_with_the_token(member: str, value: str) -> None:
    """No float or bool for an integer, no number for a bool (data plane 2.6, 6.2, A16, A17, A39)."""
    status = "" if member == "status" else '"status":"IN_PROGRESS",'
    with pytest.raises(InvalidRequest, match=member) as refusal:
        decode_request(UPDATE, f'{{{status}"clientToken":"c","{member}":{value}}}'.encode())
    assert refusal.value.client_token == "c"
    assert len(refusal.value.message) < 250


@pytest.mark.parametrize("value", [0, 1, 10_080 * 2, -1, 2**63 - 1])
@pytest.mark.parametrize("member", ["expectedVersion", "executionNumber"])
def test_numbers_may_be_decimal_strings(member: str, value: int) -> None:
    """The v1 SDKs send both as strings (client quirks, A16); a negative one only as a number."""
    sent: list[object] = [value] if not 0 <= value < 10**18 else [value, str(value), f"00{value}"]
    for one in sent:
        request = update(**{member: one})
        assert (
            request.expected_version if member == "expectedVersion" else request.execution_number
        ) == value


@pytest.mark.parametrize("minutes", [1, 5, 10_080])
@pytest.mark.parametrize("api", [START_NEXT, UPDATE])
def test_a_step_timer_of_one_minute_to_seven_days(api: Api, minutes: int) -> None:
    """Data plane 6.2."""
    request = decode_request(
        api, json.dumps({"status": "IN_PROGRESS", "stepTimeoutInMinutes": minutes}).encode()
    )
    assert isinstance(
        request, messages.StartNextPendingJobExecutionRequest | messages.UpdateJobExecutionRequest
    )
    assert request.step_timeout_in_minutes == minutes


def test_a_step_timer_is_canceled_by_updates_only() -> None:
    """-1 is documented for UpdateJobExecution alone (A10)."""
    assert update(stepTimeoutInMinutes=-1).step_timeout_in_minutes == -1
    with pytest.raises(InvalidRequest, match="1 to 10080, not -1"):
        decode_request(START_NEXT, b'{"stepTimeoutInMinutes":-1}')


def test_a_step_timer_is_checked_with_a_terminal_status_too() -> None:
    """Validated, otherwise irrelevant (data plane 6.2, A11)."""
    with pytest.raises(InvalidRequest):
        decode_request(UPDATE, b'{"status":"SUCCEEDED","stepTimeoutInMinutes":0}')


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('{"k":"v"}', {"k": "v"}),
        ("{}", {}),
        ('{"uptime":5}', {"uptime": "5"}),
        ('{"load":0.5}', {"load": "0.5"}),
        ('{"n":-7}', {"n": "-7"}),
        ('{"big":12345678901234567890123}', {"big": "12345678901234567890123"}),
        ('{"ok":true,"ko":false}', {"ok": "true", "ko": "false"}),
        ('{"k":"true"}', {"k": "true"}),
        ('{"k":"a","k":"b"}', {"k": "b"}),
        ('{"a:b_c-D9":"ü 😀 \\u00a0"}', {"a:b_c-D9": "ü 😀 \u00a0"}),
    ],
)
def test_status_details_are_texts_and_scalars_become_their_json_text(
    sent: str, stored: dict[str, str]
) -> None:
    """Client quirks (numbers and booleans), A19 (the last of two equal keys), data plane 2.2."""
    assert decoded_update(b'{"status":"FAILED","statusDetails":%s}' % sent.encode()).status_details == stored


@pytest.mark.parametrize(
    "details",
    [
        {"k": None},
        {"k": []},
        {"k": {}},
        {"k": ""},
        {"k": "v" * 1025},
        {"k": "a\nb"},
        {"k": "a\tb"},
        {"k": "\x7f"},
        {"k": "\u200b"},
        {"k": "\ue000"},
        {"k": "\u0378"},
        {"k": 10**1024},
        {"": "v"},
        {"a b": "v"},
        {"ü": "v"},
        {"k\n": "v"},
        {"k" * 129: "v"},
        {str(number): "v" for number in range(11)},
    ],
    ids=lambda details: ascii(details)[:30],
)
def test_status_details_beyond_their_limits_are_refused(details: dict[str, object]) -> None:
    """Pairs, keys, lengths and characters (data plane 2.2, A13, C44)."""
    with pytest.raises(InvalidRequest, match="statusDetails") as refusal:
        update(statusDetails=details, clientToken="c")
    assert refusal.value.client_token == "c"


def test_status_details_at_their_limits_are_stored() -> None:
    """Ten pairs, keys of 128 and values of 1024 characters, characters and not bytes (C45)."""
    details = {f"{number}" * 128: "😀" * 1024 for number in range(10)}
    assert update(statusDetails=details).status_details == details


@hypothesis.given(st.text(max_size=3))
def test_plain_text_holds_nothing_of_the_categories_c(text: str) -> None:
    """Control, format, surrogate, private-use and unassigned characters (data plane 2.2)."""
    assert is_plain_text(text) == all(not unicodedata.category(one).startswith("C") for one in text)


def test_the_check_of_details_is_one_for_both_planes() -> None:
    """The control plane catches ValueError (control plane 1.3)."""
    assert checked_status_details(None) is None
    with pytest.raises(ValueError, match="k"):
        checked_status_details({"k": ""})


@pytest.mark.parametrize("number", ["1e999", "-1e400", "1" + "0" * 6000])
def test_a_number_too_large_for_anybody_in_a_member_nobody_knows_does_no_harm(number: str) -> None:
    """Unknown members are ignored (data plane 2.1), in a refusal as in an answer."""
    payload = f'{{"clientToken":"c","foo":{number},"stepTimeoutInMinutes":%s}}'
    assert decode_request(START_NEXT, (payload % "5").encode()).client_token == "c"
    for refused in ("0", '"x"'):
        with pytest.raises(InvalidRequest) as refusal:
            decode_request(START_NEXT, (payload % refused).encode())
        assert refusal.value.client_token == "c"


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        (b'{"clientToken":"c"}', "c"),
        (b'{"clientToken":"c","foo":1e999}', "c"),
        (b'{"clientToken":5}', None),
        (b"{}", None),
        (b"", None),
        (b"[1]", None),
        (b'{"clientToken":"c"', None),
        (b'{"clientToken":"\xff"}', None),
        (b'{"clientToken":"\\ud800"}', None),
        (b"[" * 100_000, None),
    ],
)
def test_a_readable_token_is_found_without_decoding_the_request(payload: bytes, token: str | None) -> None:
    """For refusals that come before the payload is looked at (data plane 3.1)."""
    assert client_token(payload) == token


# Whatever comes: a request within the limits, or a Rejected

JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [
        *("status", "clientToken", "statusDetails", "expectedVersion", "executionNumber", "foo"),
        *("includeJobExecutionState", "includeJobDocument", "stepTimeoutInMinutes"),
    ]
)
LIKELY_VALUES = st.one_of(
    st.sampled_from(
        [*JobExecutionStatus, "1", "x", 1, 0, -1, 10_080, 10_081, True, None, {"a": "b"}, {"a": 1}]
    ),
    st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=12),
    JSON_VALUES,
)
PAYLOADS = st.one_of(
    st.binary(max_size=80),
    st.text(alphabet='{}[]",:\\u0123abcdefnultrs-+.eE \ud7ff\x00\n', max_size=60).map(str.encode),
    st.dictionaries(MEMBERS, LIKELY_VALUES, max_size=6).map(lambda value: json.dumps(value).encode()),
)


def decoded_or_refused(api: Api, payload: bytes) -> Request | Rejected:
    """What comes out, one way or the other; anything else is an error of the test."""
    try:
        return decode_request(api, payload)
    except Rejected as refusal:
        return refusal


@hypothesis.settings(max_examples=400)
@hypothesis.given(st.sampled_from(Api), PAYLOADS)
def test_only_rejections_ever_come_out(api: Api, payload: bytes) -> None:
    """Bad input is a rejection that names the fault, never anything else; good input is within its limits."""
    request = decoded_or_refused(api, payload)
    if isinstance(request, Rejected):
        assert isinstance(request, InvalidJson | InvalidRequest)
        assert request.message.encode()
        assert request.execution_state is None
        return
    value = json.loads(payload or b"{}")
    assert request.client_token == value.get("clientToken")
    step = getattr(request, "step_timeout_in_minutes", None)
    assert step is None or step == -1 or 1 <= step <= 10_080
    for key, text in (getattr(request, "status_details", None) or {}).items():
        assert 1 <= len(key) <= 128
        assert isinstance(text, str)
        assert 1 <= len(text) <= 1024


@hypothesis.settings(max_examples=200)
@hypothesis.given(st.sampled_from(Api), st.binary(max_size=60), st.integers(0, 200), st.integers(0, 60))
def test_a_damaged_payload_is_a_request_or_a_rejection(
    api: Api, noise: bytes, position: int, length: int
) -> None:
    """Bytes overwritten in the middle of a good payload."""
    good = b'{"status":"IN_PROGRESS","clientToken":"\xc3\xbc","statusDetails":{"a":"b","n":1.5},'
    good += b'"expectedVersion":"2","stepTimeoutInMinutes":5,"includeJobDocument":true,"foo":[{"bar":null}]}'
    damaged = good[:position] + noise + good[position + length :]
    request = decoded_or_refused(api, damaged)
    if isinstance(request, Rejected):
        assert request.code in ("InvalidJson", "InvalidRequest")
    else:
        assert isinstance(msgspec.json.decode(damaged or b"{}", type=dict[str, msgspec.Raw]), dict)
