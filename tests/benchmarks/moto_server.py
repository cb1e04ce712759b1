"""moto's server for `iot` with jobs in it: `python -m tests.benchmarks.moto_server PORT JOBS REGION`."""

import sys
from typing import Any, Final

from moto.iot.models import iot_backends
from moto.server import main

ACCOUNT: Final = "123456789012"


def fill(jobs: int, region: str) -> None:
    """Make the jobs within the process, as moto's handler of CreateJob would."""
    backend: Any = iot_backends[ACCOUNT][region]
    for number in range(jobs):
        backend.create_job(
            job_id=f"job-{number}",
            targets=[f"arn:aws:iot:{region}:{ACCOUNT}:thing/bench-{number % 1000}"],
            document_source="",
            document='{"operation":"benchmark"}',
            description="",
            presigned_url_config={},
            target_selection="SNAPSHOT",
            job_executions_rollout_config={},
            document_parameters={},
            abort_config={},
            job_execution_retry_config={},
            scheduling_config={},
            timeout_config={},
        )


if __name__ == "__main__":
    fill(int(sys.argv[2]), sys.argv[3])
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
