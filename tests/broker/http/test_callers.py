"""Who is let in: signed requests of known keys, within five minutes, and what their role allows."""

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.broker.http.served import REGION, Served
from thingjobs_broker.host import StartError
from thingjobs_broker.http import access_keys
from thingjobs_broker.http.access_keys import AccessKeys, AccessKeysError

ADA = ("TJOPADA", "secret-of-ada")
EVE = ("TJOPEVE", "secret-of-eve")
KEYS = f"# keys\n\n{ADA[0]} {ADA[1]} operator ada\n{EVE[0]} {EVE[1]} read-only eve\n"


def keys_in(folder: Path, text: str = KEYS, mode: int = 0o600) -> Path:
    """A file of access keys."""
    file = folder / "access_keys"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Served]:
    """A service that wants signatures."""
    http = {"anonymous": False, "access_keys": str(keys_in(tmp_path))}
    with Served(tmp_path, http=http) as one:
        yield one
        assert not one.failures


def refusal(call: Any, **members: Any) -> tuple[str, int]:
    """Code and status of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_operator_may_do_everything_and_is_named_in_the_timeline(guarded: Served) -> None:
    """The key's owner is who has done it."""
    iot = guarded.client("iot", *ADA)
    iot.create_thing(thingName="a:b")
    iot.create_job(jobId="j", targets=["a:b"], document="{}", description="ä +/%")
    guarded.client("iot-jobs-data", *ADA).start_next_pending_job_execution(thingName="a:b")
    iot.cancel_job_execution(thingName="a:b", jobId="j", force=True)
    assert iot.describe_job_execution(thingName="a:b", jobId="j")["execution"]["status"] == "CANCELED"
    status, body = signed(guarded, "POST", "/thingjobs/DescribeTimeline", b'{"jobId":"j"}')
    assert status == 200
    assert b'"ada"' in body


def test_who_may_only_read_changes_nothing(guarded: Served) -> None:
    """AccessDeniedException, in both planes."""
    guarded.client("iot", *ADA).create_thing(thingName="a")
    iot, data = guarded.client("iot", *EVE), guarded.client("iot-jobs-data", *EVE)
    assert [one["thingName"] for one in iot.list_things()["things"]] == ["a"]
    assert data.get_pending_job_executions(thingName="a")["queuedJobs"] == []
    denied = ("AccessDeniedException", 403)
    assert refusal(iot.create_thing, thingName="b") == denied
    assert refusal(data.start_next_pending_job_execution, thingName="a") == denied
    assert refusal(iot.tag_resource, resourceArn="x", tags=[]) == denied
    assert len(iot.list_things()["things"]) == 1


def test_unsigned_unknown_and_wrongly_signed_requests_get_the_error_of_aws(guarded: Served) -> None:
    """Each with its code, and 403."""
    status, headers, body = guarded.raw("GET", "/jobs")
    assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
    assert "thingjobs init operator" in json.loads(body)["message"]
    nobody, liar = guarded.client("iot", "TJOPXXX", "x"), guarded.client("iot", ADA[0], EVE[1])
    assert refusal(nobody.list_jobs) == ("UnrecognizedClientException", 403)
    assert refusal(liar.list_jobs) == ("InvalidSignatureException", 403)
    assert refusal(guarded.client("iot", "TJOPXXX", "y").create_thing, thingName="a")[1] == 403
    other = AWSRequest("GET", f"{guarded.url}/jobs")
    auth.SigV4Auth(Credentials(*ADA), "s3", REGION).add_auth(other)
    status, headers, _ = guarded.raw("GET", "/jobs", headers=dict(other.headers.items()))
    assert (status, headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


def signed(
    served: Served,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    service: str = "iot",
    signer: Any = None,
    sent: bytes | None = None,
) -> tuple[int, bytes]:
    """Status and body of the answer to a request of ada's, of which another body may be sent."""
    request = AWSRequest(method, f"{served.url}{path}", data=body)
    (signer or auth.SigV4Auth)(Credentials(*ADA), service, REGION).add_auth(request)
    parts = urlsplit(request.url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    headers = {name: str(value) for name, value in request.headers.items()}
    status, _, answer = served.raw(method, target, body if sent is None else sent, headers)
    return status, answer


def test_a_presigned_request_needs_no_header(guarded: Served) -> None:
    """The signature in the query, as `generate_presigned_url` makes it."""
    assert signed(guarded, "GET", "/jobs", signer=auth.SigV4QueryAuth)[0] == 200
    url = guarded.client("iot", *ADA).generate_presigned_url("list_things", Params={"maxResults": 3})
    parts = urlsplit(url)
    assert guarded.raw("GET", f"{parts.path}?{parts.query}")[0] == 200
    status, _, body = guarded.raw(
        "GET", f"{parts.path}?{parts.query}".replace("maxResults=3", "maxResults=4")
    )
    assert (status, b"signature" in body) == (403, True)


def test_a_changed_body_is_refused(guarded: Served) -> None:
    """The body's hash is part of the signature."""
    assert signed(guarded, "POST", "/things/a", b"{}")[0] == 200
    status, body = signed(guarded, "POST", "/things/b", b"{}", sent=b"{ }")
    assert status == 403, body
    assert signed(guarded, "GET", "/things")[1].count(b"thingName") == 1


@pytest.mark.parametrize(("minutes", "status"), [(-6, 403), (-4, 200), (4, 200), (6, 403)])
def test_clocks_may_differ_by_five_minutes(
    guarded: Served, monkeypatch: pytest.MonkeyPatch, minutes: int, status: int
) -> None:
    """Older is expired, newer is not valid yet."""
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr(auth, "get_current_datetime", lambda remove_tzinfo=True: at)
    found, body = signed(guarded, "GET", "/jobs")
    assert found == status, body


def test_both_planes_are_told_apart_by_what_was_signed(guarded: Served) -> None:
    """Spec: control plane 1.1, V18."""
    signed(guarded, "POST", "/things/t", b"{}")
    assert b"executionSummaries" in signed(guarded, "GET", "/things/t/jobs")[1]
    assert b"queuedJobs" in signed(guarded, "GET", "/things/t/jobs", service="iot-jobs-data")[1]


def test_a_refused_request_with_a_long_body_ends_its_connection(guarded: Served) -> None:
    """The body of who is not let in is not read; a short one is, to keep the connection."""
    assert guarded.raw("PUT", "/jobs/j", b"x" * 1000)[1].get("connection") is None
    status, headers, _ = guarded.raw("PUT", "/jobs/j", b"", {"content-length": "100000"})
    assert (status, headers["connection"]) == (403, "close")
    status, headers, _ = guarded.raw("PUT", "/jobs/j", b"", {"content-length": "600000"})
    assert (status, headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")


def test_a_body_whose_hash_is_declared_is_not_read_of_a_forger(guarded: Served) -> None:
    """The signature covers the declared hash; it is compared again with that of the body that came."""
    body = b"{}"
    for secret, sent, expected in ((ADA[1], body, 200), (ADA[1], b"[]", 403), (EVE[1], None, 403)):
        request = AWSRequest("POST", f"{guarded.url}/things/a", data=body)
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        auth.SigV4Auth(Credentials(ADA[0], secret), "iot", REGION).add_auth(request)
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        if sent is None:
            # It never comes, and would be waited for.
            headers["content-length"] = "100000"
        status, found, _ = guarded.raw("POST", "/things/a", sent or b"", headers)
        assert status == expected
        assert found.get("connection") == (None if sent is not None else "close")


def test_without_signatures_only_loopback_is_served(tmp_path: Path) -> None:
    """Anonymous beyond loopback, and no keys at all, are errors at the start."""
    for http, problem in (
        ({"listen": "0.0.0.0:0"}, "--http-anonymous is for loopback only, not for 0.0.0.0:0"),
        ({"listen": "0.0.0.0:0", "moto_compat": True}, "--moto-compat is for loopback only"),
        ({"anonymous": False}, "nothing tells who an HTTP client is: give --http-access-keys FILE"),
        ({"anonymous": False, "access_keys": "/none"}, "cannot read the access keys in /none"),
        ({"listen": "127.0.0.1"}, "http address '127.0.0.1' is not HOST:PORT"),
        ({"tls": True}, "--http-tls needs a certificate"),
        ({"tls_certificate": "x"}, "http.tls_certificate is given, but HTTPS is off"),
    ):
        with pytest.raises(StartError) as caught, Served(tmp_path, http=http):
            pass
        assert str(caught.value).startswith(problem)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Secrets stand in it as they are."""
    with pytest.raises(AccessKeysError, match=r"others may read the secrets in .*; chmod 600 it"):
        access_keys.read(keys_in(tmp_path, mode=0o640))


@pytest.mark.parametrize("line", ["KEY", "KEY secret admin ada", "KEY secret operator ada more"])
def test_a_bad_line_is_named_without_its_secret(tmp_path: Path, line: str) -> None:
    """File and line number, and what was expected."""
    file = keys_in(tmp_path, f"{KEYS}{line}\n")
    with pytest.raises(AccessKeysError) as caught:
        access_keys.read(file)
    expected = "expected ACCESS_KEY_ID SECRET ROLE NAME, the role operator or read-only"
    assert str(caught.value) == f"{file}:5: {expected}"


def test_keys_are_read_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new key counts within a second; a file that is wrong leaves the keys as they were."""
    monkeypatch.setattr(access_keys, "LOOK_SECONDS", 0.0)
    file = keys_in(tmp_path)
    keys = AccessKeys(file)
    assert keys.find("TJOPNEW") is None
    file.write_text(f"{KEYS}TJOPNEW s operator new\n")
    os.utime(file, ns=(1, 1))
    found = keys.find("TJOPNEW")
    assert found is not None
    assert found.name == "new"
    file.write_text("wrong\n")
    os.utime(file, ns=(2, 2))
    assert keys.find("TJOPNEW") == found
    file.unlink()
    assert keys.find("TJOPNEW") == found
