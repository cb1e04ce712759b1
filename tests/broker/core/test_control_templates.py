"""Templates, documents from elsewhere, placeholders and tags (control plane 7), by their vectors."""

import json
from typing import Any

import pytest

from tests.broker.core.world import DOCUMENT, START_S, Sent, World, only, picture
from thingjobs_broker.core.placeholders import UrlRequest
from thingjobs_broker.core.ports import Ports, Rules
from thingjobs_broker.core.service import JobsService

ARN = "arn:aws:iot:local:000000000000:"
REBOOT = "arn:aws:iot:local::jobtemplate/AWS-Reboot:1.0"
DOWNLOAD = "arn:aws:iot:local::jobtemplate/AWS-Download-File:1.0"
TIMEOUT = {"inProgressTimeoutInMinutes": 5}
INVALID = "InvalidRequestException"
NOT_FOUND = "ResourceNotFoundException"
EXISTS = "ConflictException"


class Artifacts:
    """Documents by URL, and URLs that count."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[UrlRequest] = []

    def fetch(self, url: str) -> bytes:
        if url not in self.files:
            raise OSError("it is not there")
        return self.files[url]

    def sign(self, request: UrlRequest) -> str:
        self.requests.append(request)
        return f"https://signed/{request.location.key}?{len(self.requests)}"


class ArtifactWorld(World):
    """A world with an artifact store."""

    def __init__(self, *things: str) -> None:
        self.artifacts = Artifacts()
        super().__init__(*things)

    def _new_service(self) -> JobsService:
        ports = Ports(rules=Rules(templates_max=3), documents=self.artifacts, signer=self.artifacts)
        return JobsService(self.state, self._new_id, self.naming, ports=ports)


def code(sent: list[Sent]) -> str:
    """The error of a refusal."""
    return str(only(sent)["code"])


def create(world: World, **members: Any) -> list[Sent]:
    """CreateJob J1 on T with just these members."""
    return world.call("CreateJob", {"jobId": "J1", "targets": ["T"], **members})


def test_a_template_is_created_shown_listed_and_deleted() -> None:
    """Control plane 1.4; immutable, and deletion leaves its jobs (7.3)."""
    world = World("T")
    request = {"jobTemplateId": "tpl", "description": "text", "document": DOCUMENT, "timeoutConfig": TIMEOUT}
    created = world.control("CreateJobTemplate", **request)
    assert created == {"jobTemplateArn": f"{ARN}jobtemplate/tpl", "jobTemplateId": "tpl"}
    summary = created | {"description": "text", "createdAt": float(START_S)}
    shown = world.control("DescribeJobTemplate", jobTemplateId="tpl")
    assert shown == summary | {"document": DOCUMENT, "timeoutConfig": TIMEOUT}
    assert world.control("ListJobTemplates") == {"jobTemplates": [summary]}
    refused = only(world.call("CreateJobTemplate", request))
    assert (refused["code"], refused["resourceId"]) == (EXISTS, "tpl")
    world.create_job("J1", document=None, jobTemplateArn=f"{ARN}jobtemplate/tpl")
    world.restart()
    world.control("DeleteJobTemplate", jobTemplateId="tpl")
    assert world.control("DescribeJob", jobId="J1")["job"]["timeoutConfig"] == TIMEOUT
    for operation in ("DescribeJobTemplate", "DeleteJobTemplate"):
        assert code(world.call(operation, {"jobTemplateId": "tpl"})) == NOT_FOUND
    assert world.control("ListJobTemplates") == {"jobTemplates": []}
    world.restart()


def test_a_job_takes_from_its_template_what_it_does_not_give() -> None:
    """Whole members replace whole members; the description is inherited and answered (7.3, B4)."""
    world = World("T")
    world.control(
        "CreateJobTemplate",
        jobTemplateId="tpl",
        description="of the template",
        document=DOCUMENT,
        timeoutConfig=TIMEOUT,
        jobExecutionsRolloutConfig={"maximumPerMinute": 5},
        maintenanceWindows=[{"startTime": "cron(0 10 * * ? *)", "durationInMinutes": 60}],
    )
    arn = f"{ARN}jobtemplate/tpl"
    sent = create(
        world,
        jobTemplateArn=arn,
        targetSelection="CONTINUOUS",
        timeoutConfig={"inProgressTimeoutInMinutes": 9},
    )
    assert sent[0].body["description"] == "of the template"
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 5}
    assert job["jobTemplateArn"] == arn
    assert job["status"] == "SCHEDULED"
    assert list(job["schedulingConfig"]) == ["maintenanceWindows"]
    assert "maintenanceWindows" not in job
    assert world.control("GetJobDocument", jobId="J1") == {"document": DOCUMENT}
    # The windows come with it, and are none for a SNAPSHOT.
    refused = world.call("CreateJob", {"jobId": "J2", "targets": ["T"], "jobTemplateArn": arn})
    assert code(refused) == INVALID
    world.call(
        "CreateJob",
        {
            "jobId": "J3",
            "targets": ["T"],
            "jobTemplateArn": arn,
            "document": '{"a": 1}',
            "targetSelection": "CONTINUOUS",
            "description": "own",
        },
    )
    assert world.control("GetJobDocument", jobId="J3") == {"document": '{"a": 1}'}
    assert world.control("DescribeJob", jobId="J3")["job"]["description"] == "own"


def test_a_template_is_made_from_a_job() -> None:
    """All configuration and the document; what is given replaces it (7.3)."""
    world = World("T")
    world.create_job("J1", timeoutConfig=TIMEOUT, description="of the job", namespaceId="ns")
    world.control("CreateJobTemplate", jobTemplateId="tpl", description="text", jobArn=f"{ARN}job/J1")
    shown = world.control("DescribeJobTemplate", jobTemplateId="tpl")
    assert (shown["document"], shown["timeoutConfig"]) == (DOCUMENT, TIMEOUT)
    assert "namespaceId" not in shown
    for arn in (f"{ARN}job/J9", f"{ARN}thing/T"):
        request = {"jobTemplateId": "t2", "description": "text", "jobArn": arn}
        assert code(world.call("CreateJobTemplate", request)) == NOT_FOUND


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, INVALID),
        ({"description": "x"}, INVALID),
        ({"document": "{}"}, INVALID),
        ({"description": "x", "document": "["}, INVALID),
        ({"description": "x", "document": "{}", "documentSource": "s3://a/b"}, INVALID),
        ({"description": "x", "document": "{}", "maintenanceWindows": []}, INVALID),
        ({"description": "x", "document": '{"a":"${aws:iot:parameter:x}"}'}, INVALID),
        ({"description": "x", "document": "{}", "tags": [{"Key": ""}]}, INVALID),
    ],
)
def test_a_bad_template_is_refused(members: dict[str, Any], expected: str) -> None:
    """And nothing changes (control plane 1.3, 7.1)."""
    world = World("T")
    before = picture(world.state)
    assert code(world.call("CreateJobTemplate", {"jobTemplateId": "tpl", **members})) == expected
    assert picture(world.state) == before


def test_there_are_only_so_many_templates() -> None:
    """Control plane 10: LimitExceeded."""
    world = ArtifactWorld()
    for number in range(3):
        world.control("CreateJobTemplate", jobTemplateId=f"t{number}", description="x", document="{}")
    request = {"jobTemplateId": "t9", "description": "x", "document": "{}"}
    assert code(world.call("CreateJobTemplate", request)) == "LimitExceededException"
    world.control("DeleteJobTemplate", jobTemplateId="t0")
    world.control("CreateJobTemplate", **request)


def test_v17_a_managed_template_checks_and_escapes_its_parameters() -> None:
    """V17: Download-File without filePath is refused; a quote in a value leaves valid JSON."""
    world = World("T")
    parameters = {"downloadUrl": 'http://x/"q"\\'}
    assert code(create(world, jobTemplateArn=DOWNLOAD, documentParameters=parameters)) == INVALID
    parameters["filePath"] = "/tmp/x"
    create(world, jobTemplateArn=DOWNLOAD, documentParameters=parameters)
    text = world.control("GetJobDocument", jobId="J1")["document"]
    action = json.loads(text)["steps"][0]["action"]
    assert action["input"]["args"] == ['http://x/"q"\\', "/tmp/x"]
    assert (action["input"]["path"], action["runAsUser"]) == ("", "")
    original = world.control("GetJobDocument", jobId="J1", beforeSubstitution=True)["document"]
    assert "${aws:iot:parameter:downloadUrl}" in original
    job = world.control("DescribeJob", jobId="J1", beforeSubstitution=True)["job"]
    assert (job["documentParameters"], job["jobTemplateArn"]) == (parameters, DOWNLOAD)
    assert job["description"] == "Downloads a file."
    front = world.device("T", "start-next")[0].body["execution"]
    assert front["jobDocument"] == json.loads(text)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"jobTemplateArn": REBOOT, "document": "{}"}, INVALID),
        ({"jobTemplateArn": REBOOT, "documentSource": "s3://a/b"}, INVALID),
        ({"jobTemplateArn": REBOOT, "documentParameters": {"x": "y"}}, INVALID),
        ({"jobTemplateArn": REBOOT.replace("1.0", "2.0")}, NOT_FOUND),
        ({"jobTemplateArn": f"{ARN}jobtemplate/none"}, NOT_FOUND),
        ({"jobTemplateArn": "none"}, INVALID),
        ({"document": "{}", "documentParameters": {"x": "y"}}, INVALID),
        ({"document": "{}", "documentSource": "s3://a/b"}, INVALID),
        ({"documentSource": "s3://a/b"}, INVALID),
        ({"document": '{"a":"${aws:iot:s3-presigned-url:s3://a/b}"}'}, INVALID),
        ({"document": '{"a":"${aws:iot:what:x}"}'}, INVALID),
        ({"document": "{}", "tags": [{"Key": "a"}, {"Key": "a"}]}, INVALID),
        ({"document": "{}", "tags": [{"Key": "a*"}]}, INVALID),
        ({"document": "{}", "tags": [{"Key": str(n)} for n in range(51)]}, "LimitExceededException"),
        ({"document": "{}", "destinationPackageVersions": ["x"]}, INVALID),
    ],
)
def test_a_bad_source_of_a_job_is_refused(members: dict[str, Any], expected: str) -> None:
    """Control plane 7; this service has no artifacts."""
    world = World("T")
    before = picture(world.state)
    assert code(create(world, **members)) == expected
    assert picture(world.state) == before


def test_a_managed_template_may_need_no_parameters() -> None:
    """A26: what is optional and absent is the empty string, documentParameters as a whole too."""
    world = World("T")
    create(world, jobTemplateArn=REBOOT)
    action = json.loads(world.control("GetJobDocument", jobId="J1")["document"])["steps"][0]["action"]
    assert (action["input"]["path"], action["runAsUser"]) == ("", "")


def test_managed_templates_are_listed_and_shown() -> None:
    """Control plane 1.4, 7.4."""
    world = World()
    listed = world.control("ListManagedJobTemplates")["managedJobTemplates"]
    assert len(listed) == 8
    page = world.control("ListManagedJobTemplates", maxResults=3)
    rest = world.control("ListManagedJobTemplates", nextToken=page["nextToken"])
    assert page["managedJobTemplates"] + rest["managedJobTemplates"] == listed
    # Absent, never null (1.1).
    assert "nextToken" not in rest
    other = {"templateName": "AWS-Reboot", "nextToken": page["nextToken"]}
    assert code(world.call("ListManagedJobTemplates", other)) == INVALID
    one = world.control("ListManagedJobTemplates", templateName="AWS-Reboot")["managedJobTemplates"]
    assert [template["templateArn"] for template in one] == [REBOOT]
    shown = world.control("DescribeManagedJobTemplate", templateName="AWS-Reboot", templateVersion="1.0")
    assert shown["templateArn"] == REBOOT
    for members, named in (
        ({"templateName": "AWS-X"}, "AWS-X"),
        ({"templateName": "AWS-Reboot", "templateVersion": "9.0"}, "AWS-Reboot version 9.0"),
    ):
        refused = only(world.call("DescribeManagedJobTemplate", members))
        assert refused["code"] == NOT_FOUND
        assert refused["message"] == f"Managed job template {named} not found"


def test_a_document_is_fetched_once() -> None:
    """Frozen at CreateJob (7.1); shown beside the job; unreachable, no JSON, or beside another is refused."""
    world = ArtifactWorld("T")
    world.artifacts.files = {
        "s3://b/doc": b'{ "a": 1 }',
        "s3://b/list": b"[]",
        "s3://b/bytes": b'{"a":"\xff"}',
        "s3://b/large": b'{"a":"' + b"x" * 32_768 + b'"}',
    }
    for url in ("s3://b/none", "s3://b/list", "s3://b/bytes", "s3://b/large"):
        assert code(create(world, documentSource=url)) == INVALID
    assert code(create(world, documentSource="s3://b/doc", document="{}")) == INVALID
    create(world, documentSource="s3://b/doc")
    world.artifacts.files["s3://b/doc"] = b'{"a": 2}'
    assert world.control("GetJobDocument", jobId="J1") == {"document": '{ "a": 1 }'}
    assert world.control("DescribeJob", jobId="J1")["documentSource"] == "s3://b/doc"
    template = {"jobTemplateId": "tpl", "description": "d", "documentSource": "s3://b/doc"}
    world.control("CreateJobTemplate", **template)
    shown = world.control("DescribeJobTemplate", jobTemplateId="tpl")
    assert (shown["documentSource"], shown["document"]) == ("s3://b/doc", '{"a": 2}')
    world.restart()


@pytest.mark.parametrize("character", ["x", "ü", "漢", "😀"])
def test_a_document_is_measured_in_characters_and_one_that_is_fetched_in_bytes(character: str) -> None:
    """Control plane 7.1: 32,768 of either, whatever a character takes; as it is given, so it is delivered."""
    world = ArtifactWorld("T")
    longest = character * (32_768 - 8)
    document = json.dumps({"a": longest}, ensure_ascii=False, separators=(",", ":"))
    create(world, document=document)
    assert world.control("GetJobDocument", jobId="J1") == {"document": document}
    assert world.device("T", "start-next")[0].body["execution"]["jobDocument"] == {"a": longest}
    assert code(create(world, jobId="J2", document=document + " ")) == INVALID
    template = {"jobTemplateId": "t", "description": "d", "document": document + " "}
    assert code(world.call("CreateJobTemplate", template)) == INVALID
    world.control("CreateJobTemplate", **template | {"document": document})

    size = len(character.encode())
    fits = b'{"a":"%s"}' % (character.encode() * ((32_768 - 8) // size))
    world.artifacts.files = {"s3://b/fits": fits.ljust(32_768), "s3://b/large": fits.ljust(32_769)}
    assert code(create(world, jobId="J3", documentSource="s3://b/large")) == INVALID
    assert "code" not in create(world, jobId="J4", documentSource="s3://b/fits")[0].body
    world.restart()


def test_presigned_urls_are_made_for_each_delivery() -> None:
    """Literal in every view of the control plane; the lifetime is the job's, as it is then (7.2, 5.3)."""
    world = ArtifactWorld("T", "U")
    text = '{"get":"${aws:iot:s3-presigned-url:s3://b/x}","put":"${aws:iot:s3-presigned-url-upload:}"}'
    sent = world.create_job("J1", "T", "U", document=text, presignedUrlConfig={"expiresInSec": 60})
    first = next(message for message in sent if message.ending == "notify-next")
    assert first.body["execution"]["jobDocument"]["get"] == "https://signed/x?1"
    assert world.control("GetJobDocument", jobId="J1") == {"document": text}
    world.control("UpdateJob", jobId="J1", presignedUrlConfig={"expiresInSec": 90})
    made = len(world.artifacts.requests)
    started = world.device("U", "start-next")[0].body["execution"]["jobDocument"]
    assert started == {
        "get": f"https://signed/x?{made + 1}",
        "put": f"https://signed/U/J1/1?{made + 2}",
    }
    last = world.artifacts.requests[-1]
    assert (last.method, last.expires_in_seconds) == ("PUT", 90)
    updated = world.update("U", "J1", "IN_PROGRESS", includeJobDocument=True)[0].body["jobDocument"]
    assert updated["get"] == f"https://signed/x?{made + 3}"
    assert (
        "jobDocument" not in world.device("U", "J1/get", {"includeJobDocument": False})[0].body["execution"]
    )
    assert len(world.artifacts.requests) == made + 4


def test_tags_of_jobs_and_templates() -> None:
    """Control plane 1.4, 1.3, 10: added, replaced, taken away; gone with their resource."""
    world = World("T")
    world.create_job("J1", tags=[{"Key": "team", "Value": "ä 1"}])
    arn = f"{ARN}job/J1"

    def tags() -> dict[str, str]:
        found = world.control("ListTagsForResource", resourceArn=arn)["tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    assert tags() == {"team": "ä 1"}
    more = [{"Key": f"k{number:02}", "Value": ""} for number in range(48)]
    world.control("TagResource", resourceArn=arn, tags=[*more, {"Key": "team", "Value": "b"}])
    world.control("TagResource", resourceArn=arn, tags=[{"Key": "last"}])
    assert len(tags()) == 50
    assert tags()["team"] == "b"
    over = {"resourceArn": arn, "tags": [{"Key": "over"}]}
    assert code(world.call("TagResource", over)) == "LimitExceededException"
    world.control("UntagResource", resourceArn=arn, tagKeys=[f"k{number:02}" for number in range(48)])
    assert set(tags()) == {"team", "last"}
    world.restart()
    for operation in ("TagResource", "UntagResource", "ListTagsForResource"):
        request = {"resourceArn": f"{ARN}job/J9", "tags": [], "tagKeys": []}
        assert code(world.call(operation, request)) == NOT_FOUND
    world.control("DeleteJob", jobId="J1", force=True)
    assert world.state.tags == {}
    template = {"jobTemplateId": "tpl", "description": "x", "document": "{}", "tags": [{"Key": "a"}]}
    world.control("CreateJobTemplate", **template)
    assert world.state.tags == {f"{ARN}jobtemplate/tpl": {"a": ""}}
    world.control("DeleteJobTemplate", jobTemplateId="tpl")
    assert world.state.tags == {}
