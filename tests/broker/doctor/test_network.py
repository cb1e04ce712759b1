"""Each check from an operator's chair, on a set-up that is broken in just that way."""

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.broker.beside import CONFIG, Mosquitto
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
from tests.support import free_port
from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.doctor import network
from thingjobs_broker.doctor.case import Case
from thingjobs_broker.doctor.findings import Problem
from thingjobs_broker.doctor.table import CHECKS
from thingjobs_broker.provision.setup import Setup

pytestmark = pytest.mark.broker


@pytest.mark.asyncio
async def test_a_set_up_as_shipped_is_well(tmp_path: Path) -> None:
    """Nothing fails with the service's login, and nothing is left out but what was not asked for."""
    async with served(tmp_path) as broker:
        found = await findings(case(broker, SERVICE, data_dir=tmp_path / "data"))
    assert {name: outcome for name, outcome in outcomes(found).items() if outcome != "ok"} == {}
    assert list(found) == [check.name for check in CHECKS]
    assert found["broker"].message.startswith("mosquitto version 2.")


@pytest.mark.asyncio
async def test_an_operators_login_leaves_out_what_only_the_service_may(tmp_path: Path) -> None:
    """It says so, and that is no failure."""
    async with served(tmp_path) as broker:
        found = await findings(case(broker, OPERATOR, data_dir=tmp_path / "data"))
    left_out = {name for name, outcome in outcomes(found).items() if outcome == "skipped"}
    assert left_out == {"broker", "queue"}
    assert "thingjobs-service@" in found["queue"].message
    assert "failed" not in outcomes(found).values()


@pytest.mark.asyncio
async def test_without_a_broker_all_that_rests_on_it_is_left_out() -> None:
    """One line fails, with what helps; the others say on what they rest."""
    found = await findings(Case(BrokerAddress("127.0.0.1", free_port())))
    assert found["connect"].outcome == "failed"
    assert "Connection refused" in found["connect"].message
    assert "start the broker" in found["connect"].fix
    assert [name for name, outcome in outcomes(found).items() if outcome == "failed"] == ["connect"]
    assert found["service"].message == "rests on connect, which failed"


@pytest.mark.asyncio
async def test_a_name_that_nobody_knows_is_told() -> None:
    """As the system puts it."""
    found = await findings(Case(BrokerAddress("nowhere.invalid", 1883)))
    assert found["connect"].message.startswith("cannot reach mqtt://nowhere.invalid:1883: ")


@pytest.mark.asyncio
async def test_plain_mqtt_across_a_network_is_told() -> None:
    """The passwords of operators and devices can be read on the way."""
    with pytest.raises(Problem, match=r"travels to broker\.example in clear"):
        await network.certificate(Case(BrokerAddress("broker.example", 1883)))


def tls_broker(folder: Path, made_days_ago: float = 0) -> Mosquitto:
    """A Mosquitto that speaks TLS, with a certificate that was made then, for ten years."""
    now = dt.datetime.now(dt.UTC) - dt.timedelta(days=made_days_ago)
    setup = Setup(folder / "setup", now)
    setup.create(["localhost"], "mosquitto")
    layout = setup.layout
    files = f"certfile {layout.server_certificate}\nkeyfile {layout.server_key}\n"
    return Mosquitto(folder, free_port(), CONFIG.replace("127.0.0.1", "0.0.0.0") + files)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("made_days_ago", "address", "problem", "fix"),
    [
        (3700, {}, "certificate has expired", "a new certificate: thingjobs init DIR --renew"),
        (0, {"ca_file": None}, "unable to get local issuer certificate", "--ca-file"),
        (0, {"host": "127.0.0.2"}, "IP address mismatch", "thingjobs init DIR --host NAME --renew"),
    ],
)
async def test_a_certificate_that_is_not_good_is_told(
    tmp_path: Path, made_days_ago: float, address: dict[str, Any], problem: str, fix: str
) -> None:
    """Why it is not, and what helps against just that; nobody logs in there."""
    broker = tls_broker(tmp_path, made_days_ago).start()
    try:
        found = await findings(Case(dataclasses.replace(with_tls(broker, tmp_path), **address)))
    finally:
        broker.stop()
    assert [name for name, outcome in outcomes(found).items() if outcome == "failed"] == ["connect"]
    assert problem in found["connect"].message
    assert fix in found["connect"].fix


@pytest.mark.asyncio
async def test_a_certificate_that_expires_soon_is_told(tmp_path: Path) -> None:
    """While there is time to renew it; everything else goes on."""
    broker = tls_broker(tmp_path, made_days_ago=3644).start()
    try:
        found = await findings(Case(dataclasses.replace(with_tls(broker, tmp_path), timeout_seconds=0.5)))
    finally:
        broker.stop()
    assert found["certificate"].message == "the certificate expires in 6 days"
    assert "thingjobs init DIR --renew" in found["certificate"].fix
    assert found["login"].outcome == "ok"


def with_tls(broker: Mosquitto, folder: Path) -> BrokerAddress:
    return BrokerAddress("localhost", broker.port, tls=True, ca_file=str(folder / "setup/ca/ca.crt"))


@pytest.mark.asyncio
async def test_a_good_certificate_is_told_with_its_days(tmp_path: Path) -> None:
    """Trusted by the CA that was given, for the name that was given."""
    broker = tls_broker(tmp_path).start()
    try:
        examined = Case(with_tls(broker, tmp_path))
        await network.connect(examined)
        assert await network.certificate(examined) == "trusted, and valid for 3650 days"
    finally:
        broker.stop()


@pytest.mark.asyncio
async def test_tls_on_a_plain_port_is_told(tmp_path: Path) -> None:
    """With the scheme to use instead."""
    with mosquitto(tmp_path) as broker:
        found = await findings(Case(BrokerAddress("127.0.0.1", broker.port, tls=True, timeout_seconds=5)))
    assert "the TLS handshake fails: " in found["connect"].message
    assert "give mqtt://" in found["connect"].fix


@pytest.mark.asyncio
async def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    """Whose login it was, and where to look; not the password."""
    with mosquitto(tmp_path) as broker:
        found = await findings(Case(login(broker, OPERATOR, "hush")))
    assert found["login"].outcome == "failed"
    assert f"refused the login of user '{OPERATOR}'" in found["login"].message
    assert "THINGJOBS_PASSWORD" in found["login"].fix
    assert "hush" not in str(found)


@pytest.mark.asyncio
async def test_a_broker_without_a_service_is_told(tmp_path: Path) -> None:
    """The broker is there, and nobody answers."""
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress("127.0.0.1", broker.port, OPERATOR, PASSWORD, timeout_seconds=0.5)
        found = await findings(Case(address))
    assert [name for name, outcome in outcomes(found).items() if outcome == "failed"] == ["service"]
    assert "no jobs service answered" in found["service"].message
    assert "is thingjobs up, or serve" in found["service"].fix


@pytest.mark.asyncio
async def test_a_device_is_no_operator(tmp_path: Path) -> None:
    """Mosquitto grants its subscription, and nobody answers it."""
    async with served(tmp_path) as broker:
        address = BrokerAddress("127.0.0.1", broker.port, DEVICE, PASSWORD, timeout_seconds=0.5)
        found = await findings(Case(address))
    assert found["service"].outcome == "failed"
    assert f"is user '{DEVICE}' an operator?" in found["service"].fix


@pytest.mark.asyncio
async def test_small_packets_that_wait_for_tcp_are_told(tmp_path: Path) -> None:
    """Mosquitto's default; each answer takes 40 ms."""
    async with served(tmp_path, set_tcp_nodelay="false") as broker:
        found = await findings(Case(login(broker, OPERATOR)))
    assert found["latency"].outcome == "failed"
    assert "small packets wait for TCP" in found["latency"].message
    assert "set_tcp_nodelay true" in found["latency"].fix


@pytest.mark.asyncio
async def test_a_queue_that_loses_messages_is_told(tmp_path: Path) -> None:
    """Mosquitto's default, which throws away what it has confirmed."""
    with mosquitto(tmp_path, max_queued_messages="1000", max_inflight_messages="20") as broker:
        async with answering(broker):
            found = await findings(Case(login(broker, SERVICE)))
    assert found["queue"].outcome == "failed"
    assert "200 were lost" in found["queue"].message
    assert "max_queued_messages" in found["queue"].fix


@pytest.mark.asyncio
async def test_a_broker_that_lets_everybody_in_is_told(tmp_path: Path) -> None:
    """Also when the operator has a login."""
    with mosquitto(tmp_path, allow_anonymous="true") as broker:
        for user in (OPERATOR, None):
            found = await findings(
                Case(BrokerAddress("127.0.0.1", broker.port, user, user and PASSWORD, timeout_seconds=0.5))
            )
            assert found["strangers"].outcome == "failed"
            assert "allow_anonymous false" in found["strangers"].fix
