"""The service beside a Mosquitto with the shipped configuration, and beside one that is open to all."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.beside import CONFIG, Mosquitto, base, create_job, peer, settings_for, sidecar
from tests.broker.doctor import patients
from tests.support import ROOT, free_port, require_program
from thingjobs_broker.config import LimitsSettings
from thingjobs_broker.host import StartError
from thingjobs_broker.sidecar import Sidecar

pytestmark = pytest.mark.broker

PASSWORD = "between-us"
PRESS, LATHE = base("press-7"), base("lathe-2")
CONTROL = "$aws/control/ada"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Mosquitto]:
    """The shipped configuration with its access control list, and four users."""
    mosquitto_passwd = require_program("mosquitto_passwd", package="mosquitto")
    passwords = tmp_path / "passwd"
    passwords.touch(mode=0o600)
    for user in ("thingjobs-service", "thingjobs-operator", "press-7", "lathe-2"):
        subprocess.run([mosquitto_passwd, "-b", str(passwords), user, PASSWORD], check=True)
    config = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
    config = config.replace("/etc/mosquitto/thingjobs.acl", str(ROOT / "broker_plugin/mosquitto/acl"))
    config = config.replace("/etc/mosquitto/thingjobs.passwd", str(passwords))
    mosquitto = Mosquitto(tmp_path, free_port(), config).start()
    yield mosquitto
    mosquitto.stop()


def service_url(broker: Mosquitto) -> str:
    """The broker with the service's user."""
    return broker.url.replace("//", "//thingjobs-service@")


@pytest.mark.asyncio
@pytest.mark.parametrize("mqtt_version", ["5", "3.1.1"])
async def test_the_shipped_configuration_gives_the_service_what_it_needs(
    secured: Mosquitto, tmp_path: Path, mqtt_version: str
) -> None:
    """A job goes its way between operator, service and device, and no other device sees it."""
    options = {"password": PASSWORD, "insecure": False, "mqtt_version": mqtt_version}
    port = secured.port
    async with (
        sidecar(service_url(secured), tmp_path / "data", **options),
        peer(port, f"{CONTROL}/+/+", username="thingjobs-operator", password=PASSWORD) as operator,
        peer(port, f"{PRESS}/#", username="press-7", password=PASSWORD) as device,
        peer(port, "$aws/#", username="lathe-2", password=PASSWORD) as other,
    ):
        await create_job(operator, "job-1", "press-7")
        assert (await device.ask(f"{PRESS}/start-next"))[1]["execution"]["jobId"] == "job-1"
        assert (await device.ask(f"{PRESS}/job-1/update", {"status": "SUCCEEDED"}))[0] == "accepted"
        await other.publish(f"{LATHE}/get")
        assert (await other.next())[0] == f"{LATHE}/get/accepted"


@pytest.mark.asyncio
async def test_a_broker_where_anybody_may_forge_is_refused(tmp_path: Path) -> None:
    """Devices would take a stranger's word for the service's (C82)."""
    broker = Mosquitto(tmp_path, free_port()).start()
    try:
        for mqtt_version in ("5", "3.1.1"):
            settings = settings_for(broker.url, tmp_path / "data", insecure=False, mqtt_version=mqtt_version)
            with pytest.raises(StartError, match="forge"):
                await Sidecar(settings).run()
    finally:
        broker.stop()


TRIED = {"password": patients.PASSWORD, "check_user": patients.DEVICE, "check_password": patients.PASSWORD}


@pytest.mark.asyncio
@pytest.mark.parametrize("mqtt_version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "rule",
    [
        "pattern readwrite $aws/#",
        "pattern write $aws/things/%u/#",
        "pattern write $aws/things/%u/jobs/notify",
        "pattern write $aws/things/%u/jobs/notify-next",
        "pattern write $aws/things/%u/jobs/get/accepted",
        "pattern write $aws/things/%u/jobs/start-next/+",
        "pattern write $aws/things/%u/jobs/+/get/accepted",
        "pattern write $aws/things/%u/jobs/+/update/#",
        "pattern write $aws/things/%u/jobs/+/update/rejected",
        "pattern write $aws/things/%u/jobs/+/+/get/accepted",
        "pattern write $aws/things/%u/jobs/+/+/update/rejected",
        "pattern write $aws/things/%u/jobs/notify-namespace-aws-gg-deployment",
        "pattern write $aws/things/%u/jobs/notify-next-namespace-aws-gg-deployment",
        "pattern write $aws/things/%u/jobs/+/+/",
    ],
)
async def test_a_broker_where_devices_may_forge_is_refused(
    tmp_path: Path, rule: str, mqtt_version: str
) -> None:
    """With a device's login the service tries it at its start (C82); `--insecure` leaves it alone."""
    with patients.mosquitto(tmp_path, acl=rule) as broker:
        options = {**TRIED, "mqtt_version": mqtt_version}
        settings = settings_for(service_url(broker), tmp_path / "data", insecure=False, **options)
        with pytest.raises(StartError, match=r"lets devices \(it tried as 'press-7'\) forge"):
            await Sidecar(settings).run()
        async with sidecar(service_url(broker), tmp_path / "data", **options):
            pass


@pytest.mark.asyncio
async def test_where_devices_may_not_forge_the_service_serves(tmp_path: Path) -> None:
    """What was tried leaves nothing behind: no thing of that name is registered."""
    with patients.mosquitto(tmp_path) as broker:
        async with (
            sidecar(service_url(broker), tmp_path / "data", insecure=False, **TRIED),
            peer(
                broker.port, f"{CONTROL}/+/+", username=patients.OPERATOR, password=patients.PASSWORD
            ) as operator,
        ):
            assert (await operator.ask(f"{CONTROL}/ListThings"))[1]["things"] == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"check_password": "hush"}, "does not let check_user 'press-7' in"),
        ({"check_password": ""}, "check_user and check_password go together"),
        ({"check_user": ""}, "check_user and check_password go together"),
        ({"check_user": "thingjobs-service"}, "name a device's user"),
    ],
)
async def test_a_login_to_try_that_cannot_be_tried_is_told(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    """It would be taken for a broker that is well."""
    with patients.mosquitto(tmp_path) as broker:
        settings = settings_for(service_url(broker), tmp_path / "data", insecure=False, **(TRIED | changes))
        with pytest.raises(StartError, match=said) as refused:
            await Sidecar(settings).run()
    assert "hush" not in str(refused.value)


@pytest.mark.asyncio
async def test_a_wrong_password_ends_the_service_with_what_to_check(
    secured: Mosquitto, tmp_path: Path
) -> None:
    """Trying again would change nothing, and the password is not repeated."""
    for mqtt_version in ("5", "3.1.1"):
        settings = settings_for(
            service_url(secured), tmp_path / "data", password="hush", mqtt_version=mqtt_version
        )
        with pytest.raises(StartError, match=f"127.0.0.1:{secured.port}: ") as refused:
            await Sidecar(settings).run()
        assert "hush" not in str(refused.value)


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that speaks TLS, with a certificate that signs itself."""
    openssl = require_program("openssl", package="openssl")
    key, certificate = tmp_path / "server.key", tmp_path / "server.crt"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [openssl, *kind, *subject, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    mosquitto = Mosquitto(tmp_path, free_port(), f"{CONFIG}certfile {certificate}\nkeyfile {key}\n").start()
    yield mosquitto
    mosquitto.stop()


@pytest.mark.asyncio
async def test_the_service_speaks_tls(encrypted: Mosquitto, tmp_path: Path) -> None:
    """Many small answers and one that spans several records, each way."""
    certificate = str(tmp_path / "server.crt")
    url = encrypted.url.replace("mqtt://", "mqtts://")
    context = ssl.create_default_context(cafile=certificate)
    async with (
        # What is asked at once would be a flood.
        sidecar(url, tmp_path / "data", ca_file=certificate, limits=LimitsSettings(requests_per_second=0)),
        peer(encrypted.port, "$aws/+/+/+/accepted", f"{PRESS}/+/+", tls_context=context) as one,
    ):
        await one.ask("$aws/control/ada/CreateThing", {"thingName": "press-7"})
        document = json.dumps({"padding": "x" * 32_000})
        job = {"jobId": "long", "targets": ["press-7"], "document": document, "padding": "y" * 90_000}
        assert (await one.ask("$aws/control/ada/CreateJob", job))[0] == "accepted"
        end, answer = await one.ask(f"{PRESS}/start-next")
        assert (end, len(answer["execution"]["jobDocument"]["padding"])) == ("accepted", 32_000)
        count = 300
        await asyncio.gather(*(one.publish(f"{PRESS}/get", {"clientToken": str(n)}) for n in range(count)))
        assert {(await one.next())[1]["clientToken"] for _ in range(count)} == {str(n) for n in range(count)}
