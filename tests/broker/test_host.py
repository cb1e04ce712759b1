"""What every adapter does alike: the data directory taken, recovered and let go, and requests passed on."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.broker.at_work import HandClock
from tests.broker.core.world import DOCUMENT, START_MS, START_S
from thingjobs_broker.config import JobsSettings, LimitsSettings, RegistrySettings, ServiceSettings
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.host import REQUEST_TOPIC_CHARACTERS_MAX, ServiceHost, StartError
from thingjobs_broker.store.errors import DataDirectoryInUse

PATIENCE_S = 10.0
JOBS = "$aws/things/press-7/jobs"


class Office:
    """A host with a publisher that keeps what it gets."""

    def __init__(self, data_dir: Path, **members: Any) -> None:
        self.failures: list[BaseException] = []
        self.host = ServiceHost(ServiceSettings(data_dir=str(data_dir), **members), self.failures.append)
        self.clock = HandClock()
        self.made_with: list[tuple[int, Any]] = []
        self.host.new_clock = self._new_clock
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.settled: list[str] = []

    def _new_clock(self, not_before_ms: int, last_start: Any) -> HandClock:
        self.made_with.append((not_before_ms, last_start))
        return self.clock

    def publish(self, message: Message) -> None:
        self.said.append((message.topic, json.loads(message.payload())))

    def flush(self) -> None:
        pass

    def receive(self, topic: str, by: str | None = None, **members: Any) -> None:
        """Bring a request."""
        self.host.receive(topic, json.dumps(members).encode(), by, lambda: self.settled.append(topic))

    async def ask(self, topic: str, by: str | None = None, **members: Any) -> tuple[str, dict[str, Any]]:
        """Bring a request and wait for its answer: its ending and its body."""
        before = self.settled.count(topic)
        self.receive(topic, by, **members)
        async with asyncio.timeout(PATIENCE_S):
            while self.settled.count(topic) == before:  # What is waited for sets no event.
                await asyncio.sleep(0.001)
        answered, body = next(one for one in reversed(self.said) if one[0].startswith(f"{topic}/"))
        return answered.rpartition("/")[2], body


@asynccontextmanager
async def running(data_dir: Path, **members: Any) -> AsyncIterator[Office]:
    """A host from `open` to `release`."""
    office = Office(data_dir, **members)
    try:
        await office.host.open()
        office.host.start(office)
        yield office
    finally:
        await office.host.finish()
        await office.host.release()


@pytest.mark.asyncio
async def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    """Promise 1 and 6; the clock goes on from what is on record."""
    async with running(tmp_path / "data") as office:
        assert office.made_with == [(0, None)]
        await office.ask("$aws/control/ops/CreateThing", "ada", thingName="press-7")
        await office.ask(
            "$aws/control/ops/CreateJob", "ada", jobId="J", targets=["press-7"], document=DOCUMENT
        )
        office.clock.ms += 5000
        assert (await office.ask(f"{JOBS}/start-next"))[0] == "accepted"
    async with running(tmp_path / "data") as office:
        ((not_before_ms, last_start),) = office.made_with
        assert not_before_ms == START_MS + 5000
        assert (last_start.at_ms, last_start.boot_id, last_start.uptime_ms) == (START_MS, "boot", 0)
        ending, body = await office.ask(f"{JOBS}/J/get", includeJobDocument=False)
        assert (ending, body["execution"]["versionNumber"]) == ("accepted", 2)
        assert body["execution"]["startedAt"] == START_S + 5


@pytest.mark.asyncio
async def test_nobody_else_can_read_the_data_directory(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask says."""
    async with running(tmp_path / "deep" / "data") as office:
        await office.ask(f"{JOBS}/get")
    for path in (tmp_path / "deep").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.asyncio
async def test_a_data_directory_has_one_service_until_it_is_released(tmp_path: Path) -> None:
    """The second says who holds it; after the first has let go there is a way in."""
    async with running(tmp_path / "data"):
        second = Office(tmp_path / "data")
        with pytest.raises(DataDirectoryInUse, match=r"is in use by process \d+; stop it or choose another"):
            await second.host.open()
        await second.host.release()
    async with running(tmp_path / "data") as office:
        assert (await office.ask(f"{JOBS}/get"))[0] == "accepted"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"data_dir": ""}, "data_dir is empty"),
        ({"topic_root": ""}, "topic_root '' is not one level of a topic"),
        ({"topic_root": "a/b"}, "topic_root 'a/b' is not one level of a topic"),
        ({"topic_root": "+"}, r"topic_root '\+' is not one level of a topic"),
    ],
)
async def test_a_setting_that_cannot_work_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], complaint: str
) -> None:
    """An empty name of a directory would be the working directory."""
    monkeypatch.chdir(tmp_path)
    found = {"data_dir": "data", **members}
    host = ServiceHost(ServiceSettings(**found), lambda _: None)
    with pytest.raises(StartError, match=complaint):
        await host.open()
    await host.release()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - ruff wants no Path in a coroutine


@pytest.mark.asyncio
async def test_every_kind_of_topic_goes_where_it_belongs(tmp_path: Path) -> None:
    """Devices, operators, what names no operation, and what is nobody's business; each is settled once."""
    async with running(tmp_path / "data") as office:
        assert (await office.ask(f"{JOBS}/get"))[0] == "accepted"
        ending, body = await office.ask(f"{JOBS}/J/frob", clientToken="c")
        assert (ending, body["code"], body["clientToken"]) == ("rejected", "InvalidTopic", "c")
        assert (await office.ask("$aws/control/ops/ListJobs", "ada"))[0] == "accepted"
        answers = len(office.said)
        silent = [f"{JOBS}/get/accepted", f"{JOBS}/notify", "$aws/events/job/J/completed", "$aws", "plain"]
        silent += ["$aws/control/ops", "$aws/control//ListJobs", "aws/things/press-7/jobs/get"]
        silent += [f"$aws/things/{'x' * REQUEST_TOPIC_CHARACTERS_MAX}/jobs/get"]
        for topic in silent:
            office.receive(topic)
        await office.ask(f"{JOBS}/get", clientToken="last")
        assert len(office.said) == answers + 1
        assert all(office.settled.count(topic) == 1 for topic in silent)


@pytest.mark.asyncio
@pytest.mark.parametrize(("by", "recorded"), [("ada", "ada"), (None, "ops")])
async def test_an_operator_is_who_the_adapter_says_or_the_client_in_the_topic(
    tmp_path: Path, by: str | None, recorded: str
) -> None:
    """Architecture, "The records are the history": who did what."""
    async with running(tmp_path / "data") as office:
        await office.ask("$aws/control/ops/CreateThing", by, thingName="press-7")
        await office.ask("$aws/control/ops/CreateJob", by, jobId="J", targets=["press-7"], document=DOCUMENT)
        _, body = await office.ask("$aws/control/ops/DescribeTimeline", "eve", jobId="J")
        assert [entry["by"] for entry in body["timeline"]] == [recorded]


@pytest.mark.asyncio
async def test_another_root_and_registry_and_names_are_the_settings(tmp_path: Path) -> None:
    """`topic_root`, `auto_register`, region and account reach the rules."""
    members: dict[str, Any] = {"topic_root": "aws", "region": "eu", "account": "123456789012"}
    registry = RegistrySettings(auto_register=False)
    async with running(tmp_path / "data", registry=registry, **members) as office:
        ending, body = await office.ask("aws/things/press-7/jobs/get")
        assert (ending, body["code"]) == ("rejected", "ResourceNotFound")
        _, body = await office.ask("aws/control/ops/CreateThing", "ada", thingName="press-7")
        assert body["thingArn"] == "arn:aws:iot:eu:123456789012:thing/press-7"
        office.receive(f"{JOBS}/get")
        assert office.settled[-1] == f"{JOBS}/get"


@pytest.mark.asyncio
async def test_a_thing_that_asks_too_fast_is_told_and_its_adapter_too(tmp_path: Path) -> None:
    """3.2, RequestThrottled: answered, and by how long it had better not be listened to."""
    limits = LimitsSettings(requests_per_second=10, requests_burst=2)
    async with running(tmp_path / "data", limits=limits) as office:
        for _ in range(2):
            assert (await office.ask(f"{JOBS}/get"))[0] == "accepted"
        assert office.host.receive(f"{JOBS}/get", b"", None, lambda: None) > 0
        _, body = await office.ask(f"{JOBS}/get", clientToken="c")
        assert (body["code"], body["clientToken"]) == ("RequestThrottled", "c")
        office.clock.ms += 1000
        assert (await office.ask(f"{JOBS}/get"))[0] == "accepted"


@pytest.mark.asyncio
async def test_a_fault_in_the_rules_stops_the_service_and_no_request_is_heard_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reported once; neither answered nor acknowledged, so that it is asked again after the restart."""
    async with running(tmp_path / "data") as office:
        await office.ask(f"{JOBS}/get")
        before = (len(office.said), len(office.settled))
        assert office.host.runner is not None

        def broken(*_: object) -> None:
            raise LookupError("no such rule")

        with monkeypatch.context() as patched:
            patched.setattr(office.host.runner, "handle", broken)
            office.receive(f"{JOBS}/get")
            office.receive(f"{JOBS}/get")
        office.receive(f"{JOBS}/start-next")
        office.receive("$aws/control/ops/ListJobs")
        assert [str(error) for error in office.failures] == ["no such rule"]
        assert office.host.failure is office.failures[0]
    assert (len(office.said), len(office.settled)) == before
    async with running(tmp_path / "data") as office:
        assert (await office.ask(f"{JOBS}/get"))[0] == "accepted"


@pytest.mark.asyncio
async def test_the_settings_of_jobs_reach_the_rules(tmp_path: Path) -> None:
    """Default and maximum timeouts, documents and URLs of the artifact directory (control plane 7, 9)."""
    (tmp_path / "art" / "bucket").mkdir(parents=True)
    (tmp_path / "art" / "bucket" / "doc").write_text('{"get":"${aws:iot:s3-presigned-url:s3://bucket/x}"}')
    jobs = JobsSettings(
        timeout_default_minutes=90,
        timeout_maximum_minutes=60,
        artifact_dir=str(tmp_path / "art"),
        artifact_url="https://jobs.example/artifacts",
    )
    async with running(tmp_path / "data", jobs=jobs) as office:
        await office.ask("$aws/control/op/CreateThing", thingName="press-7")
        answer = await office.ask(
            "$aws/control/op/CreateJob", jobId="J", targets=["press-7"], documentSource="s3://bucket/doc"
        )
        assert answer[0] == "accepted", answer
        _, described = await office.ask("$aws/control/op/DescribeJob", jobId="J")
        assert described["job"]["timeoutConfig"] == {"inProgressTimeoutInMinutes": 60}
        _, started = await office.ask(f"{JOBS}/start-next")
        url = started["execution"]["jobDocument"]["get"]
        assert url.startswith(f"https://jobs.example/artifacts/bucket/x?expires={START_S + 3600}&signature=")
    assert stat.S_IMODE((tmp_path / "data" / "artifacts.key").stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_a_standing_clock_moves_by_the_operation_alone_and_through_all_that_falls_due(
    tmp_path: Path,
) -> None:
    """A rollout of weeks is carried out window by window; the answer comes when all that is done."""
    async with running(tmp_path / "data", test_clock=True) as office:
        for number in range(3):
            await office.ask("$aws/control/op/CreateThing", thingName=f"T{number}")
        await office.ask(
            "$aws/control/op/CreateJob",
            jobId="J",
            targets=["T0", "T1", "T2"],
            document="{}",
            jobExecutionsRolloutConfig={"maximumPerMinute": 1},
        )
        _, before = await office.ask("$aws/control/op/DescribeJob", jobId="J")
        await asyncio.sleep(0.02)
        ending, body = await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=14 * 86_400)
        assert (ending, body["now"]) == ("accepted", before["job"]["createdAt"] + 14 * 86_400)
        _, listed = await office.ask("$aws/control/op/ListJobExecutionsForJob", jobId="J")
        queued = [one["jobExecutionSummary"]["queuedAt"] for one in listed["executionSummaries"]]
        assert [at - queued[0] for at in queued] == [0, 60, 120]
        for wrong in (0, -5, 1.5, None):
            ending, body = await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=wrong)
            assert (ending, body["code"]) == ("rejected", "InvalidRequestException")
    async with running(tmp_path / "data", test_clock=True) as office:
        _, body = await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=1)
        assert body["now"] >= queued[-1] + 1


@pytest.mark.asyncio
async def test_what_is_long_over_is_forgotten_when_the_clock_is_moved(tmp_path: Path) -> None:
    """Retention goes by the clock for tests, not by real hours: 730 days after its end, and not before."""
    async with running(tmp_path / "data", test_clock=True) as office:
        await office.ask("$aws/control/op/CreateThing", thingName="T")
        await office.ask("$aws/control/op/CreateJob", jobId="J", targets=["T"], document="{}")
        await office.ask("$aws/control/op/CancelJob", jobId="J")
        day_seconds = 86_400
        await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=729 * day_seconds)
        ending, _ = await office.ask("$aws/control/op/DescribeJob", jobId="J")
        assert ending == "accepted"
        await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=2 * day_seconds)
        ending, body = await office.ask("$aws/control/op/DescribeJob", jobId="J")
        assert (ending, body["code"]) == ("rejected", "ResourceNotFoundException")


@pytest.mark.asyncio
async def test_the_machines_clock_is_not_moved_by_anyone(tmp_path: Path) -> None:
    """AdvanceClock is refused without the setting."""
    async with running(tmp_path / "data") as office:
        ending, body = await office.ask("$aws/control/op/AdvanceClock", durationInSeconds=60)
        assert (ending, body["code"]) == ("rejected", "InvalidRequestException")
        assert "--test-clock" in body["message"]
        assert office.clock.now_ms() == START_MS
