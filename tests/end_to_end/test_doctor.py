"""`thingjobs doctor` on both brokers as `thingjobs init` sets them up: lines, JSON and exit codes."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.beside_mosquitto import DEVICE, Provisioned, ServiceBeside
from tests.end_to_end.harness import Service, running_service, thingjobs
from tests.end_to_end.stages import prepare
from tests.support import free_port
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

CERTIFIED = "drill-7"
NETWORK = (
    "connect",
    "certificate",
    "login",
    "subscribe",
    "service",
    "latency",
    "broker",
    "queue",
    "strangers",
)
RIGHTS = ("device", "clock", "forgery", "eavesdropping", "impersonation")
DISK = ("directory", "modes", "lock", "space")


@contextmanager
def embedded(folder: Path) -> Iterator[list[str]]:
    """`thingjobs up` with TLS, and the operator's and the devices' options for it."""
    layout = prepare(folder, "amqtt").layout
    ports = {"1883": free_port(), "8883": free_port()}
    settings = layout.up_settings.read_text(encoding="utf-8")
    for shipped, port in ports.items():
        settings = settings.replace(shipped, str(port))
    layout.up_settings.write_text(settings, encoding="utf-8")
    service = Service(folder, ("--config", str(layout.up_settings)), ports["1883"])
    operator = layout.operator("thingjobs-operator")
    service.start()
    try:
        yield [
            *("--broker", f"mqtts://thingjobs-operator@localhost:{ports['8883']}"),
            *("--password-file", str(operator.password), "--ca-file", str(operator.ca)),
            *("--data-dir", str(service.data_dir)),
        ]
    finally:
        service.stop()


@contextmanager
def beside_mosquitto(folder: Path) -> Iterator[list[str]]:
    """`thingjobs serve` beside Mosquitto, and the operator's options for it."""
    made = Provisioned(folder)
    broker = made.mosquitto().start()
    service = ServiceBeside(folder, "", "--config", made.service_settings)
    try:
        service.start()
        yield [*made.operator_options, "--data-dir", str(service.data_dir)]
    finally:
        service.stop_if_started()
        broker.stop()


@pytest.mark.parametrize("kind", ["amqtt", "mosquitto"])
def test_what_init_has_made_is_well(tmp_path: Path, kind: str) -> None:
    """Every check that can be made is, and none fails; JSON says the same as the lines."""
    password = tmp_path / "setup" / "devices" / DEVICE / "password"
    with (embedded if kind == "amqtt" else beside_mosquitto)(tmp_path) as options:
        options += ["--device", DEVICE, "--device-password-file", str(password)]
        lines = thingjobs("doctor", *options).stdout.splitlines()
        document = json.loads(thingjobs("doctor", *options, "--json").stdout)
    assert [line.split()[:2] for line in lines] == [
        ["skipped" if name in ("broker", "queue") else "ok", name] for name in (*NETWORK, *RIGHTS, *DISK)
    ]
    assert document["ok"] is True
    assert [[found["outcome"], found["check"]] for found in document["checks"]] == [
        line.split()[:2] for line in lines
    ]


def test_a_device_with_a_certificate(tmp_path: Path) -> None:
    """Its certificate is its login; no password is asked for."""
    with embedded(tmp_path) as options:
        login = tmp_path / "setup" / "devices" / CERTIFIED
        device = ["--device", CERTIFIED, "--device-certificate-file", str(login / "device.crt")]
        done = thingjobs("doctor", *options, *device, "--device-key-file", str(login / "device.key"))
    assert "drill-7 logs in" in done.stdout
    assert "failed" not in done.stdout


def test_a_device_is_refused_the_operators_chair(tmp_path: Path) -> None:
    """The embedded broker refuses its subscription; what rests on that is left out."""
    with embedded(tmp_path) as options:
        password = tmp_path / "setup" / "devices" / DEVICE / "password"
        broker = options[1].replace("thingjobs-operator", DEVICE)
        done = examined(*options, "--broker", broker, "--password-file", str(password))
    assert "failed  subscribe" in done.stdout
    assert "fix: use an operator's login" in done.stdout
    assert "skipped service       rests on subscribe, which failed" in done.stdout


def test_a_service_without_logins_fails(tmp_path: Path) -> None:
    """Exit code 1, and each failed line is followed by what helps."""
    with running_service(tmp_path) as service:
        password = tmp_path / "password"
        password.write_text("anything\n")
        done = service.thingjobs(
            *("doctor", "--device", DEVICE, "--device-password-file", str(password)), check=False
        )
    assert done.returncode == ExitCode.NOT_SUCCEEDED
    lines = done.stdout.splitlines()
    failed = [line.split()[1] for line in lines if line.startswith("failed")]
    assert failed == ["strangers", "eavesdropping", "impersonation"]
    for number, line in enumerate(lines):
        assert line.startswith("failed") == (number + 1 < len(lines) and "fix: " in lines[number + 1])
    assert done.stderr == ""


def test_without_a_broker_it_fails_and_says_what_to_do() -> None:
    """In JSON, too."""
    done = examined("--broker", f"mqtt://127.0.0.1:{free_port()}", "--json")
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["checks"][0]["outcome"] == "failed"
    assert document["checks"][0]["fix"].startswith("start the broker")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device-password-file", "f"], ExitCode.USAGE, "name the device with --device NAME"),
        (["--device", "press-7"], ExitCode.USAGE, "--device-password-file or its --device-certificate-file"),
        (["--device", "p", "--device-certificate-file", "c"], ExitCode.USAGE, "goes with TLS"),
        (
            ["--device", "p", "--device-password-file", "f", "--device-broker", "b"],
            ExitCode.USAGE,
            "--device-broker: broker 'b' is not mqtt",
        ),
        (["--device", "p", "--device-password-file", "nowhere"], ExitCode.LOCAL_FILE, "nowhere"),
        (["--broker", "mqtts://h", "--ca-file", "nowhere"], ExitCode.LOCAL_FILE, "nowhere"),
    ],
)
def test_wrong_options_are_told_before_anything_is_opened(
    arguments: list[str], code: ExitCode, said: str
) -> None:
    """One line, and no diagnosis."""
    done = examined(*arguments, code=code)
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.stdout == ""


def examined(*arguments: str, code: ExitCode = ExitCode.NOT_SUCCEEDED) -> subprocess.CompletedProcess[str]:
    """A diagnosis that is to end with this code."""
    done = thingjobs("doctor", *arguments, check=False)
    assert done.returncode == code, done
    return done
