"""SigV4 seen from the server: AWS's published suite, and every way in which a signature can be wrong."""

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from thingjobs_broker.http import sigv4
from thingjobs_broker.http.rest_json import HttpError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
UNSIGNED_TOKEN = "post-sts-header-after"


class Case(NamedTuple):
    """A request of the suite."""

    method: str
    path: str
    query: bytes
    headers: sigv4.Headers
    body: bytes
    canonical: str
    authorization: str


def cases() -> dict[str, Case]:
    """The suite: name to request, its canonical form and its Authorization."""
    text = (Path(__file__).with_name("aws4_testsuite.txt")).read_text("utf-8")
    found = {}
    for block in text.split("=== ")[1:]:
        name, _, rest = block.partition("\n")
        request, _, rest = rest.partition("\n--- canonical\n")
        canonical, _, authorization = rest.partition("\n--- authorization\n")
        head, _, body = request.partition("\n\n")
        first, *lines = head.strip("\n").split("\n")
        method, target = first.removesuffix(" HTTP/1.1").split(" ", 1)
        path, _, query = target.partition("?")
        headers: sigv4.Headers = []
        for line in lines:
            if line.startswith(" "):
                # A folded line, which an HTTP server unfolds.
                headers[-1] = headers[-1][0], f"{headers[-1][1]} {line.strip()}"
            else:
                key, _, value = line.partition(":")
                headers.append((key.lower(), value))
        authorization = authorization.strip()
        found[name] = Case(method, path, query.encode(), headers, body.encode(), canonical, authorization)
    return found


CASES = cases()


@pytest.mark.parametrize("name", sorted(set(CASES) - {UNSIGNED_TOKEN}))
def test_the_published_suite_is_verified(name: str) -> None:
    """Canonical request and signature of every published case are those that AWS gives."""
    case = CASES[name]
    claim = sigv4.claim_of([*case.headers, ("authorization", case.authorization)], case.query)
    assert claim is not None
    sigv4.check_time(claim, AT)
    request = sigv4.Request(case.method, case.path, case.query, case.headers, case.body)
    assert sigv4.canonical_request(claim, request) == case.canonical
    assert sigv4.is_right(claim, SECRET, request)
    assert not sigv4.is_right(claim, SECRET[:-1], request)


def test_a_token_that_is_not_signed_is_refused() -> None:
    """The one case of the suite that this service refuses: X-Amz- headers have to be signed."""
    case = CASES[UNSIGNED_TOKEN]
    headers = [*case.headers, ("x-amz-security-token", "AQoD"), ("authorization", case.authorization)]
    claim = sigv4.claim_of(headers, case.query)
    assert claim is not None
    with pytest.raises(HttpError) as refused:
        sigv4.is_right(claim, SECRET, sigv4.Request(case.method, case.path, case.query, headers, case.body))
    assert (
        refused.value.message
        == "The signature is incomplete: the header x-amz-security-token has to be signed"
    )


URL = "http://127.0.0.1:8080/things/a%3Ab%2Fc/jobs/j?force=true&x=%C3%A9%20%2B"
BODY = b'{"comment":"x"}'


class Signed:
    """A request signed by botocore, as this service sees it."""

    def __init__(self, *, presigned: bool = False, url: str = URL) -> None:
        # Presigned requests have no body: botocore would move it into the query.
        body = b"" if presigned else BODY
        request = AWSRequest("PUT", url, data=body, headers={"Host": "127.0.0.1:8080"})
        credentials = Credentials("AKID", SECRET)
        signer = (SigV4QueryAuth if presigned else SigV4Auth)(credentials, "iot", "eu-west-1")
        signer.add_auth(request)
        parts = urlsplit(request.url)
        self.method, self.path, self.query, self.body = "PUT", parts.path, parts.query.encode(), body
        self.headers = [(key.lower(), str(value)) for key, value in request.headers.items()]

    def is_right(self) -> bool:
        claim = sigv4.claim_of(self.headers, self.query)
        assert claim is not None
        assert (claim.access_key_id, claim.region, claim.service) == ("AKID", "eu-west-1", "iot")
        return sigv4.is_right(
            claim, SECRET, sigv4.Request(self.method, self.path, self.query, self.headers, self.body)
        )


@pytest.mark.parametrize("presigned", [False, True])
def test_what_botocore_signs_is_right_and_any_change_is_wrong(presigned: bool) -> None:
    """Method, path, query, a signed header and the body are all protected, in header and query signatures."""
    assert Signed(presigned=presigned).is_right()
    for change in (
        lambda request: setattr(request, "method", "POST"),
        lambda request: setattr(request, "path", "/things/a%3Ab/c/jobs/j"),
        lambda request: setattr(request, "query", request.query.replace(b"force=true", b"force=false")),
        lambda request: setattr(request, "query", request.query + b"&more=1"),
        lambda request: setattr(request, "body", b"{ }"),
        lambda request: setattr(
            request,
            "headers",
            [(k, "other:80" if k == "host" else v) for k, v in request.headers],
        ),
    ):
        request = Signed(presigned=presigned)
        change(request)
        assert not request.is_right()


def claim(**changes: object) -> sigv4.Claim:
    """A claim of the right time."""
    usual = sigv4.Claim("AKID", "20150830", "r", "iot", ("host",), "0" * 64, "20150830T123600Z", None)
    return usual._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offset_seconds", "changes", "problem"),
    [
        (300, {}, None),
        (-300, {}, None),
        (301, {}, "has expired"),
        (-301, {}, "lies in the future"),
        (3600, {"expires_seconds": 3600}, None),
        (3601, {"expires_seconds": 3600}, "has expired"),
        (-301, {"expires_seconds": 3600}, "lies in the future"),
        (0, {"at": "20150831T000000Z"}, "the credential is of 20150830"),
        (0, {"at": "yesterday"}, "is not like 20150830T123600Z"),
    ],
)
def test_clocks_may_differ_by_five_minutes(
    offset_seconds: int, changes: dict[str, object], problem: str | None
) -> None:
    """Five minutes either way; a presigned request holds for as long as it says."""
    if problem is None:
        sigv4.check_time(claim(**changes), AT + offset_seconds)
        return
    with pytest.raises(HttpError) as refused:
        sigv4.check_time(claim(**changes), AT + offset_seconds)
    assert problem in refused.value.message
    assert refused.value.status == 403


CREDENTIAL = "AKID/20150830/r/iot/aws4_request"
DATE = ("x-amz-date", "20150830T123600Z")


@pytest.mark.parametrize(
    ("headers", "query", "problem"),
    [
        ([("authorization", "Basic abc"), DATE], b"", "Authorization begins with 'Basic'"),
        ([("authorization", "AWS4-HMAC-SHA256"), DATE], b"", "Credential is not"),
        ([("authorization", f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}"), DATE], b"", "Signature is not 64"),
        (
            [("authorization", f"AWS4-HMAC-SHA256 Credential=a/b, Signature={'0' * 64}"), DATE],
            b"",
            "Credential is not",
        ),
        (
            [
                (
                    "authorization",
                    f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=x;host, Signature={'0' * 64}",
                ),
                DATE,
            ],
            b"",
            "SignedHeaders is not a sorted list",
        ),
        (
            [("authorization", f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, Signature={'0' * 64}")],
            b"",
            "X-Amz-Date is missing",
        ),
        ([], b"X-Amz-Signature=00", "X-Amz-Algorithm is not"),
        ([], b"X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Expires '' is not 1 to 604800"),
        ([], b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=604801", "X-Amz-Expires '604801'"),
        ([], b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60", "Credential is not"),
    ],
)
def test_what_cannot_be_understood_is_incomplete(headers: sigv4.Headers, query: bytes, problem: str) -> None:
    """IncompleteSignatureException names what is missing or wrong."""
    with pytest.raises(HttpError) as refused:
        sigv4.claim_of(headers, query)
    assert refused.value.code == "IncompleteSignatureException"
    assert problem in refused.value.message


def test_unsigned_is_no_claim() -> None:
    """Without signature there is nothing to verify; whether that will do is decided elsewhere."""
    assert sigv4.claim_of([("host", "h")], b"a=b") is None


def test_host_and_amazon_headers_have_to_be_signed() -> None:
    """Else the hash in one of them, or the host, could be exchanged."""
    for signed, headers, name in (
        (("x-a",), [("x-a", "1"), ("host", "h")], "host"),
        (("host",), [("host", "h"), ("x-amz-content-sha256", "1")], "x-amz-content-sha256"),
    ):
        with pytest.raises(HttpError) as refused:
            sigv4.canonical_request(
                claim(signed_headers=signed), sigv4.Request("GET", "/", b"", headers, b"")
            )
        assert refused.value.message == f"The signature is incomplete: the header {name} has to be signed"
    with pytest.raises(HttpError) as refused:
        sigv4.canonical_request(
            claim(signed_headers=("host", "x-b")), sigv4.Request("GET", "/", b"", [("host", "h")], b"")
        )
    assert "'x-b' is signed, but not there" in refused.value.message


def test_a_body_is_always_part_of_the_signature() -> None:
    """UNSIGNED-PAYLOAD, which a client may put in the place of the hash, is not taken."""
    headers = [("host", "h"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]
    one = claim(signed_headers=("host", "x-amz-content-sha256"))
    canonical = sigv4.canonical_request(one, sigv4.Request("PUT", "/", b"", headers, BODY))
    assert canonical.endswith(hashlib.sha256(BODY).hexdigest())
    open_ended = canonical.removesuffix(hashlib.sha256(BODY).hexdigest()) + "UNSIGNED-PAYLOAD"
    text = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            one.at,
            "20150830/r/iot/aws4_request",
            hashlib.sha256(open_ended.encode()).hexdigest(),
        )
    )
    key = b"AWS4" + SECRET.encode()
    for part in ("20150830", "r", "iot", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    forged = one._replace(signature=key.hex())
    assert not sigv4.is_right(forged, SECRET, sigv4.Request("PUT", "/", b"", headers, BODY))
