"""The operator's commands on jobs, executions, templates, tags and events, against the real service."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.harness import THINGJOBS, Service, environment, running_service, wait_until
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

RUN = "from thingjobs_broker.cli.main import run; run()"
NOTHING = '{"operation": "nothing"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the tests of this file; each uses things and jobs of its own."""
    with running_service(tmp_path_factory.mktemp("service"), "--test-clock") as found:
        yield found


def told(service: Service, *arguments: str, code: ExitCode = ExitCode.OK, stdin: str = NOTHING) -> str:
    """What a command writes, on standard error if it fails."""
    done = service.thingjobs(*arguments, stdin=stdin, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout if code in (ExitCode.OK, ExitCode.NOT_SUCCEEDED) else done.stderr


def create(service: Service, job_id: str, *things: str, options: tuple[str, ...] = ()) -> str:
    """Create a job for things, which are registered."""
    for thing in things:
        told(service, "thing", "create", thing)
    targets = [option for thing in things for option in ("--target", thing)]
    return told(service, "job", "create", "--id", job_id, "--document", "-", *targets, *options)


def advance(service: Service, seconds: int) -> None:
    """Let time pass."""
    told(service, "call", "AdvanceClock", "--json", json.dumps({"durationInSeconds": seconds}))


def test_a_job_with_all_its_options_is_stored_as_asked(service: Service) -> None:
    """The service takes what the grammar makes of them."""
    options: tuple[str, ...] = ("--rate", "5/min", "--timeout", "2h")
    options += ("--exponential", "1,1.5,notified=2,succeeded=3")
    options += ("--abort", "FAILED>20.5% after 100", "--retry", "FAILED=2", "--retry", "TIMED_OUT=1")
    options += ("--tag", "team=edge", "--continuous", "--window", "cron(0 2 * * ? *)", "--duration", "90m")
    create(service, "all", "all-1", options=options)
    job = service.ask("job", "show", "all")["job"]
    assert job["jobExecutionsRolloutConfig"]["exponentialRate"]["incrementFactor"] == 1.5
    assert job["abortConfig"]["criteriaList"][0]["thresholdPercentage"] == 20.5
    assert (job["targetSelection"], job["timeoutConfig"]) == (
        "CONTINUOUS",
        {"inProgressTimeoutInMinutes": 120},
    )
    assert job["schedulingConfig"]["maintenanceWindows"][0]["durationInMinutes"] == 90
    assert told(service, "tag", "list", "job/all") == "KEY   VALUE\nteam  edge\n"


def test_a_managed_template_takes_parameters(service: Service) -> None:
    """By its name alone; the authored document is another one."""
    told(service, "thing", "create", "managed-1")
    arguments = ("--target", "managed-1", "--template", "AWS-Download-File", "--id", "managed")
    parameters = ("--param", "downloadUrl=https://x/y", "--param", "filePath=/tmp/y")
    assert told(service, "job", "create", *arguments, *parameters) == "job managed created for managed-1\n"
    assert "https://x/y" in told(service, "job", "document", "managed")
    assert "${aws:iot:parameter:downloadUrl}" in told(service, "job", "document", "managed", "--authored")
    assert "filePath" in told(
        service, "job", "preview", *arguments[:4], *parameters[:2], code=ExitCode.REFUSED
    )


def test_a_preview_tells_and_changes_nothing(service: Service) -> None:
    """Who, how long, and that nothing was created."""
    for number in range(3):
        told(service, "thing", "create", f"pre-{number}")
    before = service.ask("job", "list")
    targets = [option for number in range(3) for option in ("--target", f"pre-{number}")]
    text = told(service, "job", "preview", "--document", "-", *targets, "--rate", "1/min")
    assert "3 things would get the job: pre-0, pre-1, pre-2\n" in text
    assert "rollout: first 1 a minute, begins " in text
    assert ", takes 2 min, done " in text
    assert "nothing was created" in text
    assert service.ask("job", "list") == before


def test_a_job_of_a_namespace_is_created_previewed_listed_and_explained(service: Service) -> None:
    """As what it is, and in nobody's way (control plane 1.7)."""
    create(service, "spaced-plain", "spaced-1")
    options: tuple[str, ...] = ("--target", "spaced-1", "--document", "-")
    assert "will wait, has other jobs to do first: 1: spaced-1" in told(service, "job", "preview", *options)
    options = (*options, "--namespace", "greengrass")
    assert "has other jobs" not in told(service, "job", "preview", *options)
    told(service, "job", "create", "--id", "spaced", *options)
    listed = service.ask("job", "list", "--namespace", "greengrass")["jobs"]
    assert [job["jobId"] for job in listed] == ["spaced"]
    assert "  namespace   greengrass\n" in told(service, "job", "show", "spaced")
    why = told(service, "why", "spaced-1", "spaced")
    assert "  spaced QUEUED: " in why
    assert "behind" not in why
    refused = told(service, "job", "create", *options[:-1], "not/one", code=ExitCode.REFUSED)
    assert "namespaceId" in refused
    assert "\n" not in refused.rstrip("\n")


def test_a_job_is_updated_retried_and_deleted(service: Service) -> None:
    """What it failed on gets a job of its own; without force a running one stays."""
    create(service, "life", "life-1", "life-2", options=("--timeout", "5"))
    assert told(service, "job", "update", "life", "--timeout", "9", "--description", "new") == (
        "job life is updated\n"
    )
    assert service.ask("job", "show", "life")["job"]["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    assert "no thing of life is canceled" in told(
        service, "job", "retry", "life", "--only", "canceled", code=ExitCode.USAGE
    )
    told(service, "execution", "cancel", "life-1", "life")
    retried = told(service, "job", "retry", "life", "--only", "canceled")
    assert retried == "job life-retry-1 created for 1 thing\n"
    assert service.ask("job", "show", "life-retry-1")["job"]["targets"][0].endswith("thing/life-1")
    assert "InvalidStateTransitionException" in told(service, "job", "delete", "life", code=ExitCode.REFUSED)
    assert told(service, "job", "delete", "life", "--force") == "job life is being deleted\n"
    assert "Job life not found" in told(service, "job", "show", "life", code=ExitCode.REFUSED)


def test_executions_are_listed_explained_and_deleted(service: Service) -> None:
    """Of a job, of a thing, or both; one that waits says what for."""
    create(service, "ex-a", "ex-1", "ex-2")
    create(service, "ex-b", "ex-1")
    listed = told(service, "execution", "list", "ex-a")
    assert [line.split()[:4] for line in listed.splitlines()[1:]] == [
        ["ex-a", "ex-1", "1", "QUEUED"],
        ["ex-a", "ex-2", "1", "QUEUED"],
    ]
    of_thing = service.ask("execution", "list", "--thing", "ex-1")["executionSummaries"]
    assert [each["jobId"] for each in of_thing] == ["ex-a", "ex-b"]
    why = told(service, "why", "ex-1")
    assert "  ex-b QUEUED: it waits behind job ex-a, which is QUEUED (1 before it), since " in why
    assert "job ex-b QUEUED" not in told(service, "why", "ex-1", "ex-a")
    assert "QUEUED  by " in told(service, "execution", "timeline", "ex-1", "ex-a")
    assert told(service, "execution", "delete", "ex-1", "ex-a") == "attempt 1 of ex-a on ex-1 is deleted\n"
    assert "its execution was deleted" in told(service, "why", "ex-1", "ex-a")
    assert "UpdateJobExecutionTimeout" not in told(
        service, "execution", "extend", "ex-1", "ex-b", "--timeout", "1h", code=ExitCode.REFUSED
    )


def test_templates_are_kept_shown_used_and_deleted(service: Service) -> None:
    """Also made of a job; the list has the managed ones too."""
    make = ("template", "create", "tpl", "--description", "d", "--document", "-", "--retry", "FAILED=1")
    assert told(service, *make, "--tag", "a=b") == "template tpl is kept\n"
    told(service, "thing", "create", "tpl-1")
    told(service, "job", "create", "--id", "of-tpl", "--target", "tpl-1", "--template", "tpl")
    assert service.ask("job", "show", "of-tpl")["job"]["jobExecutionsRetryConfig"]
    told(service, "template", "create", "again", "--description", "e", "--from-job", "of-tpl")
    shown = told(service, "template", "show", "again")
    assert shown.endswith(f"  document:\n{NOTHING}\n")
    listed = told(service, "template", "list")
    assert "AWS-Reboot" in listed
    assert "again" in listed
    assert "--param packages=...  required: " in told(service, "template", "show", "AWS-Install-Application")
    assert told(service, "template", "delete", "tpl") == "template tpl is deleted\n"
    assert "no template, own or managed, has the name 'tpl'" in told(
        service, "job", "create", "--target", "tpl-1", "--template", "tpl", code=ExitCode.REFUSED
    )


def test_tags_are_added_and_removed(service: Service) -> None:
    """By kind and name."""
    create(service, "tagged", "tagged-1")
    told(service, "tag", "add", "job/tagged", "team=edge", "ring=canary")
    told(service, "tag", "remove", "job/tagged", "ring")
    assert service.ask("tag", "list", "job/tagged") == {"tags": [{"Key": "team", "Value": "edge"}]}


def test_events_are_followed_until_enough_came(service: Service) -> None:
    """Of one thing, each a line of JSON; what happened before the subscription is not told."""
    command = [*THINGJOBS, "events", "--thing", "noisy-1", "--count", "1", "--json"]
    with subprocess.Popen(
        [*command, "--broker", service.broker], stdout=subprocess.PIPE, text=True, env=environment()
    ) as following:
        numbers = itertools.count()

        def seen() -> bool:
            job_id = f"noisy-{next(numbers)}"
            create(service, job_id, "noisy-1", "silent-1")
            told(service, "job", "cancel", job_id)
            return following.poll() is not None

        wait_until(seen, what="an event", timeout_s=60)
        output, _ = following.communicate()
    assert following.returncode == ExitCode.OK
    event = json.loads(output)
    assert (event["status"], event["thingArn"].rpartition("/")[2]) == ("CANCELED", "noisy-1")


def test_a_watch_of_a_failed_job_exits_with_1_and_a_create_can_watch(service: Service) -> None:
    """The exit code of --watch is the job's."""
    told(service, "thing", "create", "seen-1")
    command = [*THINGJOBS, "job", "create", "--id", "seen", "--target", "seen-1", "--document", "-"]
    watching = subprocess.Popen(
        [*command, "--watch", "--broker", service.broker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert watching.stdin is not None
    watching.stdin.write(NOTHING)
    watching.stdin.close()
    watching.stdin = None
    wait_until(
        lambda: "seen" in told(service, "job", "list", "--json"),
        what="the job",
    )
    told(service, "job", "cancel", "seen")
    output, _ = watching.communicate(timeout=20)
    assert watching.returncode == ExitCode.NOT_SUCCEEDED
    assert "job seen CANCELED" in output


def test_weeks_pass_in_a_second(service: Service) -> None:
    """With the flag only; a start time comes true."""
    create(service, "later", "later-1", options=("--start", "+7d"))
    assert "the job has not begun: its start time is to come, until " in told(
        service, "why", "later-1", "later"
    )
    advance(service, 8 * 86_400)
    assert "QUEUED" in told(service, "execution", "list", "later")


def test_names_are_completed_from_the_service(service: Service) -> None:
    """As the shell asks for them; without a service nothing is offered, and nothing is said."""
    told(service, "thing", "create", "complete-me")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['thingjobs']; " + RUN],
        capture_output=True,
        text=True,
        env=environment(
            {
                "_THINGJOBS_COMPLETE": "complete_bash",
                "COMP_WORDS": "thingjobs why complete-",
                "COMP_CWORD": "2",
                "THINGJOBS_BROKER": service.broker,
            }
        ),
        timeout=20,
        check=False,
    )
    assert done.stdout.split() == ["complete-me"], done.stderr
