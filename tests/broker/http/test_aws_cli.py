"""The `aws` command, unmodified, with a key that `thingjobs init operator` has made."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.broker.http.served import REGION, Served
from thingjobs_broker.provision.setup import Setup

AWS = Path(sys.executable).with_name("aws")


def aws(served: Served, credentials: Path, *arguments: str) -> tuple[int, Any, str]:
    """Exit code, answer and complaint of a command."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(credentials.parent),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [sys.executable, str(AWS), "--endpoint-url", served.url, "--output", "json", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


@pytest.mark.broker
def test_a_session_of_the_aws_command(tmp_path: Path) -> None:
    """Create, look, fail, cancel; who may only read gets AccessDenied."""
    setup = Setup(tmp_path / "setup")
    setup.create(["broker.example"], "amqtt")
    operator = setup.add_operator("ada").credentials
    reader = setup.add_operator("eve", read_only=True).credentials
    http = {"anonymous": False, "access_keys": str(setup.layout.access_keys)}
    with Served(tmp_path, http=http) as served:
        code, thing, complaint = aws(served, operator, "iot", "create-thing", "--thing-name", "a:b")
        assert code == 0, complaint
        job = ("--job-id", "j", "--targets", thing["thingArn"], "--document", '{"x": 1}')
        code, made, complaint = aws(served, operator, "iot", "create-job", *job)
        assert (code, made["jobId"]) == (0, "j"), complaint
        code, found, _ = aws(served, reader, "iot", "describe-job", "--job-id", "j")
        assert (code, found["job"]["status"]) == (0, "IN_PROGRESS")
        code, _, complaint = aws(served, operator, "iot", "create-job", *job)
        assert code != 0
        assert "ResourceAlreadyExistsException" in complaint
        code, _, complaint = aws(served, reader, "iot", "cancel-job", "--job-id", "j")
        assert code != 0
        assert "AccessDeniedException" in complaint
        code, pending, _ = aws(
            served, reader, "iot-jobs-data", "get-pending-job-executions", "--thing-name", "a:b"
        )
        assert [one["jobId"] for one in pending["queuedJobs"]] == ["j"]
        code, canceled, complaint = aws(served, operator, "iot", "cancel-job", "--job-id", "j", "--force")
        assert (code, canceled["jobId"]) == (0, "j"), complaint
