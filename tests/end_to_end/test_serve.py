"""`thingjobs serve` as a program: a job from the command line to the agent, and every way not to start."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.broker.beside import Mosquitto
from tests.end_to_end.beside_mosquitto import DEVICE, Provisioned, ServiceBeside, serving
from tests.end_to_end.harness import (
    AGENT,
    THINGJOBS,
    Restartable,
    document,
    environment,
    handler_folder,
    running_agent,
    thingjobs,
    wait_until,
)
from tests.support import free_port
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

END_SECONDS_MAX = 25
GREETING = {"hello.sh": 'echo "greeting=hello $2" >> "$THINGJOBS_PROGRESS_FILE"'}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that lets everybody do everything."""
    found = Mosquitto(tmp_path, free_port()).start()
    yield found
    found.stop()


def complaint(
    folder: Path,
    *arguments: str,
    code: ExitCode = ExitCode.NOT_STARTED,
    environ: Mapping[str, str] | None = None,
) -> str:
    """The one line of a service that ends by itself, behind notes; it must not have said that it serves."""
    done = subprocess.run(
        [*THINGJOBS, "serve", *arguments],
        capture_output=True,
        text=True,
        env=environment({"THINGJOBS_LOG_LEVEL": "error", **(environ or {})}),
        cwd=folder,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == code, done
    assert done.stdout == ""
    *notes, line = done.stderr.splitlines()
    assert all(note.startswith("thingjobs: note: ") for note in notes)
    return line


def test_weeks_pass_in_a_moment_beside_mosquitto(tmp_path: Path, broker: Mosquitto) -> None:
    """`--test-clock`: the clock stands, moves when it is told to, leads count from it, a restart keeps it."""

    def status() -> str:
        return str(service.ask("job", "show", "late")["job"]["status"])

    def now() -> float:
        return float(json.loads(service.thingjobs("call", "DescribeClock").stdout)["now"])

    def advance(seconds: int) -> None:
        service.thingjobs("call", "AdvanceClock", "--json", json.dumps({"durationInSeconds": seconds}))

    with serving(tmp_path, broker, "--test-clock") as service:
        assert "The clock stands still but for AdvanceClock" in service.output
        service.thingjobs("thing", "create", DEVICE)
        advance(30 * 86_400)
        before = now()
        service.create_job("late", DEVICE, document(), "--start", "+2h")
        assert (status(), now()) == ("SCHEDULED", before)
        advance(2 * 3600 - 60)
        assert status() == "SCHEDULED"
        advance(120)
        assert (status(), now()) == ("IN_PROGRESS", before + 2 * 3600 + 60)
        service.stop()
        service.start()
        assert (status(), int(now() - before)) == ("IN_PROGRESS", 2 * 3600 + 60)
    with serving(tmp_path, broker) as service:
        refused = service.thingjobs("call", "AdvanceClock", "--json", '{"durationInSeconds": 1}', check=False)
        assert "start it with --test-clock" in refused.stderr


def test_a_job_from_the_command_line_to_the_agent(tmp_path: Path, broker: Mosquitto) -> None:
    """Registered, created, watched, done; the broker knows nothing of jobs."""
    handlers = handler_folder(tmp_path, GREETING)
    with serving(tmp_path, broker) as service, running_agent(tmp_path, service, DEVICE, handlers):
        service.thingjobs("thing", "create", DEVICE)
        service.create_job("hello", DEVICE, document(("Hello", "hello.sh", ["world"])))
        assert "1 succeeded" in service.thingjobs("job", "watch", "hello").stdout
        service.stop()
        service.start()
        assert service.ask("job", "show", "hello")["job"]["status"] == "COMPLETED"


def test_a_job_with_what_init_has_made(tmp_path: Path) -> None:
    """Its files as they are, but for ports: TLS, passwords, the access control list and the forgery check."""
    made = Provisioned(tmp_path)
    broker = made.mosquitto().start()
    service = ServiceBeside(tmp_path, "", "--config", made.service_settings)
    handlers = handler_folder(tmp_path, GREETING)
    (tmp_path / "job.json").write_text(
        '{"version":"1.0","steps":[{"action":{"name":"Hello","type":"runHandler",'
        '"input":{"handler":"hello.sh","args":["you"],"path":"default"}}}]}'
    )
    command = [*AGENT, "run", "--config", made.agent_settings, "--state-dir", str(tmp_path / "state")]
    agent = Restartable("agent", [*command, "--handler-dir", str(handlers)], tmp_path, ready="Connected")
    try:
        service.start()
        agent.start()
        wait_until(
            lambda: DEVICE in thingjobs("thing", "list", *made.operator_options).stdout,
            what="the device to register",
        )
        job = ("--id", "hello", "--target", DEVICE, "--document", str(tmp_path / "job.json"))
        thingjobs("job", "create", *job, *made.operator_options)
        assert "1 succeeded" in thingjobs("job", "watch", "hello", *made.operator_options).stdout
        assert agent.stop() == 0
        assert service.stop() == ExitCode.OK
    finally:
        for program in (agent, service):
            program.stop_if_started()
        broker.stop()


def test_a_broker_that_is_absent_at_start_is_waited_for(tmp_path: Path) -> None:
    """Said once in the log, and served as soon as it is there."""
    broker = Mosquitto(tmp_path, free_port())
    service = ServiceBeside(tmp_path, broker.url, "--broker", broker.url, "--insecure")
    service.ready = "Cannot reach the broker"
    try:
        service.start()
        assert "serving beside" not in service.output
        broker.start()
        service.program.wait_for("serving beside ", timeout_seconds=END_SECONDS_MAX)
        assert service.ask("thing", "list") == {"things": []}
        assert service.stop() == ExitCode.OK
    finally:
        service.stop_if_started()
        broker.stop()


def test_a_second_service_on_the_same_data(tmp_path: Path, broker: Mosquitto) -> None:
    """The loser says so and exits; the first goes on serving."""
    with serving(tmp_path, broker) as service:
        line = complaint(tmp_path, "--broker", broker.url, "--insecure", "--data-dir", str(service.data_dir))
        assert line == (
            f"thingjobs: data directory {service.data_dir} is in use by process {service.program.pid}; "
            "stop it or choose another directory"
        )
        assert service.ask("thing", "list") == {"things": []}


def test_two_services_with_one_client_id(tmp_path: Path, broker: Mosquitto) -> None:
    """One of them says so and exits; the other goes on serving (test_rivals tells which one)."""
    with serving(tmp_path, broker) as first:
        (tmp_path / "other").mkdir()
        with serving(tmp_path / "other", broker) as second:
            services = {first, second}
            wait_until(
                lambda: any(service.program.exit_code is not None for service in services),
                what="one of the two to give up",
                timeout_s=END_SECONDS_MAX,
            )
            (loser,) = (service for service in services if service.program.exit_code is not None)
            assert loser.program.exit_code == ExitCode.NOT_STARTED
            assert "another client seems to use the client id 'thingjobs-service'" in loser.output
            (winner,) = services - {loser}
            assert winner.ask("thing", "list") == {"things": []}


def test_a_broker_where_anybody_may_forge_is_refused(tmp_path: Path, broker: Mosquitto) -> None:
    """Unless asked for: devices would take a stranger's word for the service's (C82)."""
    line = complaint(tmp_path, "--broker", broker.url)
    assert "lets anybody forge the service's messages" in line
    assert "--insecure" in line
    with serving(tmp_path, broker):
        pass


def test_a_broker_whose_devices_may_forge_is_refused(tmp_path: Path) -> None:
    """As `thingjobs init` sets it up, the service tries it with a device's login (C82)."""
    made = Provisioned(tmp_path)
    acl = made.layout.acl
    acl.write_text("pattern readwrite $aws/#\n" + acl.read_text(encoding="utf-8"), encoding="utf-8")
    broker = made.mosquitto().start()
    try:
        line = complaint(tmp_path, "--config", made.service_settings)
    finally:
        broker.stop()
    assert "lets devices (it tried as 'thingjobs-check') forge the service's messages" in line


def test_a_login_that_is_refused(tmp_path: Path) -> None:
    """It ends with what to check, and does not repeat the password; so does that of an operator."""
    made = Provisioned(tmp_path)
    broker = made.mosquitto().start()
    place = f"127.0.0.1:{made.ports['1883']}"
    try:
        line = complaint(
            tmp_path, "--broker", f"mqtt://thingjobs-service@{place}", environ={"THINGJOBS_PASSWORD": "hush"}
        )
        assert line.startswith(f"thingjobs: {place}: ")
        assert "check the user in --broker and THINGJOBS_PASSWORD" in line
        assert "hush" not in line
        # An operator's shell has these variables, and they win over the file.
        password = made.layout.operator("thingjobs-operator").password.read_text(encoding="utf-8").strip()
        shell = {"THINGJOBS_BROKER": f"mqtt://thingjobs-operator@{place}", "THINGJOBS_PASSWORD": password}
        line = complaint(tmp_path, "--config", made.service_settings, environ=shell)
        assert "does not let user 'thingjobs-operator' publish and hear what the service has to" in line
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("brokr = 'x'", ExitCode.USAGE, "unknown key 'brokr' in serve.toml; did you mean 'broker'?"),
        ("listen = ['127.0.0.1:1']", ExitCode.USAGE, "unknown key 'listen' in serve.toml"),
        ("broker = [", ExitCode.LOCAL_FILE, "is not TOML"),
        ({"THINGJOBS_CLIENTID": "x"}, ExitCode.USAGE, "did you mean THINGJOBS_CLIENT_ID?"),
        ({"THINGJOBS_LOG_LEVEL": "loud"}, ExitCode.NOT_STARTED, "log level 'loud' is none of"),
        (["--mqtt-version", "4"], ExitCode.USAGE, "mqtt_version must be one of '5', '3.1.1', not '4'"),
        (["--broker", "gateway"], ExitCode.NOT_STARTED, "broker 'gateway' is not mqtt[s]://"),
        (["--data-dir", "/proc/self/data"], ExitCode.NOT_STARTED, "cannot be created"),
    ],
)
def test_settings_that_cannot_work(
    tmp_path: Path, given: str | dict[str, str] | list[str], code: ExitCode, said: str
) -> None:
    """In the file, the environment or an option; named with what was expected, and nothing is made."""
    (tmp_path / "serve.toml").write_text(given if isinstance(given, str) else "")
    arguments = given if isinstance(given, list) else []
    environ = given if isinstance(given, dict) else {}
    assert said in complaint(tmp_path, "--config", "serve.toml", *arguments, code=code, environ=environ)
    assert [path.name for path in tmp_path.iterdir()] == ["serve.toml"]


def test_variables_of_the_other_programs_are_passed_over(tmp_path: Path, broker: Mosquitto) -> None:
    """`up` and `serve` may share an environment."""
    environ = {
        "THINGJOBS_LISTEN": "127.0.0.1:1",
        "THINGJOBS_AGENT_THING": "x",
        "THINGJOBS_TIMEOUT_SECONDS": "3",
    }
    assert "forge" in complaint(tmp_path, "--broker", broker.url, environ=environ)
    done = thingjobs("up", check=False, environ={"THINGJOBS_CLIENT_ID": "x"})
    assert "nothing tells who a client is" in done.stderr
