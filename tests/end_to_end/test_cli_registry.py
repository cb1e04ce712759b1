"""The operator's commands on things, groups and types, against the real service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.harness import Service, running_service
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

NOTHING = '{"operation": "nothing"}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the tests of this file; each uses things and groups of its own."""
    with running_service(tmp_path_factory.mktemp("service")) as found:
        yield found


def told(service: Service, *arguments: str, code: ExitCode = ExitCode.OK) -> str:
    """What a command writes, on standard error if it fails."""
    done = service.thingjobs(*arguments, stdin=NOTHING, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout if code is ExitCode.OK else done.stderr


def test_a_thing_is_changed_shown_and_deleted(service: Service) -> None:
    """Attributes are merged unless they are replaced; a version that is not expected is refused."""
    told(service, "thing", "create", "press-1", "--attribute", "site=berlin", "--attribute", "floor=1")
    told(service, "thing", "update", "press-1", "--attribute", "floor=2", "--remove-attribute", "site")
    shown = told(service, "thing", "show", "press-1")
    assert "  attributes  floor=2\n" in shown
    assert "  jobs        none pending\n" in shown
    told(service, "thing", "update", "press-1", "--replace", "--attribute", "a=b")
    assert service.ask("thing", "show", "press-1")["attributes"] == {"a": "b"}
    assert "VersionConflictException" in told(
        service, "thing", "delete", "press-1", "--expected-version", "1", code=ExitCode.REFUSED
    )
    assert told(service, "thing", "delete", "press-1") == "thing press-1 is deleted\n"
    assert "Thing press-1 not found" in told(service, "thing", "show", "press-1", code=ExitCode.REFUSED)


def test_groups_have_members_parents_and_jobs(service: Service, tmp_path: Path) -> None:
    """Members from arguments and from a file; a job for the parent reaches them all."""
    for name in ("hall-a", "hall-b", "hall-c"):
        told(service, "thing", "create", name)
    told(service, "group", "create", "site", "--description", "Berlin", "--attribute", "x=y")
    told(service, "group", "create", "hall", "--parent", "site", "--tag", "team=edge")
    names = tmp_path / "names.txt"
    names.write_text("# presses\nhall-b\n\nhall-c\n")
    assert told(service, "group", "add", "hall", "hall-a", "--from", str(names)) == (
        "3 things added to hall\n"
    )
    assert told(service, "group", "remove", "hall", "hall-c") == "1 thing removed from hall\n"
    assert service.ask("group", "members", "site") == {"things": []}
    assert service.ask("group", "members", "site", "--recursive") == {"things": ["hall-a", "hall-b"]}
    shown = told(service, "group", "show", "hall")
    assert "  in        site\n" in shown
    assert "  things    2, with the groups below it\n" in shown
    assert told(service, "thing", "groups", "hall-a") == "GROUP\nhall\n"
    assert [
        each["groupName"] for each in service.ask("group", "list", "--parent", "site")["thingGroups"]
    ] == ["hall"]
    preview = told(service, "job", "preview", "--group", "site", "--target", "hall-a", "--document", "-")
    assert "2 things would get the job: hall-a, hall-b\n" in preview
    assert "excluded, reached by several targets; a thing gets one execution: 1: hall-a\n" in preview
    told(service, "job", "create", "--id", "of-group", "--group", "site", "--document", "-")
    assert len(service.ask("execution", "list", "of-group")["executionSummaries"]) == 2
    assert "InvalidRequestException" in told(service, "group", "delete", "site", code=ExitCode.REFUSED)
    assert told(service, "group", "delete", "hall") == "group hall is deleted\n"


def test_what_is_refused_of_many_is_counted(service: Service) -> None:
    """The others are done; the first refusal is shown."""
    told(service, "thing", "create", "many-1")
    told(service, "group", "create", "many")
    refused = told(service, "group", "add", "many", "nobody", "many-1", "noone", code=ExitCode.REFUSED)
    assert "1 of 3 things added to many, 2 refused; the first: ResourceNotFoundException" in refused
    assert service.ask("group", "members", "many") == {"things": ["many-1"]}


def test_group_timeouts_are_set_shown_and_taken_away(service: Service) -> None:
    """Issue 5, B3 to B5: what holds for jobs for the group."""
    told(service, "group", "create", "slow")
    assert told(service, "group", "timeouts", "slow") == "slow: default none, maximum none\n"
    set_ = told(service, "group", "timeouts", "slow", "--default", "30m", "--maximum", "2h")
    assert set_ == "slow: default 30 min, maximum 120 min\n"
    told(service, "thing", "create", "slow-1", "--group", "slow")
    told(service, "job", "create", "--id", "slow", "--group", "slow", "--document", "-")
    assert service.ask("job", "show", "slow")["job"]["timeoutConfig"] == {"inProgressTimeoutInMinutes": 30}
    assert told(service, "group", "timeouts", "slow", "--none") == "slow: default none, maximum none\n"


def test_types_are_made_used_and_deprecated(service: Service) -> None:
    """A type that is in use, or was deprecated just now, stays."""
    told(service, "type", "create", "gateway", "--description", "Edge", "--searchable", "site")
    told(service, "thing", "create", "typed-1", "--type", "gateway")
    assert [each["thingName"] for each in service.ask("thing", "list", "--type", "gateway")["things"]] == [
        "typed-1"
    ]
    assert told(service, "type", "deprecate", "gateway") == "type gateway is deprecated\n"
    assert "  searchable   site\n" in told(service, "type", "show", "gateway")
    assert told(service, "type", "list").splitlines()[1].split() == ["gateway", "Edge", "deprecated"]
    assert "InvalidRequestException" in told(service, "type", "delete", "gateway", code=ExitCode.REFUSED)


def test_queries_find_things_make_groups_and_target_jobs(service: Service) -> None:
    """Off at first, as with AWS, with the command that helps; then a list, a dynamic group and jobs."""
    refused = told(service, "thing", "list", "--query", "attributes.zone:north", code=ExitCode.REFUSED)
    assert "; turn it on with: thingjobs group index REGISTRY" in refused
    assert told(service, "group", "index", "registry") == "indexing: REGISTRY\n"
    for name, zone in (("q-1", "north"), ("q-2", "south"), ("q-3", "north")):
        told(service, "thing", "create", name, "--attribute", f"zone={zone}")
    query = ("--query", "attributes.zone:north")
    found = service.ask("thing", "list", *query)["things"]
    assert [thing["thingName"] for thing in found] == ["q-1", "q-3"]
    told(service, "group", "create", "north", *query)
    assert service.ask("group", "members", "north") == {"things": ["q-1", "q-3"]}
    assert "  query     attributes.zone:north\n" in told(service, "group", "show", "north")
    snapshot = ("job", "create", "--document", "-", *query)
    assert told(service, *snapshot, "--id", "once") == "job once created for q-1, q-3\n"
    assert "the query is kept as the dynamic group ever-query\n" in told(
        service, *snapshot, "--id", "ever", "--continuous"
    )
    told(service, "thing", "update", "q-2", "--attribute", "zone=north")
    assert len(service.ask("execution", "list", "ever")["executionSummaries"]) == 3
    assert len(service.ask("execution", "list", "once")["executionSummaries"]) == 2
    assert told(service, "group", "delete", "north") == "group north is deleted\n"
