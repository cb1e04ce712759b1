"""Set-ups to examine: Mosquitto with the shipped files, whole or broken on purpose, a service beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiomqtt

from tests.broker.beside import Mosquitto, sidecar
from tests.support import ROOT, free_port
from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.doctor.case import Case, DeviceLogin
from thingjobs_broker.doctor.findings import Finding
from thingjobs_broker.doctor.table import examine
from thingjobs_broker.provision import passwords

PASSWORD = "between-us"
SERVICE, OPERATOR, DEVICE = "thingjobs-service", "thingjobs-operator", "press-7"


def _password_file() -> str:
    text = ""
    for user in (SERVICE, OPERATOR, DEVICE):
        text = passwords.with_user(text, user, PASSWORD)
    return text


# Hashing is slow on purpose.
PASSWORDS = _password_file()


@contextmanager
def mosquitto(folder: Path, *, acl: str = "", **changes: str) -> Iterator[Mosquitto]:
    """The shipped configuration; `acl` is added to the rights of devices, `changes` replace settings."""
    rules = (ROOT / "broker_plugin/mosquitto/acl").read_text(encoding="utf-8")
    (folder / "acl").write_text(f"{acl}\n{rules}", encoding="utf-8")
    (folder / "passwd").write_text(PASSWORDS, encoding="utf-8")
    (folder / "passwd").chmod(0o600)
    config = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
    config = config.replace("/etc/mosquitto/thingjobs.acl", str(folder / "acl"))
    config = config.replace("/etc/mosquitto/thingjobs.passwd", str(folder / "passwd"))
    lines = [
        f"{name} {changes[name]}" if (name := line.partition(" ")[0]) in changes else line
        for line in config.splitlines()
    ]
    broker = Mosquitto(folder, free_port(), "\n".join([*lines, ""])).start()
    try:
        yield broker
    finally:
        broker.stop()


@asynccontextmanager
async def served(
    folder: Path, *, acl: str = "", settings: dict[str, Any] | None = None, **changes: str
) -> AsyncIterator[Mosquitto]:
    """The same with a jobs service beside it."""
    with mosquitto(folder, acl=acl, **changes) as broker:
        url = broker.url.replace("//", f"//{SERVICE}@")
        async with sidecar(url, folder / "data", password=PASSWORD, **(settings or {})):
            yield broker


@asynccontextmanager
async def answering(broker: Mosquitto, **members: Any) -> AsyncIterator[None]:
    """Somebody in the service's place who accepts whatever is asked, with these members."""
    async with aiomqtt.Client("127.0.0.1", broker.port, username=SERVICE, password=PASSWORD) as client:
        await client.subscribe([("$aws/control/+/+", 1), ("$aws/things/+/jobs/get", 1)])

        async def answer() -> None:
            async for message in client.messages:
                token = json.loads(message.payload)["clientToken"]
                reply = json.dumps({"clientToken": token, **members})
                await client.publish(f"{message.topic.value}/accepted", reply, qos=1)

        serving = asyncio.create_task(answer())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def login(broker: Mosquitto, user: str | None, password: str = PASSWORD) -> BrokerAddress:
    """How a user reaches the broker."""
    return BrokerAddress(
        "127.0.0.1", broker.port, user, password if user is not None else None, timeout_seconds=5
    )


def case(broker: Mosquitto, user: str | None = OPERATOR, *, data_dir: Path | None = None) -> Case:
    """The set-up with an operator's login, and a device to try."""
    return Case(login(broker, user), DeviceLogin(DEVICE, login(broker, DEVICE)), data_dir)


async def findings(examined: Case) -> dict[str, Finding]:
    """Every finding, by its check."""
    return {finding.check: finding async for finding in examine(examined)}


def outcomes(found: dict[str, Finding]) -> dict[str, str]:
    """What came of each check."""
    return {name: finding.outcome.value for name, finding in found.items()}
