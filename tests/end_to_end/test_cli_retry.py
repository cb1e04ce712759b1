"""`job retry` after executions that devices failed, rejected, or let time out: whom the new job is for."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.harness import Service, document, handler_folder, running_agent, running_service
from tests.end_to_end.jobs_client import JobsClient
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

THINGS = ("ok", "failed", "late", "turned", "again", "worse", "waiting")
ENDS = {
    "ok": ("SUCCEEDED",),
    "failed": ("FAILED", "FAILED"),
    "turned": ("REJECTED",),
    "again": ("FAILED", "SUCCEEDED"),
    "late": ("IN_PROGRESS",),
    "worse": ("FAILED", "IN_PROGRESS"),
}
"""What each device reports, attempt by attempt; what is left IN_PROGRESS times out."""


async def reported(port: int, job_id: str) -> None:
    """Let the devices report."""
    async with JobsClient.connect(port, "$aws/things/+/jobs/+/update/+") as devices:
        for thing, statuses in ENDS.items():
            for status in statuses:
                answer, *_ = await devices.ask(
                    f"$aws/things/{thing}/jobs/{job_id}/update", {"status": status}
                )
                assert answer.ending == "accepted", answer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a job `mix` that has ended in every way but for the thing that waits."""
    with running_service(tmp_path_factory.mktemp("service"), "--test-clock") as found:
        targets = [word for thing in THINGS for word in ("--target", thing)]
        for thing in THINGS:
            found.thingjobs("thing", "create", thing)
        options = ("--timeout", "5", "--retry", "FAILED=1", "--rate", "500/min", "--description", "d")
        create = ("job", "create", "--id", "mix", "--document", "-", *options, *targets)
        found.thingjobs(*create, stdin='{"operation": "nothing"}')
        asyncio.run(reported(found.port, "mix"))
        found.thingjobs("call", "AdvanceClock", "--json", json.dumps({"durationInSeconds": 400}))
        yield found


def retried(service: Service, *options: str) -> tuple[dict[str, Any], list[str]]:
    """The new job, and the things that have an execution of it."""
    job_id = service.ask("job", "retry", "mix", *options)["jobId"]
    listed = service.ask("execution", "list", job_id)["executionSummaries"]
    states = {each["jobExecutionSummary"]["status"] for each in listed}
    assert states == {"QUEUED"}
    return service.ask("job", "show", job_id)["job"], [each["thingArn"].rpartition("/")[2] for each in listed]


def test_the_executions_have_really_ended_so(service: Service) -> None:
    """By reports of devices and by the service's timer."""
    listed = service.ask("execution", "list", "mix")["executionSummaries"]
    last = {
        each["thingArn"].rpartition("/")[2]: each["jobExecutionSummary"]["status"]
        for each in sorted(listed, key=lambda each: each["jobExecutionSummary"]["executionNumber"])
    }
    assert last == {
        "ok": "SUCCEEDED",
        "failed": "FAILED",
        "late": "TIMED_OUT",
        "turned": "REJECTED",
        "again": "SUCCEEDED",
        "worse": "TIMED_OUT",
        "waiting": "QUEUED",
    }


@pytest.mark.parametrize(
    ("only", "things"),
    [
        (("failed",), ["failed"]),
        (("timed-out",), ["late", "worse"]),
        (("rejected",), ["turned"]),
        (("timed-out", "rejected"), ["late", "turned", "worse"]),
        ((), ["failed", "late", "worse"]),
    ],
)
def test_those_whose_last_attempt_ended_so_are_the_targets(
    service: Service, only: tuple[str, ...], things: list[str]
) -> None:
    """Not who succeeded at the second attempt, nor who failed before it timed out (control plane 2.3)."""
    job, named = retried(service, *(word for each in only for word in ("--only", each)))
    assert [target.rpartition("/")[2] for target in job["targets"]] == named == things
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 5}
    assert job["jobExecutionsRetryConfig"]["criteriaList"][0]["numberOfRetries"] == 1
    assert (job["jobExecutionsRolloutConfig"], job["description"]) == ({"maximumPerMinute": 500}, "d")
    old, new = (service.ask("job", "document", job_id) for job_id in ("mix", job["jobId"]))
    assert old == new


def test_nobody_to_retry_is_said(service: Service) -> None:
    """Nothing was canceled; no job is made."""
    before = service.ask("job", "list")
    done = service.thingjobs("job", "retry", "mix", "--only", "canceled", check=False)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == ("thingjobs: nothing to retry: the last execution of no thing of mix is canceled\n")
    assert service.ask("job", "list") == before


def test_a_retry_after_the_cause_is_gone_succeeds(tmp_path: Path) -> None:
    """With a real agent; `--watch` exits as the new job does."""
    repaired = tmp_path / "repaired"
    handlers = handler_folder(tmp_path, {"install.sh": f"test -e {repaired} || exit 7"})
    with running_service(tmp_path) as service:
        service.thingjobs("thing", "create", "press-7")
        with running_agent(tmp_path, service, "press-7", handlers):
            service.create_job("update", "press-7", document(("install", "install.sh", [])))
            service.wait_for_status("update", "press-7", "FAILED")
            again = ("job", "retry", "update", "--only", "failed", "--watch")
            failed = service.thingjobs(*again, check=False)
            assert failed.returncode == ExitCode.NOT_SUCCEEDED
            repaired.touch()
            done = service.thingjobs(*again)
    assert done.stdout.startswith("job update-retry-2 created for 1 thing\n")
    assert "job update-retry-2 COMPLETED" in done.stdout
