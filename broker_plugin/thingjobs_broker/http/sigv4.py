"""AWS Signature Version 4, seen from the server: what a request claims, and whether its signature is right.

Pure. In the header `Authorization`, or in the query (presigned). Whose keys there are, and what they may do,
is decided elsewhere. The hash is always that of the body: UNSIGNED-PAYLOAD is for services that stream.
"""

from __future__ import annotations

import hashlib
import hmac
import posixpath
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from thingjobs_broker.http.rest_json import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SKEW_SECONDS_MAX: Final = 300
EXPIRES_SECONDS_MAX: Final = 7 * 86_400

DIGEST_HEADER: Final = "x-amz-content-sha256"

Headers = list[tuple[str, str]]
"""Names in lower case, in the order of the request."""

_is_scope: Final = re.compile(r"[^/\s]{1,128}/[0-9]{8}/[^/\s]{1,64}/[^/\s]{1,64}/aws4_request").fullmatch
_is_signature: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_spaces: Final = re.compile(r"\s+")


class Request(NamedTuple):
    """What a signature covers."""

    method: str
    raw_path: str
    query: bytes
    headers: Headers
    body: bytes
    body_digest: str = ""
    """What the body's hash is said to be, in place of a body that has not been read."""


class Claim(NamedTuple):
    """What a request says about itself; nothing of it is proven yet."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    at: str
    expires_seconds: int | None
    """None for a signature in the header, which holds for as long as clocks may differ."""


def claim_of(headers: Headers, query: bytes) -> Claim | None:
    """Return what a request claims, None where it is not signed.

    Raises:
        HttpError: it is signed in a way that cannot be understood.

    """
    authorization = _header(headers, "authorization")
    if authorization is not None:
        return _from_header(authorization, _header(headers, "x-amz-date"))
    if b"X-Amz-Signature=" in query or b"X-Amz-Algorithm=" in query:
        return _from_query(query)
    return None


def check_time(claim: Claim, now_seconds: float) -> None:
    """Refuse a signature of another time.

    Raises:
        HttpError: it is older or newer than clocks may differ, or a presigned request has expired.

    """
    try:
        at_seconds = datetime.strptime(claim.at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _incomplete(f"the date {claim.at[:40]!r} is not like 20150830T123600Z") from None
    if claim.day != claim.at[:8]:
        raise _incomplete(f"the credential is of {claim.day}, the request of {claim.at[:8]}")
    until_seconds = at_seconds + (claim.expires_seconds or SKEW_SECONDS_MAX)
    if now_seconds > until_seconds or at_seconds > now_seconds + SKEW_SECONDS_MAX:
        now = datetime.fromtimestamp(now_seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
        problem = "has expired" if now_seconds > until_seconds else "lies in the future"
        raise invalid(f"The signature of {claim.at} {problem}; here it is {now}")


def is_right(claim: Claim, secret: str, request: Request) -> bool:
    """Tell whether the signature is the one that the secret makes; takes as long for a wrong as for a right
    one.

    Raises:
        HttpError: as `canonical_request`.

    """
    scope = f"{claim.day}/{claim.region}/{claim.service}/aws4_request"
    digest = hashlib.sha256(canonical_request(claim, request).encode()).hexdigest()
    key = _signing_key(secret, claim.day, claim.region, claim.service)
    text = f"{ALGORITHM}\n{claim.at}\n{scope}\n{digest}"
    made = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(made, claim.signature)


def declared_digest(claim: Claim, headers: Headers) -> str:
    """Return what the body's hash is said to be by a header that is signed, empty where it is not said."""
    declared = _header(headers, DIGEST_HEADER) if DIGEST_HEADER in claim.signed_headers else None
    return declared if declared is not None and _is_signature(declared) else ""


def canonical_request(claim: Claim, request: Request) -> str:
    """Return the form of a request that is signed.

    Raises:
        HttpError: a header that has to be signed is not, or one that is signed is missing.

    """
    signed, headers = claim.signed_headers, request.headers
    unsigned = sorted({name for name, _ in headers if name.startswith("x-amz-") and name not in signed})
    if "host" not in signed or unsigned:
        raise _incomplete(f"the header {unsigned[0] if unsigned else 'host'} has to be signed")
    lines = []
    for name in signed:
        values = [_spaces.sub(" ", value.strip()) for key, value in headers if key == name]
        if not values:
            raise _incomplete(f"the header {name[:80]!r} is signed, but not there")
        lines.append(f"{name}:{','.join(values)}\n")
    return "\n".join(
        (
            request.method,
            _canonical_path(request.raw_path),
            _canonical_query(request.query),
            "".join(lines),
            ";".join(signed),
            request.body_digest or hashlib.sha256(request.body).hexdigest(),
        )
    )


def invalid(message: str) -> HttpError:
    """Return the refusal of a signature."""
    return HttpError(403, "InvalidSignatureException", message)


def _incomplete(reason: str) -> HttpError:
    return HttpError(403, "IncompleteSignatureException", f"The signature is incomplete: {reason}")


def _from_header(authorization: str, at: str | None) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Authorization begins with {algorithm[:40]!r}, not with {ALGORITHM}")
    parts = dict(_pair(part.strip()) for part in rest.split(","))
    if at is None:
        raise _incomplete("the header X-Amz-Date is missing")
    return _claim(parts.get("Credential"), parts.get("SignedHeaders"), parts.get("Signature"), at, None)


def _from_query(query: bytes) -> Claim:
    parts = dict(_decoded_pairs(query))
    if parts.get("X-Amz-Algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm is not {ALGORITHM}")
    expires = parts.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdecimal() and 1 <= int(expires[:9]) <= EXPIRES_SECONDS_MAX):
        raise _incomplete(f"X-Amz-Expires {expires[:20]!r} is not 1 to {EXPIRES_SECONDS_MAX}")
    return _claim(
        parts.get("X-Amz-Credential"),
        parts.get("X-Amz-SignedHeaders"),
        parts.get("X-Amz-Signature"),
        parts.get("X-Amz-Date", ""),
        int(expires[:9]),
    )


def _claim(
    credential: str | None, signed: str | None, signature: str | None, at: str, expires_seconds: int | None
) -> Claim:
    if not credential or not _is_scope(credential):
        raise _incomplete("Credential is not KEY/YYYYMMDD/REGION/SERVICE/aws4_request")
    if not signature or not _is_signature(signature):
        raise _incomplete("Signature is not 64 hexadecimal digits")
    access_key_id, day, region, service, _ = credential.split("/")
    names = tuple(signed.lower().split(";")) if signed else ()
    if list(names) != sorted(set(names)):
        raise _incomplete("SignedHeaders is not a sorted list, each name once")
    return Claim(access_key_id, day, region, service, names, signature, at, expires_seconds)


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name, value


def _header(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key == name), None)


def _canonical_path(raw_path: str) -> str:
    """Return the path without dots and double slashes, what is encoded in it encoded once more."""
    path = posixpath.normpath(raw_path) if raw_path else "/"
    # POSIX gives two leading slashes a meaning of their own; HTTP does not.
    path = "/" + path.lstrip("/")
    if raw_path.endswith(("/", "/.", "/..")) and path != "/":
        path += "/"
    return quote(path, safe="/~")


def _canonical_query(query: bytes) -> str:
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in _decoded_pairs(query)
        if name != "X-Amz-Signature"
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _decoded_pairs(query: bytes) -> Iterable[tuple[str, str]]:
    """Return names and values; what is not UTF-8 is kept apart from what is by lone surrogates."""
    for pair in query.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            yield _text(name), _text(value)


def _text(encoded: bytes) -> str:
    return unquote_to_bytes(encoded).decode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _signing_key(secret: str, *parts: str) -> bytes:
    """Return the key for a day, region and service."""
    return _chain(f"AWS4{secret}".encode(), (*parts, "aws4_request"))


def _chain(key: bytes, parts: Sequence[str]) -> bytes:
    for part in parts:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
