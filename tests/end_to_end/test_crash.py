"""The service is killed in the middle of a job and started again: the job goes on and every promise holds."""

import subprocess
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
    wait_until,
)

pytestmark = pytest.mark.broker

# Handlers run until the test lets them: no sleeps decide what happens when.
WAIT = 'shift; echo run >>"$1.runs"; while [ ! -e "$1" ]; do sleep 0.05; done'
THING = "press-7"


def start_watching(service: Service, job_id: str) -> subprocess.Popen[str]:
    """`job watch` in the background."""
    return subprocess.Popen(
        [*THINGJOBS, "job", "watch", job_id, "--broker", service.broker],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@pytest.mark.parametrize("handler_ends", ["after the restart", "while the service is down"])
def test_a_job_goes_on_after_kill_9_of_the_service(tmp_path: Path, handler_ends: str) -> None:
    """Promise 1, issue item 6: same port and data directory; the job succeeds, and its handler ran once."""
    gate = tmp_path / "gate"
    handlers = handler_folder(tmp_path, {"wait.sh": WAIT})
    with running_service(tmp_path) as service:
        service.thingjobs("thing", "create", THING)
        with running_agent(tmp_path, service, THING, handlers) as agent:
            service.create_job("update", THING, document(("Wait", "wait.sh", [str(gate)])))
            wait_until(lambda: Path(f"{gate}.runs").exists(), what="the handler to start")
            watching = start_watching(service, "update")
            assert watching.stdout is not None
            assert "step 1/1 Wait" in watching.stdout.readline()
            before = service.ask("job", "show", "update")
            service.kill()
            if handler_ends == "while the service is down":
                gate.touch()
                wait_until(lambda: "job_finished" in agent.output, what="the agent to have a result")
            service.start()
            gate.touch()
            output, errors = watching.communicate(timeout=30)
        after = service.ask("job", "show", "update")
    assert watching.returncode == 0, errors
    assert "COMPLETED" in output
    assert f"the connection to {service.broker} was lost" in errors
    assert "Traceback" not in errors
    assert [entry["event"] for entry in after["executions"][0]["timeline"]] == [
        *("QUEUED", "IN_PROGRESS", "SUCCEEDED")
    ]
    assert after["executions"][0]["startedAt"] == before["executions"][0]["startedAt"]
    assert after["executions"][0]["versionNumber"] > before["executions"][0]["versionNumber"]
    assert Path(f"{gate}.runs").read_text() == "run\n"


def test_what_was_accepted_survives_kill_9(tmp_path: Path) -> None:
    """Promise 1: things, jobs and a cancellation that were answered are all there after the restart."""
    with running_service(tmp_path) as service:
        service.thingjobs("thing", "create", THING, "--attribute", "site=berlin")
        for job_id in ("first", "second", "third"):
            service.create_job(job_id, THING, {"any": job_id})
        service.thingjobs("job", "cancel", "second", "--comment", "not needed")
        asked = [("thing", "list"), ("job", "list"), *(("job", "show", job) for job in ("first", "second"))]
        before = [service.ask(*command) for command in asked]
        service.kill()
        service.start()
        assert [service.ask(*command) for command in asked] == before
    assert [job["status"] for job in before[1]["jobs"]] == ["IN_PROGRESS", "CANCELED", "IN_PROGRESS"]
