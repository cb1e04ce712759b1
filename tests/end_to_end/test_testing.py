"""The pytest plugin that users get, by use: weeks in a second, real credentials, restarts, a clean end."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from tests.end_to_end.harness import THINGJOBS, thingjobs
from thingjobs_broker.testing import ProgramError, RefusedError, Service, UnreachableError
from thingjobs_protocol.topics import jobs_base

pytestmark = pytest.mark.broker

WEEK_SECONDS = 7 * 86_400
DOCUMENT = '{"operation": "update"}'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """As the plugin's own fixture makes it."""
    with Service(tmp_path) as found:
        yield found


async def asked(service: Service, thing_name: str, what: str, **members: object) -> dict[str, object]:
    """The answer that a device gets, under its own name and password."""
    login = service.device(thing_name)
    topic = f"{jobs_base(thing_name)}/{what}"
    async with aiomqtt.Client(
        service.host, service.port, username=login.user, password=login.password, identifier=thing_name
    ) as client:
        await client.subscribe(f"{topic}/+", qos=1)
        await client.publish(topic, json.dumps(members), qos=1)
        message = await anext(client.messages)
        assert isinstance(message.payload, bytes)
        return {"ending": message.topic.value.rpartition("/")[2], **json.loads(message.payload)}


def status(service: Service, job_id: str = "j") -> str:
    """Of the execution on the one thing."""
    execution = service.call("DescribeJobExecution", jobId=job_id, thingName="T")["execution"]
    return str(execution["status"])


def test_a_timeout_of_a_week_takes_a_moment(service: Service) -> None:
    """Not a second early, and the time that is told is the service's."""
    service.call("CreateThing", thingName="T")
    minutes = {"inProgressTimeoutInMinutes": WEEK_SECONDS // 60}
    service.call("CreateJob", jobId="j", targets=["T"], document=DOCUMENT, timeoutConfig=minutes)
    started = asyncio.run(asked(service, "T", "start-next"))
    assert started["ending"] == "accepted"
    before = service.advance(WEEK_SECONDS - 1)
    assert status(service) == "IN_PROGRESS"
    assert service.advance(1) == before + 1
    assert status(service) == "TIMED_OUT"


def test_nothing_moves_the_clock_but_the_test(service: Service) -> None:
    """Two looks at it, with real time between them, agree."""
    first = service.advance(1)
    service.call("ListThings")
    assert service.advance(1) == first + 1


def test_what_is_refused_is_an_error_with_its_code(service: Service) -> None:
    """AWS's name of it."""
    with pytest.raises(RefusedError) as caught:
        service.call("DescribeJob", jobId="none")
    assert caught.value.code == "ResourceNotFoundException"


def test_a_device_acts_for_itself_alone(service: Service) -> None:
    """Rights are those of production: the credentials of one thing are no good for another."""
    login = service.device("A")

    async def steal() -> int:
        async with aiomqtt.Client(
            service.host, service.port, username=login.user, password=login.password
        ) as client:
            (granted,) = await client.subscribe(f"{jobs_base('B')}/notify")
            return granted.value if hasattr(granted, "value") else int(granted)

    assert asyncio.run(steal()) == 0x80
    assert login.password not in repr(login)


def test_a_restart_and_a_power_cut_keep_address_time_and_data(service: Service) -> None:
    """Time goes on from where it stood."""
    service.call("CreateThing", thingName="T")
    before, port = service.advance(WEEK_SECONDS), service.port
    for end in (service.stop, service.kill):
        end()
        with pytest.raises(UnreachableError):
            service.call("ListThings")
        service.start()
        assert service.port == port
    assert [thing["thingName"] for thing in service.call("ListThings")["things"]] == ["T"]
    assert 1 <= service.advance(1) - before <= 2


def test_it_can_be_called_where_an_event_loop_runs(service: Service) -> None:
    """The calls block; the connection lives in a thread of its own."""

    async def within() -> dict[str, object]:
        return service.call("CreateThing", thingName="T")

    assert asyncio.run(within())["thingName"] == "T"


def test_the_command_line_reaches_it(service: Service) -> None:
    """Without the password in its arguments."""
    done = thingjobs("thing", "create", "T", environ=service.environment)
    assert done.stdout == "thing T is registered\n"


def test_what_cannot_start_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """An option that does not exist."""
    with pytest.raises(ProgramError, match="No such option"), Service(tmp_path, "--no-such-option"):
        pytest.fail("it started")


def test_the_plugin_works_in_a_project_of_its_own(tmp_path: Path) -> None:
    """As the documentation shows it: one line in conftest.py."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["thingjobs_broker.testing"]\n')
    (tmp_path / "test_theirs.py").write_text(
        "def test_theirs(thingjobs_service):\n"
        "    thingjobs_service.call('CreateThing', thingName='gateway-1')\n"
        "    start = thingjobs_service.advance(1)\n"
        "    assert thingjobs_service.advance(365 * 86_400) == start + 365 * 86_400\n"
        "    print('pid', thingjobs_service._program.pid)\n"
    )
    command = [THINGJOBS[0], "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    pid = int(done.stdout.split("pid ")[1].split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_flag_warns_in_the_log_and_without_it_the_clock_does_not_move(
    service: Service, tmp_path: Path
) -> None:
    """A service that was started so by mistake must be seen to be."""
    assert "The clock stands still but for AdvanceClock" in service.log.read_text()
    assert "--test-clock" in thingjobs("serve", "--help").stdout
