"""Each limit that a deployment may move: the setting, its default, and the refusal that names it.

Spec: control plane 10.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import DOCUMENT, only, picture
from thingjobs_broker.config import QuotaSettings, ServiceSettings
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.core.quotas import Quotas
from thingjobs_broker.host import rules_of

LIMIT, INVALID, QUERY = "LimitExceededException", "InvalidRequestException", "InvalidQueryException"
JOB: dict[str, Any] = {"jobId": "J9", "targets": ["T"], "document": DOCUMENT}
TAGS = [{"Key": "a"}, {"Key": "b"}, {"Key": "c"}]
LATER = {"schedulingConfig": {"startTime": "1700003600"}}


def prepared(**rules: Any) -> GroupWorld:
    """Two things, two groups, indexing on."""
    world = GroupWorld("T", "U", rules=Rules(**rules))
    world.group("G")
    world.group("H")
    indexing = {"thingIndexingMode": "REGISTRY"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=indexing)
    return world


def attributes(count: int) -> dict[str, Any]:
    return {"attributes": {f"a{number}": "1" for number in range(count)}}


def a_deletion(world: GroupWorld) -> None:
    """One job that is being deleted, and stays so until time goes on."""
    names = [f"V{number}" for number in range(600)]
    world.things(*names)
    world.group("many", *names)
    for job_id, target in (("J1", "many"), ("J2", "T")):
        world.create_job(job_id, target)
    world.advance(60_000)
    world.control("DeleteJob", jobId="J1", force=True)
    assert world.job("J1").status == "DELETION_IN_PROGRESS"


def retries(count: int) -> dict[str, Any]:
    criteria = [{"failureType": name, "numberOfRetries": count} for name in ("FAILED", "TIMED_OUT")]
    return {"jobExecutionsRetryConfig": {"criteriaList": criteria}}


def made(operation: str, **members: Any) -> Callable[[GroupWorld], Any]:
    return lambda world: world.control(operation, **members)


def query(name: str, text: str) -> dict[str, Any]:
    return {"thingGroupName": name, "queryString": text}


def searchable(*names: str) -> dict[str, Any]:
    return {"thingTypeProperties": {"searchableAttributes": [*names]}}


Case = tuple[str, int, Callable[[GroupWorld], Any] | None, str, dict[str, Any], dict[str, Any], str]
# The setting, its value, what is there before, and an operation: what is allowed, what is not, the code.
CASES: list[Case] = [
    ("active_jobs_max", 1, None, "CreateJob", JOB, {"jobId": "J8"}, LIMIT),
    ("concurrent_jobs_max", 1, None, "CreateJob", JOB | {"targets": ["G"]}, {"jobId": "J8"}, ""),
    ("deletions_max", 1, a_deletion, "DeleteJob", {}, {"jobId": "J2", "force": True}, LIMIT),
    ("targets_max", 1, None, "CreateJob", JOB, {"jobId": "J8", "targets": ["T", "U"]}, LIMIT),
    (
        *("templates_max", 1, None, "CreateJobTemplate"),
        *({"jobTemplateId": "a", "description": "d", "document": "{}"}, {"jobTemplateId": "b"}, LIMIT),
    ),
    ("retries_max", 4, None, "CreateJob", JOB | retries(2), {"jobId": "J8"} | retries(3), INVALID),
    ("tags_max", 2, None, "CreateJob", JOB | {"tags": TAGS[:2]}, {"jobId": "J8", "tags": TAGS}, LIMIT),
    (
        *("attributes_without_type_max", 1, None, "UpdateThing"),
        *(
            {"thingName": "T", "attributePayload": attributes(1)},
            {"attributePayload": attributes(2)},
            INVALID,
        ),
    ),
    (
        *("attributes_with_type_max", 1, made("CreateThingType", thingTypeName="p"), "CreateThing"),
        {"thingName": "V", "thingTypeName": "p", "attributePayload": attributes(1)},
        {"thingName": "W", "attributePayload": attributes(2)},
        INVALID,
    ),
    (
        *("attributes_bytes_max", 6, None, "UpdateThing"),
        *(
            {"thingName": "T", "attributePayload": attributes(2)},
            {"attributePayload": attributes(3)},
            INVALID,
        ),
    ),
    (
        *("searchable_attributes_max", 1, None, "CreateThingType"),
        *({"thingTypeName": "p"} | searchable("a"), {"thingTypeName": "q"} | searchable("a", "b"), INVALID),
    ),
    (
        *("groups_per_thing_max", 1, None, "AddThingToThingGroup"),
        *({"thingName": "T", "thingGroupName": "G"}, {"thingGroupName": "H"}, INVALID),
    ),
    (
        *("group_depth_max", 2, None, "CreateThingGroup"),
        {"thingGroupName": "below", "parentGroupName": "G"},
        {"thingGroupName": "deep", "parentGroupName": "below"},
        INVALID,
    ),
    (
        *("group_children_max", 1, None, "CreateThingGroup"),
        *({"thingGroupName": "a", "parentGroupName": "G"}, {"thingGroupName": "b"}, INVALID),
    ),
    (
        *("group_attributes_max", 1, None, "UpdateThingGroup"),
        {"thingGroupName": "G", "thingGroupProperties": {"attributePayload": attributes(1)}},
        {"thingGroupProperties": {"attributePayload": attributes(2)}},
        INVALID,
    ),
    (
        *("dynamic_groups_max", 1, None, "CreateDynamicThingGroup"),
        *(query("D", "thingName:T"), {"thingGroupName": "E"}, LIMIT),
    ),
    (
        *("dynamic_group_terms_max", 1, None, "CreateDynamicThingGroup"),
        *(query("D", "thingName:T"), query("E", "T U"), QUERY),
    ),
    ("search_terms_max", 2, None, "SearchIndex", {"queryString": "T U"}, {"queryString": "T U V"}, QUERY),
]


@pytest.mark.parametrize("case", [case for case in CASES if case[6]], ids=lambda case: case[0])
def test_one_more_than_the_setting_allows_is_refused_and_changes_nothing(case: Case) -> None:
    """Control plane 10: as many are allowed; the refusal tells the count, the limit and the setting."""
    setting, value, before, operation, allowed, beyond, code = case
    world = prepared(**{setting: value})
    if before is not None:
        before(world)
    if allowed:
        world.control(operation, **allowed)
    known = picture(world.state)
    answer = only(world.call(operation, allowed | beyond))
    assert answer["code"] == code, answer
    expected = f"more than {value} terms" if code == QUERY else f"at most {value}"
    assert expected in answer["message"]
    if code != QUERY:
        assert f"(setting quotas.{setting})" in answer["message"]
    assert (world.records, picture(world.state)) == ([], known)
    # With AWS's own value it is no offence, or is the same only further on.
    world = prepared()
    if before is not None and setting != "deletions_max":
        before(world)
    if allowed and setting != "deletions_max":
        world.control(operation, **allowed)
        assert "code" not in world.call(operation, allowed | beyond)[0].body


def test_a_job_more_than_may_be_at_work_is_refused() -> None:
    """Control plane 2.4: while another one is rolled out; one that is scheduled for later may be made."""
    world = prepared(concurrent_jobs_max=1)
    world.control("CreateJob", **JOB | {"targets": ["T", "U"]}, **slow())
    answer = only(world.call("CreateJob", JOB | {"jobId": "J8"}))
    assert answer["code"] == LIMIT
    assert "at most 1; wait for one (setting quotas.concurrent_jobs_max)" in answer["message"]
    world.control("CreateJob", **JOB | {"jobId": "J7"}, **LATER)
    world.advance(60_000)
    world.control("CreateJob", **JOB | {"jobId": "J8"})


def test_a_job_that_would_be_rolled_out_again_counts_among_those_at_work() -> None:
    """Control plane 2.4: AssociateTargetsWithJob is refused at the limit, unless it adds nothing."""
    world = prepared(concurrent_jobs_max=1)
    world.create_job("J1", "G", targetSelection="CONTINUOUS")
    world.create_job("J2", "T", "U", **slow())
    assert (world.job("J1").is_concurrent, world.job("J2").is_concurrent) == (False, True)
    known = picture(world.state)
    answer = only(world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": ["H"]}))
    assert answer["code"] == LIMIT
    assert "at most 1; wait for one (setting quotas.concurrent_jobs_max)" in answer["message"]
    assert (world.records, picture(world.state)) == ([], known)
    world.control("AssociateTargetsWithJob", jobId="J1", targets=["G"])
    world.advance(60_000)
    world.control("AssociateTargetsWithJob", jobId="J1", targets=["H"])


def test_a_job_that_is_rolled_out_takes_targets_at_the_limit() -> None:
    """Control plane 2.4: it is one of those at work already."""
    world = prepared(concurrent_jobs_max=1)
    world.join("T", "G")
    world.join("U", "G")
    world.create_job("J1", "G", targetSelection="CONTINUOUS", **slow())
    assert world.job("J1").is_concurrent
    world.control("AssociateTargetsWithJob", jobId="J1", targets=["H"])


def slow() -> dict[str, Any]:
    return {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}}


@pytest.mark.parametrize(
    ("setting", "operation", "members"),
    [
        ("calls_per_second", "ListJobs", {}),
        ("searches_per_second", "SearchIndex", {"queryString": "T"}),
        ("indexing_updates_per_second", "UpdateIndexingConfiguration", {}),
    ],
)
def test_calls_that_are_too_many_are_throttled(setting: str, operation: str, members: dict[str, Any]) -> None:
    """Control plane 1.2, 10: ThrottlingException, for this operation alone and until the next token."""
    world = prepared()
    rules: dict[str, Any] = {setting: 2}
    world.ports = type(world.ports)(rules=Rules(**rules))
    world.restart()
    world.control(operation, **members)
    world.control(operation, **members)
    answer = only(world.call(operation, members))
    assert answer["code"] == "ThrottlingException"
    assert (
        answer["message"]
        == f"{operation} is called too often; try again in 500 ms (setting quotas.{setting})"
    )
    others: dict[str, dict[str, Any]] = {"ListJobs": {}, "SearchIndex": {"queryString": "T"}}
    for other in others.keys() - {operation}:
        world.control(other, **others[other])
    world.now_ms += 499
    assert only(world.call(operation, members))["code"] == "ThrottlingException"
    world.now_ms += 1
    world.control(operation, **members)


def test_names_that_are_no_operations_take_no_tokens() -> None:
    """They are refused as ever; nothing is remembered of them."""
    world = GroupWorld(rules=Rules(calls_per_second=1))
    for _ in range(3):
        assert only(world.call("Nonsense", {}))["code"] == INVALID


def test_every_quota_is_a_setting_of_the_same_name_and_default() -> None:
    """One table: what the core knows, what an operator can set, and what is tested here."""
    settings = {field.name: field.default for field in dataclasses.fields(QuotaSettings)}
    quotas = {name: getattr(Quotas(), name) for name in Quotas.__struct_fields__}
    assert settings == quotas
    rates = {name for name in quotas if name.endswith("_per_second")}
    assert {case[0] for case in CASES} | rates == quotas.keys()


def test_the_defaults_are_those_of_aws_but_for_rates() -> None:
    """Control plane 10, 1.9."""
    assert dataclasses.asdict(QuotaSettings()) == {
        "active_jobs_max": 100_000,
        "concurrent_jobs_max": 500,
        "deletions_max": 10,
        "targets_max": 100,
        "templates_max": 100,
        "retries_max": 10,
        "tags_max": 50,
        "attributes_without_type_max": 3,
        "attributes_with_type_max": 50,
        "attributes_bytes_max": 48_128,
        "searchable_attributes_max": 3,
        "groups_per_thing_max": 10,
        "group_depth_max": 7,
        "group_children_max": 100,
        "group_attributes_max": 50,
        "dynamic_groups_max": 100,
        "dynamic_group_terms_max": 5,
        "search_terms_max": 12,
        "calls_per_second": 0,
        "searches_per_second": 0,
        "indexing_updates_per_second": 0,
    }


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(QuotaSettings)])
def test_what_an_operator_sets_reaches_the_rules(name: str) -> None:
    """Each setting by its own name."""
    settings = ServiceSettings(quotas=QuotaSettings(**{name: 7}))
    assert getattr(rules_of(settings), name) == 7


def test_a_group_outlives_a_smaller_limit_of_terms() -> None:
    """A query was counted when it was taken: a restart with a smaller limit recovers it."""
    world = prepared()
    world.control("CreateDynamicThingGroup", **query("D", "thingName:T OR thingName:U"))
    world.ports = type(world.ports)(rules=Rules(dynamic_group_terms_max=1))
    world.restart()
    world.advance(1000)
    assert world.control("ListThingsInThingGroup", thingGroupName="D") == {"things": ["T", "U"]}
