"""Each constraint of control plane 1.3 by its own number: what is just allowed, and what is just beyond.

The numbers stand here once more, because tests that read them from the types would move with them.
"""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import START_MS, only, picture

ARN = "arn:aws:iot:local:000000000000:"
INVALID, NOT_FOUND, LIMIT = "InvalidRequestException", "ResourceNotFoundException", "LimitExceededException"
JOB: dict[str, Any] = {"jobId": "J9", "targets": ["T"], "document": "{}"}
RUNNING: dict[str, Any] = {"jobId": "J1", "thingName": "T", "force": True}
TEMPLATE: dict[str, Any] = {"jobTemplateId": "tpl", "description": "d", "document": "{}"}
GROUP_ID = "thingGroupId"
ROLLOUT, ABORT, RETRIES = "jobExecutionsRolloutConfig", "abortConfig", "jobExecutionsRetryConfig"
TIMEOUT, SIGNED, SCHEDULE = "timeoutConfig", "presignedUrlConfig", "schedulingConfig"
PACKAGES, WINDOWS = "destinationPackageVersions", "maintenanceWindows"
IN_TWO_HOURS = f"{START_MS // 1000 + 7200}"
TEXTS = ("ü" * 2028, ["ü" * 2029, "", "a\nb", "\u200b"])


def growing(**members: Any) -> dict[str, Any]:
    """An exponential rate, and what is other than usual."""
    usual = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
    }
    return {"exponentialRate": usual | members}


def criterion(**members: Any) -> dict[str, Any]:
    """An abort criterion that no job of these tests meets, and what is other than usual."""
    usual = {"failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 50}
    return {"criteriaList": [usual | {"minNumberOfExecutedThings": 9} | members]}


def retries(*counts: int) -> dict[str, Any]:
    """So many retries of each type, in turn."""
    names = ("FAILED", "TIMED_OUT", "ALL")
    pairs = zip(names, counts, strict=False)
    return {"criteriaList": [{"failureType": name, "numberOfRetries": count} for name, count in pairs]}


def window(start: str = "cron(0 10 * * ? *)", minutes: int = 60) -> dict[str, Any]:
    """A maintenance window."""
    return {"startTime": start, "durationInMinutes": minutes}


def padded(text: str, length: int) -> str:
    """The text with spaces up to that length."""
    return text + " " * (length - len(text))


def tags(*keys: str, value: str = "") -> dict[str, Any]:
    """Tags with those keys."""
    return {"tags": [{"Key": key, "Value": value} for key in keys]}


def packages(count: int, characters: int = 20) -> list[str]:
    """So many ARNs of so many characters."""
    return ["arn:" + "p" * (characters - 4)] * count


def details(key: str = "k", value: str = "v", count: int = 1) -> dict[str, str]:
    """So many status details."""
    return {key: value} | {f"k{number}": "v" for number in range(count - 1)}


def scheduled(**members: Any) -> dict[str, Any]:
    """What a job with that schedule is created with."""
    return JOB | {"targetSelection": "CONTINUOUS"} | members


Row = tuple[str, dict[str, Any], str, Any, list[Any], str]
# The operation, what else it is given, the member, what it may be, what it may not; the answer to the first.
ROWS: list[Row] = [
    ("CreateJob", JOB, "jobId", "j" * 64, ["j" * 65, "", "a:b", "a b"], ""),
    ("CreateJobTemplate", TEMPLATE, "jobTemplateId", "t" * 64, ["t" * 65, "", "a:b"], ""),
    ("CreateThing", {}, "thingName", "t:" * 64, ["t" * 129, "", "a b"], ""),
    ("CreateThingGroup", {}, "thingGroupName", "g:" * 64, ["g" * 129, "", "a b"], ""),
    ("CreateThingType", {}, "thingTypeName", "t:" * 64, ["t" * 129, "", "a b"], ""),
    ("ListJobs", {}, GROUP_ID, "g-" * 64, ["g" * 129, "", "a:b", "a_b"], NOT_FOUND),
    ("CreateJob", JOB, "targets", ["t" * 2048], [["t" * 2049], [], [""]], NOT_FOUND),
    ("CreateJob", JOB, "targets", ["T"] * 100, [], ""),
    ("CreateJob", JOB, "document", padded("{}", 32_768), [padded("{}", 32_769)], ""),
    ("CreateJobTemplate", TEMPLATE, "document", padded("{}", 32_768), [padded("{}", 32_769)], ""),
    ("CreateJob", JOB, "description", *TEXTS, ""),
    ("UpdateJob", {"jobId": "J1"}, "description", *TEXTS, ""),
    ("CreateJobTemplate", TEMPLATE, "description", *TEXTS, ""),
    ("CancelJob", {"jobId": "J1"}, "comment", *TEXTS, ""),
    ("AssociateTargetsWithJob", {"jobId": "J1", "targets": ["H"]}, "comment", *TEXTS, ""),
    ("CancelJob", {"jobId": "J1"}, "reasonCode", "A1_" + "A" * 125, ["A" * 129, "a", "A-B", ""], ""),
    ("CreateJob", JOB, "namespaceId", "a_B-9", ["a:b", "a/b", "a b", ""], ""),
    (
        *("CreateJob", JOB, "jobTemplateArn", "arn:" + "t" * 1596),
        *(["arn:" + "t" * 1597, "arm:t", "arn:", "arn:ü"], NOT_FOUND),
    ),
    ("CreateJob", JOB, PACKAGES, packages(25, 1600), [packages(26), packages(1, 1601), ["package"]], ""),
    ("CreateJobTemplate", TEMPLATE, PACKAGES, packages(25), [packages(26)], ""),
    ("CreateJob", JOB, SIGNED, {"roleArn": "r" * 20}, [{"roleArn": "r" * 19}], ""),
    ("CreateJob", JOB, SIGNED, {"roleArn": "r" * 2048}, [{"roleArn": "r" * 2049}], ""),
    ("CreateJob", JOB, SIGNED, {"expiresInSec": 60}, [{"expiresInSec": 59}], ""),
    ("CreateJob", JOB, SIGNED, {"expiresInSec": 3600}, [{"expiresInSec": 3601}], ""),
    ("CreateJob", JOB, "targetSelection", "SNAPSHOT", ["snapshot", "", None], ""),
    ("CreateJob", JOB, ROLLOUT, {"maximumPerMinute": 1}, [{"maximumPerMinute": 0}], ""),
    ("CreateJob", JOB, ROLLOUT, {"maximumPerMinute": 1000}, [{"maximumPerMinute": 1001}], ""),
    ("CreateJob", JOB, ROLLOUT, growing(), [growing(baseRatePerMinute=0)], ""),
    (
        *("CreateJob", JOB, ROLLOUT, growing(baseRatePerMinute=1000)),
        *([growing(baseRatePerMinute=1001), growing(baseRatePerMinute=6) | {"maximumPerMinute": 5}], ""),
    ),
    (
        *("CreateJob", JOB, ROLLOUT, growing(incrementFactor=1.1)),
        *([growing(incrementFactor=1.0), growing(incrementFactor=1.15)], ""),
    ),
    ("CreateJob", JOB, ROLLOUT, growing(incrementFactor=5), [growing(incrementFactor=5.1)], ""),
    (
        *("CreateJob", JOB, ROLLOUT, growing(rateIncreaseCriteria={"numberOfSucceededThings": 1})),
        [
            growing(rateIncreaseCriteria={"numberOfSucceededThings": 0}),
            growing(rateIncreaseCriteria={"numberOfNotifiedThings": 0}),
            growing(rateIncreaseCriteria={}),
        ],
        "",
    ),
    ("CreateJob", JOB, ABORT, criterion(), [{}, {"criteriaList": []}], ""),
    (
        *("CreateJob", JOB, ABORT, criterion(thresholdPercentage=99.99)),
        [criterion(thresholdPercentage=value) for value in (99.999, 100.01, -0.01)],
        "",
    ),
    ("CreateJob", JOB, ABORT, criterion(thresholdPercentage=100), [criterion(action="STOP")], ""),
    (
        *("CreateJob", JOB, ABORT, criterion(minNumberOfExecutedThings=1)),
        *([criterion(minNumberOfExecutedThings=0), criterion(failureType="CANCELED")], ""),
    ),
    *[
        ("CreateJob", JOB, TIMEOUT, {member: most}, [{member: value} for value in beyond], "")
        for member in ("inProgressTimeoutInMinutes",)
        for most, beyond in ((1, [0, -1]), (10_080, [10_081]))
    ],
    ("CreateJob", JOB, RETRIES, retries(10), [retries(11), retries(-1), retries(), retries(1, 1, 1)], ""),
    ("CreateJob", JOB, RETRIES, retries(0, 10), [retries(1, 10)], ""),
    ("CreateJobTemplate", TEMPLATE, RETRIES, retries(0, 10), [retries(1, 10)], ""),
    (
        *("CreateJob", JOB, SCHEDULE, {"endTime": "2023-11-15T12:00:00.000000000Z"}),
        *([{"endTime": "2" * 65}, {"endTime": ""}, {"endBehavior": "STOP"}], ""),
    ),
    (
        *("CreateJob", scheduled(), SCHEDULE, {WINDOWS: [window(minutes=1)]}),
        *([{WINDOWS: [window(minutes=0)]}, {WINDOWS: []}], ""),
    ),
    (
        *("CreateJob", scheduled(), SCHEDULE, {WINDOWS: [window(minutes=1430)]}),
        *([{WINDOWS: [window(minutes=1431)]}], ""),
    ),
    (
        *("CreateJob", scheduled(), SCHEDULE, {WINDOWS: [window(padded("cron(0 10 * * ? *)", 256))]}),
        *([{WINDOWS: [window(padded("cron(0 10 * * ? *)", 257))]}, {WINDOWS: [window("")]}], ""),
    ),
    (
        *("CreateJobTemplate", TEMPLATE, WINDOWS, [window(minutes=1430)]),
        *([[window(minutes=1431)], [window("0 10 * * * *")]], ""),
    ),
    *[
        (operation, base, "tags", tags("k" * 128)["tags"], [tags("k" * 129)["tags"], tags("")["tags"]], "")
        for operation, base in (("CreateJob", JOB), ("CreateJobTemplate", TEMPLATE))
    ],
    *[
        ("CreateJob", JOB, "tags", tags("k", value="v" * 256)["tags"], [tags("k", value=text)["tags"]], "")
        for text in ("v" * 257, "#")
    ],
    ("TagResource", {"resourceArn": f"{ARN}job/J1"}, "tags", tags("ü 1_.:/=+-@")["tags"], [], ""),
    *[
        ("CreateJobTemplate", TEMPLATE, "tags", tags("k")["tags"], [tags(wrong)["tags"]], "")
        for wrong in ("#", "a\nb", "a,b", "(")
    ],
    ("CancelJobExecution", RUNNING, "statusDetails", details(count=10), [details(count=11)], ""),
    (
        *("CancelJobExecution", RUNNING, "statusDetails", details("k:" * 64, "v" * 1024)),
        *([details("k" * 129), details("a b"), details(value="v" * 1025), details(value="")], ""),
    ),
    *[
        (operation, base, "maxResults", 250, [251, 0], "")
        for operation, base in (
            *(("ListJobs", {}), ("ListJobExecutionsForJob", {"jobId": "J1"})),
            *(("ListJobExecutionsForThing", {"thingName": "T"}), ("ListJobTemplates", {})),
            *(("ListManagedJobTemplates", {}), ("ListThings", {}), ("ListThingGroups", {})),
        )
    ],
    (
        *("DescribeManagedJobTemplate", {"templateName": "AWS-Reboot"}, "templateVersion", "1.0"),
        *(["0.1", "1", "1.0\n", "v1.0"], ""),
    ),
]


def prepared() -> GroupWorld:
    """J1 is CONTINUOUS and runs on T, which is in a group; another group is empty."""
    world = GroupWorld("T")
    world.group("G", "T")
    world.group("H")
    world.create_job("J1", "G", targetSelection="CONTINUOUS")
    world.device("T", "start-next")
    return world


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row[0]}-{row[2]}" for number, row in enumerate(ROWS)])
def test_a_value_is_taken_up_to_its_limit_and_no_further(row: Row) -> None:
    """Control plane 1.3: InvalidRequest in one line, and nothing changes."""
    operation, base, member, allowed, beyond, code = row
    world = prepared()
    known = picture(world.state)
    for value in beyond:
        answer = only(world.call(operation, base | {member: value}))
        assert answer["code"] == INVALID, (value, answer)
        assert "\n" not in answer["message"]
        assert (world.records, picture(world.state)) == ([], known)
    answer = world.call(operation, base | {member: allowed})[0].body
    assert answer.get("code", "") == code, answer


@pytest.mark.parametrize("characters", [1350, 1351])
def test_the_address_of_a_document_has_so_many_characters(characters: int) -> None:
    """Control plane 1.3: what is not too long is refused for another reason, as there is no store here."""
    request = {"jobId": "J9", "targets": ["T"], "documentSource": "s3://bucket/" + "k" * (characters - 12)}
    message = only(prepared().call("CreateJob", request))["message"]
    assert ("artifact directory" in message) is (characters == 1350)


@pytest.mark.parametrize(("key", "value"), [(128, 1), (129, 1), (1, 30_720), (1, 30_721)])
def test_a_parameter_of_a_document_has_so_many_characters(key: int, value: int) -> None:
    """Control plane 1.3: keys of 128 characters, values of 30,720; what is not too long is unknown here."""
    template = "arn:aws:iot:local::jobtemplate/AWS-Reboot:1.0"
    request = {
        "jobId": "J9",
        "targets": ["T"],
        "jobTemplateArn": template,
        "documentParameters": {"k" * key: "v" * value},
    }
    answer = only(prepared().call("CreateJob", request))
    assert answer["code"] == INVALID
    assert ("is unknown to AWS-Reboot" in answer["message"]) is (key <= 128 and value <= 30_720)
