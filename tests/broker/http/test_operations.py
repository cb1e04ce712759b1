"""Every operation by boto3: its parsing, error classes and paginators, each answer checked by the model."""

import json
from typing import Any

import botocore
import pytest

from tests.broker.http.served import Served
from thingjobs_broker.http import routes

DOCUMENT = json.dumps({"operation": "restart"})


def things(served: Served, *names: str) -> list[str]:
    """The ARNs of new things."""
    return [served.iot.create_thing(thingName=name)["thingArn"] for name in names]


def refused(call: Any, **members: Any) -> tuple[str, int, str]:
    """Class, status and message of a refusal, as boto3 raises it."""
    with pytest.raises(Exception) as caught:
        call(**members)
    response = caught.value.response  # type: ignore[attr-defined]
    return type(caught.value).__name__, response["ResponseMetadata"]["HTTPStatusCode"], response["message"]


def jobs(served: Served) -> None:
    """Call the operations on jobs, in an order in which each succeeds."""
    iot = served.iot
    targets = things(served, "a:b", "c")
    assert (
        iot.create_job(
            jobId="j",
            targets=targets,
            document=DOCUMENT,
            description="Größe ≠ 0",
            jobExecutionsRolloutConfig={"maximumPerMinute": 10},
            timeoutConfig={"inProgressTimeoutInMinutes": 5},
            tags=[{"Key": "team", "Value": "press"}],
        )["jobArn"]
        == "arn:aws:iot:local:000000000000:job/j"
    )
    job = iot.describe_job(jobId="j")["job"]
    assert job["description"] == "Größe ≠ 0"
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 10}
    assert job["createdAt"].tzinfo is not None
    assert iot.get_job_document(jobId="j")["document"] == DOCUMENT
    assert iot.list_tags_for_resource(resourceArn=job["jobArn"])["tags"] == [
        {"Key": "team", "Value": "press"}
    ]
    iot.tag_resource(resourceArn=job["jobArn"], tags=[{"Key": "line", "Value": "7"}])
    iot.untag_resource(resourceArn=job["jobArn"], tagKeys=["team"])
    assert iot.list_tags_for_resource(resourceArn=job["jobArn"])["tags"] == [{"Key": "line", "Value": "7"}]
    iot.update_job(jobId="j", description="new")
    assert iot.describe_job(jobId="j")["job"]["description"] == "new"
    assert [one["jobId"] for one in iot.list_jobs(status="IN_PROGRESS")["jobs"]] == ["j"]
    assert iot.list_jobs(status="COMPLETED")["jobs"] == []
    summaries = iot.list_job_executions_for_job(jobId="j", maxResults=1)
    assert len(summaries["executionSummaries"]) == 1
    assert "nextToken" in summaries
    (summary,) = iot.list_job_executions_for_thing(thingName="a:b")["executionSummaries"]
    assert summary["jobExecutionSummary"]["status"] == "QUEUED"


def executions(served: Served) -> None:
    """Call the operations on executions, those of the data plane included; goes on after `jobs`."""
    iot, data = served.iot, served.data
    pending = data.get_pending_job_executions(thingName="a:b")
    assert [one["jobId"] for one in pending["queuedJobs"]] == ["j"]
    started = data.start_next_pending_job_execution(
        thingName="a:b", statusDetails={"step": "1"}, stepTimeoutInMinutes=3
    )["execution"]
    assert (started["thingName"], started["jobDocument"]) == ("a:b", DOCUMENT)
    described = data.describe_job_execution(thingName="a:b", jobId="$next", includeJobDocument=False)
    assert "jobDocument" not in described["execution"]
    assert described["execution"]["approximateSecondsBeforeTimedOut"] == 180
    updated = data.update_job_execution(
        thingName="a:b",
        jobId="j",
        status="SUCCEEDED",
        expectedVersion=2,
        includeJobExecutionState=True,
        includeJobDocument=True,
    )
    assert updated["executionState"] == {
        "status": "SUCCEEDED",
        "statusDetails": {"step": "1"},
        "versionNumber": 3,
    }
    assert updated["jobDocument"] == DOCUMENT
    seen = iot.describe_job_execution(thingName="a:b", jobId="j", executionNumber=1)["execution"]
    assert seen["statusDetails"] == {"detailsMap": {"step": "1"}}
    assert seen["forceCanceled"] is False
    iot.cancel_job_execution(thingName="c", jobId="j", force=True, statusDetails={"why": "late"})
    iot.delete_job_execution(thingName="c", jobId="j", executionNumber=1)
    iot.cancel_job(jobId=second(served), reasonCode="LATE", comment="c", force=True)
    iot.delete_job(jobId="k", force=True)


def second(served: Served) -> str:
    """The id of one more job."""
    found: str = served.iot.create_job(jobId="k", targets=["c"], document=DOCUMENT)["jobId"]
    return found


def templates(served: Served) -> None:
    """Call the operations on templates."""
    iot = served.iot
    iot.create_job_template(jobTemplateId="t", description="d", document=DOCUMENT)
    assert iot.describe_job_template(jobTemplateId="t")["document"] == DOCUMENT
    assert [one["jobTemplateId"] for one in iot.list_job_templates()["jobTemplates"]] == ["t"]
    iot.delete_job_template(jobTemplateId="t")
    first = iot.list_managed_job_templates(maxResults=1)["managedJobTemplates"][0]
    assert iot.describe_managed_job_template(templateName=first["templateName"])["document"]


def registry(served: Served) -> None:
    """Call the operations on things and types; goes on after `jobs`."""
    iot = served.iot
    assert [one["thingName"] for one in iot.list_things(maxResults=250)["things"]] == ["a:b", "c"]
    assert iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"].startswith("127.0.0.1:")
    properties = {"thingTypeDescription": "d", "searchableAttributes": ["floor"]}
    made = iot.create_thing_type(thingTypeName="press", thingTypeProperties=properties)
    assert made["thingTypeArn"].endswith(":thingtype/press")
    assert iot.describe_thing_type(thingTypeName="press")["thingTypeProperties"] == properties
    iot.update_thing_type(thingTypeName="press", thingTypeProperties=properties)
    iot.create_thing(thingName="d", thingTypeName="press", attributePayload={"attributes": {"floor": "2"}})
    assert iot.describe_thing(thingName="d")["attributes"] == {"floor": "2"}
    iot.update_thing(thingName="d", attributePayload={"attributes": {"floor": "3"}}, expectedVersion=1)
    (listed,) = iot.list_things(thingTypeName="press", attributeName="floor", attributeValue="3")["things"]
    assert listed["version"] == 2
    iot.delete_thing(thingName="d", expectedVersion=2)
    assert [one["thingTypeName"] for one in iot.list_thing_types()["thingTypes"]] == ["press"]
    iot.deprecate_thing_type(thingTypeName="press")
    served.raw("POST", "/thingjobs/AdvanceClock", b'{"durationInSeconds":301}')
    iot.delete_thing_type(thingTypeName="press")


def groups(served: Served) -> None:
    """Call the operations on groups; goes on after `jobs`."""
    iot = served.iot
    iot.create_thing_group(thingGroupName="hall")
    child = iot.create_thing_group(
        thingGroupName="row", parentGroupName="hall", thingGroupProperties={"thingGroupDescription": "d"}
    )
    metadata = iot.describe_thing_group(thingGroupName="row")["thingGroupMetadata"]
    assert [one["groupName"] for one in metadata["rootToParentThingGroups"]] == ["hall"]
    iot.add_thing_to_thing_group(thingGroupName="row", thingName="a:b")
    iot.update_thing_groups_for_thing(thingName="c", thingGroupsToAdd=["row"])
    assert iot.list_things_in_thing_group(thingGroupName="hall", recursive=True)["things"] == ["a:b", "c"]
    assert iot.list_things_in_thing_group(thingGroupName="hall")["things"] == []
    assert [one["groupName"] for one in iot.list_thing_groups_for_thing(thingName="c")["thingGroups"]] == [
        "row"
    ]
    assert len(iot.list_thing_groups(parentGroup="hall", recursive=False)["thingGroups"]) == 1
    iot.create_job(
        jobId="all", targets=[child["thingGroupArn"]], targetSelection="CONTINUOUS", document=DOCUMENT
    )
    hall = iot.describe_thing_group(thingGroupName="hall")["thingGroupArn"]
    iot.associate_targets_with_job(jobId="all", targets=[hall], comment="more")
    assert [one["jobId"] for one in iot.list_jobs(thingGroupName="row")["jobs"]] == ["all"]
    iot.remove_thing_from_thing_group(thingGroupName="row", thingName="c")
    iot.update_thing_group(thingGroupName="row", thingGroupProperties={"thingGroupDescription": "e"})
    iot.delete_thing_group(thingGroupName="row")


def indexing(served: Served) -> None:
    """Call what is configured: the index, dynamic groups, events; goes on after `jobs`."""
    iot = served.iot
    modes = {"thingIndexingMode": "REGISTRY"}
    iot.update_indexing_configuration(thingIndexingConfiguration=modes)
    assert iot.get_indexing_configuration()["thingIndexingConfiguration"]["thingIndexingMode"] == "REGISTRY"
    assert "AWS_Things" in iot.list_indices()["indexNames"]
    assert iot.describe_index(indexName="AWS_Things")["indexStatus"] == "ACTIVE"
    assert [one["thingName"] for one in iot.search_index(queryString="thingName:c")["things"]] == ["c"]
    iot.create_dynamic_thing_group(thingGroupName="dyn", queryString="thingName:c")
    assert iot.describe_thing_group(thingGroupName="dyn")["queryString"] == "thingName:c"
    iot.update_dynamic_thing_group(
        thingGroupName="dyn", thingGroupProperties={"thingGroupDescription": "d"}, queryString="thingName:a*"
    )
    iot.delete_dynamic_thing_group(thingGroupName="dyn")
    iot.update_event_configurations(eventConfigurations={"JOB": {"Enabled": True}})
    assert iot.describe_event_configurations()["eventConfigurations"]["JOB"] == {"Enabled": True}


def test_every_operation_answers_as_the_model_says(served: Served) -> None:
    """Issue: every operation's answer is validated against botocore's service model."""
    for part in (jobs, executions, templates, registry, groups, indexing):
        part(served)
    of_aws = {
        (route.service, route.operation)
        for route in routes.ROUTES
        if not route.template.startswith(routes.OWN_PREFIX)
    }
    assert of_aws - served.called == set()


def all_of(client: Any, operation: str, key: str, **members: Any) -> list[Any]:
    """Everything that a paginator finds with two entries to a page; there must be several pages."""
    pages = list(client.get_paginator(operation).paginate(**members, PaginationConfig={"PageSize": 2}))
    assert len(pages) > 1, operation
    return [one for page in pages for one in page[key]]


def test_paginators_of_botocore_see_everything_once(served: Served) -> None:
    """Spec: control plane 1.6; each paginator there is, over several pages."""
    names = [f"thing-{index}" for index in range(7)]
    things(served, *names)
    iot, numbers = served.iot, range(5)
    for index in numbers:
        iot.create_job(jobId=f"j{index}", targets=names, document=DOCUMENT)
        iot.create_job_template(jobTemplateId=f"t{index}", description="d", document=DOCUMENT)
        iot.create_thing_type(thingTypeName=f"y{index}")
        iot.create_thing_group(thingGroupName=f"g{index}")
        iot.add_thing_to_thing_group(thingGroupName=f"g{index}", thingName="thing-3")
        iot.add_thing_to_thing_group(thingGroupName="g0", thingName=f"thing-{index}")
    members: dict[str, dict[str, Any]] = {
        "list_job_executions_for_job": {"jobId": "j0"},
        "list_job_executions_for_thing": {"thingName": "thing-3"},
        "list_things_in_thing_group": {"thingGroupName": "g0"},
        "list_thing_groups_for_thing": {"thingName": "thing-3"},
        "list_managed_job_templates": {},
    }
    # Operation -> the list in its answer, the name in an entry, and those that are to be found.
    expected: dict[str, tuple[str, str, list[str]]] = {
        "list_things": ("things", "thingName", names),
        "list_jobs": ("jobs", "jobId", [f"j{index}" for index in numbers]),
        "list_job_templates": ("jobTemplates", "jobTemplateId", [f"t{index}" for index in numbers]),
        "list_thing_types": ("thingTypes", "thingTypeName", [f"y{index}" for index in numbers]),
        "list_thing_groups": ("thingGroups", "groupName", [f"g{index}" for index in numbers]),
        "list_thing_groups_for_thing": ("thingGroups", "groupName", [f"g{index}" for index in numbers]),
        "list_job_executions_for_thing": ("executionSummaries", "jobId", [f"j{index}" for index in numbers]),
    }
    for operation, (key, name, found) in expected.items():
        listed = all_of(iot, operation, key, **members.get(operation, {}))
        assert [one[name] for one in listed] == found, operation
    arns = [
        one["thingArn"]
        for one in all_of(iot, "list_job_executions_for_job", "executionSummaries", jobId="j0")
    ]
    assert [arn.rpartition("/")[2] for arn in arns] == names
    assert all_of(iot, "list_things_in_thing_group", "things", thingGroupName="g0") == names[:5]
    managed = all_of(iot, "list_managed_job_templates", "managedJobTemplates")
    assert len({one["templateName"] for one in managed}) == len(managed)
    paged = {
        *expected,
        "list_job_executions_for_job",
        "list_things_in_thing_group",
        "list_managed_job_templates",
    }
    of_aws = {
        botocore.xform_name(route.operation)
        for route in routes.ROUTES
        if route.service == routes.CONTROL and not route.template.startswith(routes.OWN_PREFIX)
    }
    # These have no more than a page here: 50 tags, and one index.
    paged |= {"list_tags_for_resource", "list_indices"}
    assert {operation for operation in of_aws if iot.can_paginate(operation)} <= paged


def test_refusals_are_the_error_classes_of_boto3(served: Served) -> None:
    """Spec: control plane 1.2: code, status and message; nothing has changed."""
    iot, data = served.iot, served.data
    things(served, "a")
    iot.create_job(jobId="j", targets=["a"], document=DOCUMENT)
    assert refused(iot.describe_job, jobId="x") == ("ResourceNotFoundException", 404, "Job x not found")
    assert refused(iot.describe_job, jobId="x y")[:2] == ("InvalidRequestException", 400)
    again = {"jobId": "j", "targets": ["a"], "document": DOCUMENT}
    assert refused(iot.create_job, **again)[:2] == ("ResourceAlreadyExistsException", 409)
    assert refused(iot.delete_job, jobId="j")[:2] == ("InvalidStateTransitionException", 409)
    stale = {"thingName": "a", "jobId": "j", "expectedVersion": 9}
    assert refused(iot.cancel_job_execution, **stale)[:2] == ("VersionConflictException", 409)
    assert refused(data.update_job_execution, **stale, status="SUCCEEDED")[:2] == (
        "InvalidStateTransitionException",
        409,
    )
    assert refused(data.get_pending_job_executions, thingName="nobody") == (
        "ResourceNotFoundException",
        404,
        "Thing nobody not found",
    )
    data.update_job_execution(thingName="a", jobId="j", status="SUCCEEDED")
    assert refused(data.describe_job_execution, thingName="a", jobId="j")[:2] == (
        "TerminalStateException",
        410,
    )


def test_an_existing_resource_is_named_in_the_refusal(served: Served) -> None:
    """ResourceAlreadyExistsException carries resourceId and resourceArn."""
    things(served, "a")
    served.iot.create_job(jobId="j", targets=["a"], document=DOCUMENT)
    with pytest.raises(served.iot.exceptions.ResourceAlreadyExistsException) as caught:
        served.iot.create_job(jobId="j", targets=["a"], document=DOCUMENT)
    assert caught.value.response["resourceId"] == "j"
    assert caught.value.response["resourceArn"].endswith(":job/j")


def test_operations_of_our_own_are_reached_under_a_path_of_our_own(served: Served) -> None:
    """POST /thingjobs/{Operation}; time passes as over MQTT."""
    things(served, "a")
    served.iot.create_job(
        jobId="j", targets=["a"], document=DOCUMENT, timeoutConfig={"inProgressTimeoutInMinutes": 1}
    )
    served.data.start_next_pending_job_execution(thingName="a")
    status, _, body = served.raw("POST", "/thingjobs/AdvanceClock", b'{"durationInSeconds":61}')
    assert status == 200, body
    assert served.iot.describe_job_execution(thingName="a", jobId="j")["execution"]["status"] == "TIMED_OUT"
    status, _, body = served.raw("POST", "/thingjobs/DescribeTimeline", b'{"jobId":"j"}')
    assert status == 200, body
    status, headers, body = served.raw("POST", "/thingjobs/DescribeTimeline", b"{}")
    assert (status, headers["x-amzn-errortype"]) == (400, "InvalidRequestException")


def test_what_devices_are_told_leaves_as_over_mqtt(served: Served) -> None:
    """A job created over HTTP notifies its things; events follow what the data plane reports."""
    things(served, "a")
    served.iot.create_job(jobId="j", targets=["a"], document=DOCUMENT)
    topics = [topic for topic, _ in served.said]
    assert topics[-2:] == ["$aws/things/a/jobs/notify", "$aws/things/a/jobs/notify-next"]
    served.data.update_job_execution(thingName="a", jobId="j", status="SUCCEEDED")
    assert "$aws/events/jobExecution/j/succeeded" in [topic for topic, _ in served.said]


def test_what_is_no_operation_is_said_to_be_unknown(served: Served) -> None:
    """UnknownOperationException, 404."""
    for method, path in (("GET", "/nothing"), ("POST", "/jobs/j"), ("GET", "/jobs/"), ("DELETE", "/")):
        status, headers, body = served.raw(method, path)
        assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException"), path
        assert json.loads(body)["message"].startswith(method)
