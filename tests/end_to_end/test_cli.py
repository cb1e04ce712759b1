"""The command line against the real service: every command, its JSON, and what can go wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.harness import (
    THINGJOBS,
    Service,
    document,
    environment,
    handler_folder,
    running_agent,
    running_service,
    thingjobs,
)
from tests.support import free_port, require_program
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

ARN = "arn:aws:iot:local:000000000000:"
NOTHING = document(("Nothing", "nothing.sh", []))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the tests of this file; each uses things and jobs of its own."""
    with running_service(tmp_path_factory.mktemp("service")) as found:
        yield found


def refused(service: Service, *arguments: str, stdin: str = "") -> str:
    """The message with which the service refuses a command."""
    done = service.thingjobs(*arguments, stdin=stdin, check=False)
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert done.stdout == ""
    return done.stderr


def cannot_start(*arguments: str, code: ExitCode = ExitCode.NOT_STARTED) -> str:
    """The last line with which `up` refuses to start."""
    done = thingjobs("up", *arguments, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "listening" not in done.stdout
    return done.stderr.splitlines()[-1]


def test_things_are_created_and_listed(service: Service) -> None:
    """With attributes; the same again is no error; other attributes are."""
    created = service.ask("thing", "create", "thing-1", "--attribute", "site=a=b", "--attribute", "floor=2")
    assert created["thingArn"] == f"{ARN}thing/thing-1"
    assert service.thingjobs("thing", "create", "thing-2").stdout == "thing thing-2 is registered\n"
    service.thingjobs("thing", "create", "thing-2")
    assert "ResourceAlreadyExistsException" in refused(
        service, "thing", "create", "thing-2", "--attribute", "a=b"
    )
    listed = service.ask("thing", "list", "--attribute", "site=a=b")
    assert [(thing["thingName"], thing["attributes"]) for thing in listed["things"]] == [
        ("thing-1", {"site": "a=b", "floor": "2"})
    ]
    assert service.thingjobs("thing", "list", "--attribute", "floor").stdout == (
        "THING    ATTRIBUTES        VERSION\nthing-1  floor=2 site=a=b  1\n"
    )


def test_a_job_is_created_shown_and_canceled(service: Service, tmp_path: Path) -> None:
    """What was asked for is what is shown; the cancellation has its reason; the watch then exits with 1."""
    service.thingjobs("thing", "create", "press-1")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(NOTHING))
    options = ["--timeout-minutes", "5", "--description", "[red] tape", "--retry", "failed=2"]
    created = service.ask(
        "job", "create", "--target", "press-1", "--document", str(path), "--id", "c-1", *options
    )
    assert created == {"jobArn": f"{ARN}job/c-1", "jobId": "c-1", "description": "[red] tape"}
    shown = service.ask("job", "show", "c-1")
    assert shown["job"]["timeoutConfig"] == {"inProgressTimeoutInMinutes": 5}
    assert shown["job"]["jobExecutionsRetryConfig"] == {
        "criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]
    }
    assert [each["status"] for each in shown["executions"]] == ["QUEUED"]
    assert [each["event"] for each in shown["executions"][0]["timeline"]] == ["QUEUED"]
    service.thingjobs("job", "cancel", "c-1", "--reason-code", "BAD", "--comment", "no \u00e9lan")
    text = service.thingjobs("job", "show", "c-1").stdout
    for line in ("c-1  CANCELED", "description  [red] tape", "reason code  BAD", "comment      no \u00e9lan"):
        assert line in text
    watched = service.thingjobs("job", "watch", "c-1", check=False)
    assert watched.returncode == ExitCode.NOT_SUCCEEDED
    assert "  press-1 CANCELED\n" in watched.stdout
    assert [job["jobId"] for job in service.ask("job", "list", "--status", "canceled")["jobs"]] == ["c-1"]


def test_a_job_id_is_made_up_when_left_out(service: Service) -> None:
    """From the time, so that it sorts, and a random end, so that it is not taken."""
    service.thingjobs("thing", "create", "press-2")
    created = service.thingjobs(
        "job", "create", "--target", "press-2", "--document", "-", stdin=json.dumps(NOTHING)
    )
    assert re.fullmatch(r"job job-\d{8}-\d{6}-[0-9a-f]{4} created for press-2\n", created.stdout)


def test_an_execution_is_shown_and_canceled(service: Service) -> None:
    """By thing and job; what is canceled cannot be canceled again."""
    service.thingjobs("thing", "create", "press-3")
    service.create_job("e-1", "press-3", NOTHING)
    shown = service.ask("execution", "show", "press-3", "e-1")
    assert shown["execution"]["status"] == "QUEUED"
    assert service.ask("execution", "cancel", "press-3", "e-1", "--expected-version", "1") == {}
    assert "press-3  attempt 1  CANCELED" in service.thingjobs("execution", "show", "press-3", "e-1").stdout
    assert "InvalidStateTransitionException" in refused(service, "execution", "cancel", "press-3", "e-1")


def test_any_operation_can_be_called(service: Service) -> None:
    """By its AWS name, from the option or standard input; the answer is JSON."""
    service.thingjobs("call", "CreateThing", "--json", '{"thingName": "press-4"}')
    described = service.thingjobs("call", "ListThings", "--json", "-", stdin='{"maxResults": 1}')
    assert len(json.loads(described.stdout)["things"]) == 1
    assert "InvalidRequestException: Unknown operation 'Describe'" in refused(service, "call", "Describe")


def test_a_limit_ends_a_list_and_says_what_it_left_out(service: Service) -> None:
    """A job may have a hundred thousand executions; what is not shown is counted."""
    for number in range(3):
        service.thingjobs("thing", "create", f"page-{number}")
    assert len(service.ask("thing", "list", "--limit", "2")["things"]) == 2
    targets = [option for number in range(3) for option in ("--target", f"page-{number}")]
    service.thingjobs("job", "create", *targets, "--document", "-", "--id", "l-1", stdin=json.dumps(NOTHING))
    assert len(service.ask("job", "show", "l-1")["executions"]) == 3
    shown = service.thingjobs("job", "show", "l-1", "--limit", "1").stdout
    assert shown.count("attempt 1") == 1
    assert shown.endswith("\n2 more; see them with --limit 3\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["job", "show", "no-job"], "ResourceNotFoundException: Job no-job not found"),
        (["job", "watch", "no-job"], "ResourceNotFoundException: Job no-job not found"),
        (["job", "cancel", "no-job"], "ResourceNotFoundException: Job no-job not found"),
        (
            ["execution", "show", "t", "no-job"],
            "ResourceNotFoundException: Thing t has no execution of job no-job",
        ),
        (["thing", "create", "a/b"], "InvalidRequestException: CreateThing: "),
        (
            ["job", "create", "--target", "nobody", "--document", "-"],
            "ResourceNotFoundException: Target 'nobody'",
        ),
        (
            ["job", "create", "--target", "t", "--document", "-", "--id", "a b"],
            "InvalidRequestException: CreateJob",
        ),
        (
            ["job", "create", "--target", "t", "--document", "-", "--timeout-minutes", "0"],
            "InvalidRequestException: CreateJob: ",
        ),
    ],
)
def test_what_the_service_refuses_is_exit_code_3(
    service: Service, arguments: list[str], message: str
) -> None:
    """AWS's code and the service's message, on one line of standard error."""
    told = refused(service, *arguments, stdin="{}")
    assert told.startswith(f"thingjobs: {message}")
    assert told.count("\n") == 1


def test_a_document_that_is_not_json_never_leaves_the_machine(service: Service, tmp_path: Path) -> None:
    """Line and column, exit code 5."""
    path = tmp_path / "job.json"
    path.write_text('{"version": "1.0",\n  steps: []}')
    done = service.thingjobs("job", "create", "--target", "t", "--document", str(path), check=False)
    assert done.returncode == ExitCode.LOCAL_FILE
    assert f"{path}' is not JSON: line 2 column 3" in done.stderr


def test_no_broker_is_exit_code_4() -> None:
    """With the command that starts one."""
    done = thingjobs("thing", "list", "--broker", f"mqtt://127.0.0.1:{free_port()}", check=False)
    assert done.returncode == ExitCode.UNREACHABLE
    assert re.fullmatch(
        r"thingjobs: cannot reach a broker at .*; start one with thingjobs up, .*\n", done.stderr
    )


def test_ctrl_c_in_a_watch_is_exit_code_130(service: Service) -> None:
    """No traceback, nothing on standard error."""
    service.thingjobs("thing", "create", "press-5")
    service.create_job("w-1", "press-5", NOTHING)
    watching = subprocess.Popen(
        [*THINGJOBS, "job", "watch", "w-1", "--broker", service.broker, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["job"]["status"] == "IN_PROGRESS"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=10)
    assert (watching.returncode, errors) == (ExitCode.INTERRUPTED, "")


def test_a_reader_that_goes_away_is_no_traceback(service: Service) -> None:
    """`thingjobs thing list | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*THINGJOBS, "thing", "list", "--json", "--broker", service.broker],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.BROKEN_PIPE, "")


def test_a_watch_sees_the_job_fail(service: Service, tmp_path: Path) -> None:
    """A real agent, a handler that fails: exit code 1, the thing and the agent's reason."""
    handlers = handler_folder(tmp_path, {"fail.sh": "echo broken >&2; exit 7"})
    service.thingjobs("thing", "create", "press-6")
    service.create_job("f-1", "press-6", document(("Fail", "fail.sh", [])))
    with running_agent(tmp_path, service, "press-6", handlers):
        watched = service.thingjobs("job", "watch", "f-1", check=False)
    assert watched.returncode == ExitCode.NOT_SUCCEEDED
    assert "  press-6 FAILED step 1/1 Fail exited with status 7\n" in watched.stdout


def test_a_terminal_gets_a_live_bar_unless_no_color_forbids_colors(service: Service) -> None:
    """On a terminal the watch redraws itself; NO_COLOR leaves the bar and takes the colors."""
    service.thingjobs("thing", "create", "press-8")
    service.create_job("t-1", "press-8", NOTHING)
    threading.Timer(1.0, lambda: service.thingjobs("job", "cancel", "t-1")).start()
    command = " ".join([*THINGJOBS, "job", "watch", "t-1", "--broker", service.broker])
    script = require_program("script", package="bsdutils")
    done = subprocess.run(
        [script, "-qec", command, "/dev/null"],
        capture_output=True,
        text=True,
        env=environment({"TERM": "xterm-256color"}),
        timeout=20,
        check=False,
    )
    assert done.returncode == ExitCode.NOT_SUCCEEDED
    assert "\x1b[?25l" in done.stdout
    assert "\x1b[?25h" in done.stdout
    assert "\u2501" in done.stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|38;5", done.stdout)


def test_a_port_in_use_is_named(service: Service, tmp_path: Path) -> None:
    """Exit code 6, and what to do."""
    told = cannot_start(
        "--anonymous", "--listen", f"127.0.0.1:{service.port}", "--data-dir", str(tmp_path / "d")
    )
    assert re.match(rf"thingjobs: cannot listen on 127.0.0.1:{service.port}: .*address already in use", told)


def test_a_data_directory_in_use_or_unwritable_is_named(service: Service) -> None:
    """Two services on one journal would destroy it."""
    listen = ["--anonymous", "--listen", f"127.0.0.1:{free_port()}"]
    assert f"{service.data_dir} is in use by process" in cannot_start(
        *listen, "--data-dir", str(service.data_dir)
    )
    assert "/proc/none: cannot be created" in cannot_start(*listen, "--data-dir", "/proc/none")


def test_anonymous_access_beyond_loopback_is_refused(tmp_path: Path) -> None:
    """Issue item 1: any client would be any thing."""
    told = cannot_start(
        "--anonymous", "--listen", f"0.0.0.0:{free_port()}", "--data-dir", str(tmp_path / "d")
    )
    assert "anonymous access is for loopback only" in told
    assert list(tmp_path.iterdir()) == []


def test_without_users_and_without_anonymous_nothing_starts(tmp_path: Path) -> None:
    """The message names both ways."""
    told = cannot_start("--data-dir", str(tmp_path / "d"))
    assert "--password-file FILE, or --anonymous" in told


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ('data_dri = "x"', ExitCode.USAGE, "unknown key 'data_dri' in FILE; did you mean 'data_dir'?"),
        ("[registry]\nauto = 1", ExitCode.USAGE, "unknown key 'registry.auto' in FILE; did you mean"),
        ("anonymous = 1", ExitCode.USAGE, "anonymous must be true or false, not 1 (from FILE)"),
        (
            "data_dir = x",
            ExitCode.LOCAL_FILE,
            "the settings file 'FILE' is not TOML: Invalid value (at line 1",
        ),
    ],
)
def test_a_wrong_settings_file_is_refused(content: str, code: ExitCode, message: str, tmp_path: Path) -> None:
    """A misspelled key must not leave the default in force."""
    path = tmp_path / "thingjobs.toml"
    path.write_text(content)
    assert message.replace("FILE", str(path)) in cannot_start("--config", str(path), code=code)


def test_settings_come_from_options_over_environment_over_file(tmp_path: Path) -> None:
    """The client's own variables are no unknown settings."""
    port = free_port()
    config = tmp_path / "thingjobs.toml"
    config.write_text(f'listen = ["127.0.0.1:{port}"]\ndata_dir = "{tmp_path}/from-file"\nanonymous = true\n')
    environ = {
        "THINGJOBS_DATA_DIR": str(tmp_path / "from-environment"),
        "THINGJOBS_BROKER": "mqtt://elsewhere",
        "THINGJOBS_CONFIG": str(config),
        "THINGJOBS_JSON_LOGS": "yes",
    }
    up = subprocess.Popen(
        [*THINGJOBS, "up"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(environ),
    )
    assert up.stdout is not None
    assert up.stdout.readline() == f"listening on mqtt://127.0.0.1:{port}\n"
    up.send_signal(signal.SIGINT)
    _, errors = up.communicate(timeout=10)
    assert up.returncode == 0
    note, *logged = errors.splitlines()
    assert "note: THINGJOBS_DATA_DIR in the environment, not what" in note
    assert all(json.loads(line)["action"] for line in logged)
    assert (tmp_path / "from-environment").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "from-file").exists()


def test_users_and_operators_are_told_apart(tmp_path: Path) -> None:
    """With a password file: an operator manages jobs, a device does not, a stranger does not get in."""
    passwords, secret = tmp_path / "passwd", tmp_path / "secret"
    passwords.touch(mode=0o600)
    secret.write_text("right\n")
    make = require_program("mosquitto_passwd", package="mosquitto")
    for user in ("ada", "press-7"):
        subprocess.run([make, "-b", str(passwords), user, "right"], check=True)
    options = ["--password-file", str(passwords), "--operator", "ada"]
    with running_service(tmp_path, *options, anonymous=False) as service:
        login = ["thing", "list", "--password-file", str(secret), "--timeout-seconds", "2", "--broker"]
        for user, code, told in [
            ("ada", ExitCode.OK, ""),
            ("press-7", ExitCode.UNREACHABLE, "an operator"),
            ("eve", ExitCode.UNREACHABLE, "refused the login of user 'eve'"),
        ]:
            done = thingjobs(*login, f"mqtt://{user}@127.0.0.1:{service.port}", check=False)
            assert done.returncode == code, done.stderr
            assert told in done.stderr


def test_a_client_that_is_no_mqtt_client_does_not_stop_the_service(service: Service) -> None:
    """Somebody opens the port with a browser."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(1) == b""
    service.thingjobs("thing", "list")
