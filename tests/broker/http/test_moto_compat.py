"""In the place of moto's server: what 11.2 of the control plane's specification relaxes, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.http.served import Served

DOCUMENT = "{}"


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Served]:
    """A service that stands in for moto's server, whatever the signature."""
    with Served(tmp_path, http={"anonymous": False, "moto_compat": True}) as one:
        yield one
        assert not one.failures


def refusal(call: Any, **members: Any) -> str:
    """The code of a refusal."""
    with pytest.raises(Exception) as caught:
        call(**members)
    code: str = caught.value.response["Error"]["Code"]  # type: ignore[attr-defined]
    return code


def test_account_and_region_are_those_that_moto_would_have(moto: Served) -> None:
    """Account 123456789012, the region that was signed for, any credentials."""
    tokyo = moto.client("iot", "x", "y", region_name="ap-northeast-1")
    thing = tokyo.create_thing(thingName="a")
    assert thing["thingArn"] == "arn:aws:iot:ap-northeast-1:123456789012:thing/a"
    assert tokyo.create_job(jobId="j", targets=[thing["thingArn"]], document=DOCUMENT)["jobArn"] == (
        "arn:aws:iot:ap-northeast-1:123456789012:job/j"
    )
    assert tokyo.describe_job(jobId="j")["job"]["targets"] == [thing["thingArn"]]


def test_a_job_may_be_canceled_for_any_reason_and_deleted_at_once(moto: Served) -> None:
    """The pattern of reasonCode, and `force` for DeleteJob."""
    iot = moto.iot
    arn = iot.create_thing(thingName="a")["thingArn"]
    for job_id in ("j", "k"):
        iot.create_job(jobId=job_id, targets=[arn], document=DOCUMENT)
    iot.cancel_job(jobId="j", reasonCode="Because", comment="You are")
    job = iot.describe_job(jobId="j")["job"]
    assert (job["status"], job["reasonCode"], job["forceCanceled"]) == ("CANCELED", "Because", False)
    iot.delete_job(jobId="k")


def test_a_document_source_is_not_read(moto: Served) -> None:
    """The document is empty; a device gets an empty object."""
    iot = moto.iot
    arn = iot.create_thing(thingName="a")["thingArn"]
    source = "https://s3-eu-west-1.amazonaws.com/bucket/job_document.json"
    iot.create_job(jobId="j", targets=[arn], documentSource=source)
    assert iot.describe_job(jobId="j")["documentSource"] == source
    assert iot.get_job_document(jobId="j")["document"] == ""
    started = moto.data.start_next_pending_job_execution(thingName="a")
    assert started["execution"]["jobDocument"] == "{}"


def test_types_have_any_name_and_go_at_once(moto: Served) -> None:
    """The name pattern and the deprecation rule of thing types."""
    iot = moto.iot
    iot.create_thing_type(thingTypeName="my type name")
    assert len(iot.list_thing_types(thingTypeName="my type")["thingTypes"]) == 1
    iot.describe_thing_type(thingTypeName="my type name")
    iot.deprecate_thing_type(thingTypeName="my type name")
    iot.delete_thing_type(thingTypeName="my type name")


def test_a_reset_forgets_everything_for_good(tmp_path: Path) -> None:
    """Also over a restart; timers and rollouts of what is gone do no harm."""
    http = {"anonymous": False, "moto_compat": True}
    with Served(tmp_path, http=http) as moto:
        fill_and_reset(moto)
    with Served(tmp_path, http=http) as again:
        assert nothing(again)
        assert not [*moto.failures, *again.failures]


def fill_and_reset(moto: Served) -> None:
    """Use everything, twice."""
    iot = moto.iot
    iot.create_thing_group(thingGroupName="g")
    iot.create_thing_type(thingTypeName="t")
    arn = iot.create_thing(thingName="a")["thingArn"]
    iot.create_job_template(jobTemplateId="t", description="d", document=DOCUMENT)
    iot.create_job(
        jobId="j", targets=[arn], document=DOCUMENT, timeoutConfig={"inProgressTimeoutInMinutes": 1}
    )
    moto.data.start_next_pending_job_execution(thingName="a")
    assert moto.raw("POST", "/moto-api/reset")[::2] == (200, b'{"status":"ok"}')
    assert nothing(moto)
    iot.create_job(jobId="j", targets=[iot.create_thing(thingName="a")["thingArn"]], document=DOCUMENT)
    assert moto.data.get_pending_job_executions(thingName="a")["queuedJobs"][0]["executionNumber"] == 1
    moto.raw("POST", "/moto-api/reset")


def nothing(served: Served) -> bool:
    """Whether nothing is left."""
    iot = served.iot
    found = [
        *iot.list_things()["things"],
        *iot.list_jobs()["jobs"],
        *iot.list_thing_groups()["thingGroups"],
        *iot.list_thing_types()["thingTypes"],
        *iot.list_job_templates()["jobTemplates"],
    ]
    return not found


def test_without_the_switch_nothing_of_it_is_there(served: Served) -> None:
    """No reset, and every rule."""
    status, headers, body = served.raw("POST", "/moto-api/reset")
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert "moto-api" in json.loads(body)["message"]
    iot = served.iot
    arn = iot.create_thing(thingName="a")["thingArn"]
    assert arn == "arn:aws:iot:local:000000000000:thing/a"
    iot.create_job(jobId="j", targets=[arn], document=DOCUMENT)
    assert refusal(iot.cancel_job, jobId="j", reasonCode="Because") == "InvalidRequestException"
    assert refusal(iot.delete_job, jobId="j") == "InvalidStateTransitionException"
    source = {"jobId": "k", "targets": [arn], "documentSource": "https://s3.amazonaws.com/b/k"}
    assert refusal(iot.create_job, **source) == "InvalidRequestException"
    assert refusal(iot.create_thing_type, thingTypeName="my type") == "InvalidRequestException"
    iot.create_thing_type(thingTypeName="t")
    assert refusal(iot.delete_thing_type, thingTypeName="t") == "InvalidRequestException"


def test_what_moto_takes_and_the_list_does_not_name_is_refused(moto: Served) -> None:
    """Unknown targets, ids that are taken, patterns of other names (11.1)."""
    iot = moto.iot
    arn = iot.create_thing(thingName="a")["thingArn"]
    missing = {"jobId": "j", "targets": [f"{arn}x"], "document": DOCUMENT}
    assert refusal(iot.create_job, **missing) == "ResourceNotFoundException"
    iot.create_job(jobId="j", targets=[arn], document=DOCUMENT)
    again = {"jobId": "j", "targets": [arn], "document": DOCUMENT}
    assert refusal(iot.create_job, **again) == "ResourceAlreadyExistsException"
    assert refusal(iot.create_thing, thingName="my thing") == "InvalidRequestException"
    assert refusal(iot.get_job_document, jobId="x") == "ResourceNotFoundException"
