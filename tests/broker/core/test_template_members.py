"""Each member that jobs and templates have in common, on its way from one to the other (control plane
7.3).
"""

from typing import Any

import pytest

from tests.broker.core.world import DOCUMENT, World

ARN = "arn:aws:iot:local:000000000000:"

# One of each member that jobs and templates have in common (control plane 1.4).
MEMBERS: dict[str, Any] = {
    "presignedUrlConfig": {"expiresInSec": 90},
    "jobExecutionsRolloutConfig": {"maximumPerMinute": 7},
    "abortConfig": {
        "criteriaList": [
            {
                "failureType": "ALL",
                "action": "CANCEL",
                "thresholdPercentage": 12.25,
                "minNumberOfExecutedThings": 3,
            }
        ]
    },
    "timeoutConfig": {"inProgressTimeoutInMinutes": 11},
    "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]},
    "destinationPackageVersions": ["arn:aws:iot:local:000000000000:package/p/version/1"],
}
NIGHT = [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 60}]
NOON = [{"startTime": "cron(0 12 * * ? *)", "durationInMinutes": 30}]


def without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    """The others."""
    return {name: value for name, value in members.items() if name not in names}


def test_each_member_goes_from_a_job_to_a_template_and_to_the_jobs_made_from_it() -> None:
    """Control plane 2.1, 7.3: all of them are kept, copied, echoed as they were given, and taken over."""
    world = World("T")
    schedule = {"maintenanceWindows": NIGHT}
    world.create_job("J0", targetSelection="CONTINUOUS", schedulingConfig=schedule, **MEMBERS)
    assert world.control("DescribeJob", jobId="J0")["job"].items() >= MEMBERS.items()
    world.control("CreateJobTemplate", jobTemplateId="copy", description="text", jobArn=f"{ARN}job/J0")
    kept = world.control("DescribeJobTemplate", jobTemplateId="copy")
    assert without(kept, "jobTemplateArn", "jobTemplateId", "createdAt") == MEMBERS | {
        "description": "text",
        "document": DOCUMENT,
        "maintenanceWindows": NIGHT,
    }
    world.control(
        "CreateJob",
        jobId="J1",
        targets=["T"],
        jobTemplateArn=f"{ARN}jobtemplate/copy",
        targetSelection="CONTINUOUS",
    )
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert job.items() >= (MEMBERS | {"schedulingConfig": schedule}).items()


@pytest.mark.parametrize("name", [*MEMBERS, "document", "maintenanceWindows"])
def test_a_template_from_a_job_has_what_it_is_given_instead(name: str) -> None:
    """Control plane 7.3: "explicitly given members override", each whole, and no other."""
    world = World("T")
    world.create_job(
        "J0", targetSelection="CONTINUOUS", schedulingConfig={"maintenanceWindows": NIGHT}, **MEMBERS
    )
    others: dict[str, Any] = {
        "presignedUrlConfig": {"expiresInSec": 60},
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 1},
        "abortConfig": {
            "criteriaList": [MEMBERS["abortConfig"]["criteriaList"][0] | {"minNumberOfExecutedThings": 1}]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 1},
        "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 1}]},
        "destinationPackageVersions": [],
        "document": '{"other": 1}',
        "maintenanceWindows": NOON,
    }
    request = {"jobTemplateId": "copy", "description": "text", "jobArn": f"{ARN}job/J0"}
    world.control("CreateJobTemplate", **request, **{name: others[name]})
    kept = world.control("DescribeJobTemplate", jobTemplateId="copy")
    copied = MEMBERS | {"document": DOCUMENT, "maintenanceWindows": NIGHT}
    assert kept.items() >= (copied | {name: others[name]}).items()


def test_the_windows_of_a_template_go_with_the_start_of_a_job_and_give_way_to_its_windows() -> None:
    """Control plane 6.1, "Templates": they are merged into schedulingConfig."""
    world = World("T")
    world.control(
        "CreateJobTemplate", jobTemplateId="t", description="d", document="{}", maintenanceWindows=NIGHT
    )
    start = {"startTime": "1700003600"}
    for job_id, given, windows in (("J1", start, NIGHT), ("J2", start | {"maintenanceWindows": NOON}, NOON)):
        world.control(
            "CreateJob",
            jobId=job_id,
            targets=["T"],
            jobTemplateArn=f"{ARN}jobtemplate/t",
            targetSelection="CONTINUOUS",
            schedulingConfig=given,
        )
        job = world.control("DescribeJob", jobId=job_id)["job"]
        assert job["schedulingConfig"] == start | {"maintenanceWindows": windows}
