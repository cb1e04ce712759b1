"""Each check of a device's rights, on a set-up that is broken in just that way."""

import dataclasses
import time
from pathlib import Path

import pytest

from tests.broker.beside import create_job, peer
from tests.broker.doctor.patients import (
    DEVICE,
    OPERATOR,
    PASSWORD,
    SERVICE,
    answering,
    case,
    findings,
    login,
    mosquitto,
    outcomes,
    served,
)
from thingjobs_broker.doctor import rights
from thingjobs_broker.doctor.case import CANARY_THING, DeviceLogin
from thingjobs_broker.doctor.findings import Problem

pytestmark = pytest.mark.broker

NS = "namespace-aws-gg-deployment"
CONTROL = "$aws/control/ada"
RIGHTS = ("forgery", "eavesdropping", "impersonation")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rule", "failed", "message"),
    [
        ("pattern readwrite $aws/things/%u/jobs/#", {"forgery"}, "/jobs/get/accepted"),
        ("pattern write $aws/things/%u/jobs/notify", {"forgery"}, "press-7/jobs/notify"),
        ("pattern write $aws/things/%u/jobs/notify-next", {"forgery"}, "press-7/jobs/notify-next"),
        ("pattern write $aws/things/%u/jobs/start-next/+", {"forgery"}, "press-7/jobs/start-next/accepted"),
        ("pattern write $aws/things/%u/jobs/+/update/rejected", {"forgery"}, "/update/rejected"),
        ("pattern write $aws/things/%u/jobs/+/+/get/accepted", {"forgery"}, f"{NS}/get/accepted"),
        ("pattern write $aws/things/%u/jobs/+/+/update/rejected", {"forgery"}, f"{NS}/update/rejected"),
        (f"pattern write $aws/things/%u/jobs/notify-{NS}", {"forgery"}, f"press-7/jobs/notify-{NS}"),
        (f"pattern write $aws/things/%u/jobs/notify-next-{NS}", {"forgery"}, f"jobs/notify-next-{NS}"),
        ("pattern write $aws/things/%u/jobs/+/+/", {"forgery"}, f"/notify-{NS}/"),
        ("pattern write $aws/events/#", {"forgery"}, "$aws/events/job/"),
        ("pattern write $aws/control/+/+/accepted", {"forgery"}, "/DescribeJob/accepted"),
        ("pattern read $aws/things/+/jobs/#", {"eavesdropping"}, f"$aws/things/{CANARY_THING}/jobs/"),
        ("pattern read $aws/events/#", {"eavesdropping"}, "$aws/events/"),
        ("pattern read $aws/control/+/+/accepted", {"eavesdropping"}, "$aws/control/"),
        ("pattern write $aws/things/+/jobs/+/update", {"impersonation"}, "can act for other things"),
        ("pattern write $aws/things/+/jobs/start-next", {"impersonation"}, "can act for other things"),
        ("pattern write $aws/control/+/+", {"impersonation"}, "can use the control plane"),
        ("pattern write $aws/control/+/CreateJob", {"impersonation"}, "CreateJob reaches the service"),
        ("pattern write $aws/control/+/ListJobs", {"impersonation"}, "ListJobs reaches the service"),
        ("pattern readwrite $aws/#", set(RIGHTS), ""),
    ],
)
async def test_a_right_too_many_is_found(tmp_path: Path, rule: str, failed: set[str], message: str) -> None:
    """A line in the access control list that grants it to devices; the other checks are well (C81, C82)."""
    async with served(tmp_path, acl=rule) as broker:
        found = await findings(case(broker))
    assert {name for name, outcome in outcomes(found).items() if outcome == "failed"} == failed
    for name in failed:
        assert message in found[name].message
        assert "access control list" in found[name].fix


@pytest.mark.asyncio
@pytest.mark.parametrize("rule", ["pattern read $aws/things/+/jobs/get", ""])
async def test_with_the_services_login_overheard_requests_are_found(tmp_path: Path, rule: str) -> None:
    """An operator's login cannot make another thing ask."""
    async with served(tmp_path, acl=rule) as broker:
        found = (await findings(case(broker, SERVICE)))["eavesdropping"]
    assert found.outcome == ("failed" if rule else "ok")
    assert not rule or f"{CANARY_THING}/jobs/get" in found.message


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("topic", "namespace"), [("notify-next", {}), (f"notify-next-{NS}", {"namespaceId": NS[10:]})]
)
async def test_a_forged_notify_next_tells_the_truth(
    tmp_path: Path, topic: str, namespace: dict[str, str]
) -> None:
    """A running agent that hears it, where rights are broken, must not drop what it does."""
    async with (
        served(tmp_path, acl=f"pattern write $aws/things/%u/jobs/{topic}") as broker,
        peer(broker.port, f"{CONTROL}/+/+", username=OPERATOR, password=PASSWORD) as operator,
    ):
        await create_job(operator, "job-1", DEVICE, **namespace)
        jobs = f"$aws/things/{DEVICE}/jobs"
        async with peer(broker.port, f"{jobs}/#", username=DEVICE, password=PASSWORD) as agent:
            assert (await findings(case(broker)))["forgery"].outcome == "failed"
            heard = (await agent.until(f"{jobs}/{topic}"))[f"{jobs}/{topic}"]
    assert heard["execution"]["jobId"] == "job-1"


@pytest.mark.asyncio
async def test_the_examination_ends_what_it_began(tmp_path: Path) -> None:
    """The job of the canary is over, whatever the device could do to it."""
    async with served(tmp_path) as broker:
        await findings(case(broker))
        async with peer(
            broker.port, f"{CONTROL}/+/accepted", username=OPERATOR, password=PASSWORD
        ) as operator:
            jobs = (await operator.ask(f"{CONTROL}/ListJobs"))[1]["jobs"]
    assert [job for job in jobs if job["status"] not in ("CANCELED", "DELETION_IN_PROGRESS")] == []


@pytest.mark.asyncio
async def test_a_device_that_is_not_let_in_is_told(tmp_path: Path) -> None:
    """Its rights cannot be examined then."""
    async with served(tmp_path) as broker:
        examined = dataclasses.replace(
            case(broker), device=DeviceLogin(DEVICE, login(broker, DEVICE, "hush"))
        )
        found = await findings(examined)
    assert found["device"].outcome == "failed"
    assert "thingjobs init device NAME" in found["device"].fix
    assert {found[name].outcome for name in ("clock", *RIGHTS)} == {"skipped"}
    assert "hush" not in str(found)


@pytest.mark.asyncio
async def test_a_device_whose_user_is_not_its_name_is_told(tmp_path: Path) -> None:
    """Nobody answers: the broker drops its requests."""
    async with served(tmp_path) as broker:
        address = dataclasses.replace(login(broker, DEVICE), timeout_seconds=0.5)
        examined = dataclasses.replace(case(broker), device=DeviceLogin("lathe-2", address))
        found = await findings(examined)
    assert found["device"].message == "lathe-2 gets no answer to its own request"
    assert "must be its thing name" in found["device"].fix


@pytest.mark.asyncio
async def test_a_device_that_nobody_has_registered_is_told(tmp_path: Path) -> None:
    """Where the registry is closed."""
    from thingjobs_broker.config import RegistrySettings

    settings = {"registry": RegistrySettings(auto_register=False)}
    async with served(tmp_path, settings=settings) as broker:
        found = await findings(case(broker))
    assert "ResourceNotFound" in found["device"].message
    assert found["device"].fix == f"thingjobs thing create {DEVICE}"


@pytest.mark.asyncio
async def test_no_device_is_no_failure(tmp_path: Path) -> None:
    """Each line says what it would take."""
    async with served(tmp_path) as broker:
        found = await findings(dataclasses.replace(case(broker), device=None))
    assert {found[name].message for name in ("device", "clock", *RIGHTS)} == {
        "needs a device's login: --device NAME --device-password-file FILE"
    }
    assert "failed" not in outcomes(found).values()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ahead_seconds", "said"),
    [(600, r"(599|600) s ahead of"), (-600, "(599|600) s behind"), (0, ""), (-1, ""), (4, "")],
)
async def test_a_clock_that_is_off_is_told(tmp_path: Path, ahead_seconds: int, said: str) -> None:
    """By how much, and to which side; a few seconds are nothing."""
    with mosquitto(tmp_path) as broker:
        async with answering(broker, timestamp=int(time.time()) + ahead_seconds):
            examined = case(broker)
            async with examined.stack:
                await rights.device(examined)
    if said:
        with pytest.raises(Problem, match=said):
            await rights.clock(examined)
    else:
        assert await rights.clock(examined) == "the service's clock and the one here agree"
