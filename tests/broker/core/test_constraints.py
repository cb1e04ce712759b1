"""Invalid requests for every operation, made from the constraints of its types (control plane 1.2, 1.3)."""

import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest
from msgspec import inspect

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import START_MS, only, picture
from thingjobs_broker.core.control import OPERATIONS

ARN = "arn:aws:iot:local:000000000000:"
CODES = {
    *("InvalidRequestException", "InvalidQueryException", "ResourceNotFoundException"),
    *("ResourceAlreadyExistsException", "ConflictException", "InvalidStateTransitionException"),
    *("VersionConflictException", "LimitExceededException", "IndexNotReadyException"),
}
# What makes a value of a text valid where its type does not tell.
TEXTS = {
    "jobTemplateArn": f"{ARN}jobtemplate/tpl",
    "jobArn": f"{ARN}job/J1",
    "resourceArn": f"{ARN}job/J1",
    "destinationPackageVersions": f"{ARN}package/p",
    "document": "{}",
    "documentSource": "s3://bucket/key",
    "targets": "T",
    "roleArn": "arn:aws:iam::role/credential",
    "jobId": "J1",
    "thingName": "T",
    "thingGroupName": "G",
    "templateVersion": "1.0",
    "queryString": "thingName:T",
    "thingArn": f"{ARN}thing/T",
    "thingGroupArn": f"{ARN}thinggroup/G",
    "parentGroup": "G",
    "thingGroupsToAdd": "H",
    "thingGroupsToRemove": "G",
    "indexName": "AWS_Things",
    "queryVersion": "2017-09-30",
    "reasonCode": "CODE",
    "endTime": str(START_MS // 1000 + 7200),
    "startTime": "cron(0 10 * * ? *)",
}


def valid(kind: inspect.Type, name: str) -> Any:  # noqa: C901 - a case for each type
    """Some value that the type allows."""
    match kind:
        case inspect.Metadata():
            return valid(kind.type, name)
        case inspect.StrType():
            return TEXTS.get(name, "a")
        case inspect.IntType() | inspect.FloatType():
            return max(kind.ge or 1, 1.5 if isinstance(kind, inspect.FloatType) else 1)
        case inspect.BoolType():
            return False
        case inspect.EnumType():
            return next(iter(kind.cls)).value
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.ListType():
            return [valid(kind.item_type, name)] * (kind.min_length or 1)
        case inspect.DictType():
            return {valid(kind.key_type, name): valid(kind.value_type, name)}
        case inspect.StructType():
            return {
                field.encode_name: valid(field.type, field.encode_name)
                for field in kind.fields
                if field.required
            }
        case inspect.UnionType():
            return valid(next(one for one in kind.types if not isinstance(one, inspect.NoneType)), name)
    return 5


def broken(kind: inspect.Type, name: str) -> Iterator[Any]:  # noqa: C901, PLR0912 - a case for each type
    """Values that the type does not allow."""
    match kind:
        case inspect.Metadata():
            yield from broken(kind.type, name)
        case inspect.UnionType():
            for one in kind.types:
                yield from broken(one, name)
        case inspect.StrType():
            yield from (5, 1.5, [], {}, True)
            if kind.max_length is not None:
                yield "a" * (kind.max_length + 1)
            if kind.min_length:
                yield ""
            if kind.pattern is not None:
                wrong = ("ü\0 ", "", "a\n")
                yield from (text for text in wrong if not re.search(kind.pattern, text))
        case inspect.IntType():
            yield from ("5", 1.5, [], True, 2**80)
            yield from ([kind.ge - 1] if kind.ge is not None else [])
            yield from ([kind.le + 1] if kind.le is not None else [])
        case inspect.FloatType():
            yield from ("5", [], True)
            yield from ([kind.ge - 0.1] if kind.ge is not None else [])
            yield from ([kind.le + 0.1] if kind.le is not None else [])
        case inspect.BoolType():
            yield from ("true", 0, 1, [])
        case inspect.EnumType() | inspect.LiteralType():
            yield from ("nonsense", "", 5, [])
        case inspect.ListType():
            yield from ("a", 5, {})
            yield from ([[]] if kind.min_length else [])
            if kind.max_length is not None:
                yield [valid(kind.item_type, name)] * (kind.max_length + 1)
            yield from ([value] for value in broken(kind.item_type, name))
        case inspect.DictType():
            yield from ("a", 5, [])
            yield from ({valid(kind.key_type, name): value} for value in broken(kind.value_type, name))
            texts = (key for key in broken(kind.key_type, name) if isinstance(key, str))
            yield from ({key: valid(kind.value_type, name)} for key in texts)
        case inspect.StructType():
            yield from ("a", 5, [])
            whole = valid(kind, name)
            for field in kind.fields:
                if field.required:
                    yield {other: value for other, value in whole.items() if other != field.encode_name}
                for value in broken(field.type, field.encode_name):
                    yield whole | {field.encode_name: value}


def violations(operation: str) -> list[dict[str, Any]]:
    """Requests for an operation of which each breaks one constraint."""
    info = inspect.type_info(OPERATIONS[operation].request_type)
    return [value for value in broken(info, operation) if isinstance(value, dict)]


def busy_world() -> GroupWorld:
    """A job that runs, a group, a template: what the valid parts of the requests name."""
    world = GroupWorld("T", "U")
    world.group("G", "T", "U")
    world.group("H")
    world.control("CreateThingType", thingTypeName="a")
    indexing = {"thingIndexingMode": "REGISTRY"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=indexing)
    world.create_job("J1", "G", targetSelection="CONTINUOUS")
    world.control("CreateJobTemplate", jobTemplateId="tpl", description="x", document="{}")
    world.device("T", "start-next")
    return world


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_each_broken_constraint_is_refused_and_changes_nothing(operation: str) -> None:
    """InvalidRequest with one line that names the member; no record (control plane 1.2)."""
    world = busy_world()
    before = picture(world.state)
    for request in violations(operation):
        body = only(world.call(operation, request))
        assert body["code"] == "InvalidRequestException", (request, body)
        assert "\n" not in body["message"]
        assert world.records == []
    assert picture(world.state) == before


def test_there_is_much_to_break() -> None:
    """A generator that makes nothing would prove nothing: each member of each operation is broken, but for
    one that takes anything and is looked at by its rule.
    """
    for operation, row in OPERATIONS.items():
        members = {field.encode_name for field in msgspec.structs.fields(row.request_type)}
        whole = valid(inspect.type_info(row.request_type), operation)
        changed = {
            name
            for request in violations(operation)
            for name in members
            if request.get(name) != whole.get(name)
        }
        assert members - changed <= {"timeoutInMinutes"} - (whole.keys() - members), operation
    assert len(violations("CreateJob")) > 150
    assert sum(len(violations(operation)) for operation in OPERATIONS) > 400


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_what_is_no_request_at_all_is_refused(operation: str) -> None:
    """Not JSON, not an object, not UTF-8, too deep, cut off: one line, and nothing changes (1.2)."""
    world = busy_world()
    payloads = (b"[]", b"5", b"null", b'"a"', b"{", b"nonsense", b"\xff", b"[" * 5000, b'{"a":}', b"{}{}")
    for payload in payloads:
        body = only(world.call(operation, payload))
        assert (body["code"], world.records) == ("InvalidRequestException", []), payload
        assert "\n" not in body["message"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@hypothesis.given(data=st.data(), operation=st.sampled_from(list(OPERATIONS)))
@hypothesis.settings(max_examples=2 * hypothesis.settings().max_examples)
def test_whatever_is_sent_gets_one_answer_and_a_refusal_changes_nothing(
    data: st.DataObject, operation: str
) -> None:
    """Members of the right names with right, wrong and absurd values, together: no crash, no hang."""
    world = busy_world()
    before = picture(world.state)
    fields = msgspec.structs.fields(OPERATIONS[operation].request_type)
    kinds = inspect.type_info(OPERATIONS[operation].request_type)
    assert isinstance(kinds, inspect.StructType)
    request = {}
    for field, kind in zip(fields, kinds.fields, strict=True):
        name = field.encode_name
        wrong = list(broken(kind.type, name)) or [None]
        choice = st.one_of(st.just(valid(kind.type, name)), st.sampled_from(wrong), JSON)
        if data.draw(st.booleans(), name) or kind.required:
            request[name] = data.draw(choice, name)
    answer = world.call(operation, request)[0]
    if answer.ending == "rejected":
        assert answer.body["code"] in CODES
        assert "\n" not in answer.body["message"]
        assert world.records == []
        assert picture(world.state) == before
    assert picture(world.recovered()) == picture(world.state)
