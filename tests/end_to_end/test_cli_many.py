"""The operator's commands on thousands of things, against the real service: retries, queries, completion."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.harness import THINGJOBS, environment
from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.cli.connection import connect
from thingjobs_broker.cli.helper_groups import PREFIX
from thingjobs_broker.testing import Service

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

THINGS = 5000
NAMES = [f"press-{number:04}" for number in range(THINGS)]
RUN = "from thingjobs_broker.cli.main import run; run()"
NOTHING = '{"operation": "nothing"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with its things, whom one query finds."""
    with Service(tmp_path_factory.mktemp("service")) as found:
        asyncio.run(_register(found))
        found.call(
            "UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"}
        )
        yield found


async def _register(service: Service) -> None:
    address = BrokerAddress(service.host, service.port, service.operator.user, service.operator.password)
    names = iter(NAMES)

    async def some() -> None:
        for name in names:
            await connection.call("CreateThing", thingName=name)

    async with connect(address) as connection:
        await asyncio.gather(*(some() for _ in range(8)))


def told(service: Service, *arguments: str) -> str:
    """What a command writes that must succeed, without a word on standard error."""
    done = subprocess.run(
        [*THINGJOBS, *arguments],
        input=NOTHING,
        capture_output=True,
        text=True,
        env=environment(service.environment),
        timeout=150,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def helpers(service: Service) -> list[str]:
    """The groups that stand for the things of a job."""
    listed = service.call("ListThingGroups", namePrefixFilter=PREFIX)["thingGroups"]
    return [group["groupName"] for group in listed]


def test_a_retry_for_thousands_reaches_them_all(service: Service) -> None:
    """Each once; a group holds them until they have been rolled out, and the next command clears it away."""
    query = ("job", "create", "--document", "-", "--query", "thingName:press-*", "--id", "first")
    assert told(service, *query) == "job first created for all things that the query finds\n"
    service.advance(600)
    service.call("CancelJob", jobId="first")
    service.advance(60)
    retried = told(service, "job", "retry", "first", "--only", "canceled")
    assert retried == f"job first-retry-1 created for {THINGS} things\n"
    assert helpers(service) == [f"{PREFIX}first-retry-1"]
    service.advance(600)
    job = service.call("DescribeJob", jobId="first-retry-1")["job"]
    assert job["jobProcessDetails"]["numberOfQueuedThings"] == THINGS
    service.call("CancelJob", jobId="first-retry-1")


def test_more_retries_than_a_thing_may_be_in_groups(service: Service) -> None:
    """Ten is the limit (control plane 10)."""
    query = ("--query", "thingName:press-00* OR thingName:press-01*")
    told(service, "job", "create", "--document", "-", "--id", "again", *query)
    job_id = "again"
    for number in range(11):
        service.advance(120)
        service.call("CancelJob", jobId=job_id)
        service.advance(60)
        told(service, "job", "retry", job_id, "--only", "canceled", "--id", f"again-{number}")
        job_id = f"again-{number}"
    assert helpers(service) == [f"{PREFIX}{job_id}"]
    service.advance(120)
    counts = service.call("DescribeJob", jobId=job_id)["job"]["jobProcessDetails"]
    assert counts["numberOfQueuedThings"] == 200


def test_a_preview_of_a_query_counts_them_all(service: Service) -> None:
    """Also more names than a request could hold."""
    preview = told(service, "job", "preview", "--query", "thingName:press-*", "--document", "-", "--json")
    assert json.loads(preview)["targeted"]["count"] == THINGS


@pytest.mark.parametrize(
    ("option", "begun", "found"),
    [
        ("--target", "press-499", [*NAMES[4990:], "press-4999-group"]),
        ("--group", "press-499", ["press-4999-group"]),
        ("--template", "AWS-Reb", ["AWS-Reboot"]),
    ],
)
def test_the_shell_completes_what_lies_behind_the_first_page(
    service: Service, option: str, begun: str, found: list[str]
) -> None:
    """Looked for by the service: not only among the first 250 names."""
    service.call("CreateThingGroup", thingGroupName="press-4999-group")
    completion = {"_THINGJOBS_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    completion["COMP_WORDS"] = f"thingjobs job create {option} {begun}"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['thingjobs']; " + RUN],
        capture_output=True,
        text=True,
        env=environment(service.environment | completion),
        timeout=20,
        check=False,
    )
    assert done.stdout.split() == found, done.stderr
