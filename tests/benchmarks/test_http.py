"""The benchmark of the HTTP API: its ratios are right, its client signs as boto3 does, and both are asked."""

import argparse
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.benchmarks import http, http_load
from tests.benchmarks.http_load import Request, Result


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that was slow for a while was slow for both."""
    pairs = [
        (Result(1.0, [0.001] * ours, 0.5), Result(1.0, [0.002] * theirs, 1.0))
        for ours, theirs in ((100, 50), (10, 2), (1000, 100))
    ]
    *_, line = http.table({("ListJobs", 1000): pairs})
    assert line == "| ListJobs | 1,000 | 100 | 50 | 5.0 | 1.0 | 2.0 | 1.0 | 2.0 | 5.00 | 20.00 |"


def test_the_client_signs_as_botocore_does() -> None:
    """The same signature for the same moment."""
    sent = http_load.signed(Request("PUT", "/jobs/j", "a=1&b=2", b"{}"), "127.0.0.1:80").decode()
    headers = dict(line.split(": ", 1) for line in sent.split("\r\n\r\n")[0].split("\r\n")[1:])
    request = AWSRequest("PUT", "http://127.0.0.1:80/jobs/j?a=1&b=2", {"host": headers["Host"]}, b"{}")
    request.headers["X-Amz-Date"] = request.context["timestamp"] = headers["X-Amz-Date"]
    signer = SigV4Auth(Credentials(http_load.KEY_ID, http_load.SECRET), "iot", http_load.REGION)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert headers["Authorization"].endswith(f"Signature={signer.signature(text, request)}")


@pytest.mark.broker
def test_both_servers_answer_what_they_are_asked(tmp_path: Path) -> None:
    """Every operation is answered with 200 by both."""
    options = argparse.Namespace(rounds=1, seconds=0.2, connections=2)
    results = http.measure(tmp_path / "jobs", 3, options)
    assert {operation for operation, _ in results} == set(http.OPERATIONS)
    assert all(result.latencies_s for pairs in results.values() for pair in pairs for result in pair)
