"""Placeholders in job documents: found, checked, and replaced in two phases (spec: control plane 7.2).

Creation: managed parameters, by `at_creation`. Delivery: presigned URLs, by `at_delivery`. Both work on the
document's JSON text, so whatever surrounds a placeholder stays byte for byte; who signs is a `UrlSigner`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal, Protocol
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from thingjobs_broker.core.errors import InvalidRequestError

PREFIX: Final = "${aws:iot:"
EXPIRES_IN_SECONDS_DEFAULT: Final = 3600
LOCAL_USES_MAX: Final = 2
LOCAL_NAMES: Final = ("thingName", "jobId", "executionNumber")
"""Spec: control plane 1.3, 7.2; local placeholders stand in the key of an upload, each at most twice."""

_LOCAL: Final = re.compile(r"\$\{([^{}]*)\}")
_KIND: Final = re.compile(r"[a-z0-9-]*", re.ASCII)
_URL: Final = re.compile(r"(https?|s3)://([^/]+)/(.*)", re.ASCII | re.DOTALL)
_BUCKET_IN_HOST: Final = re.compile(r"(.+)\.s3[.-].+")
_VERSION: Final = "?versionId="


class PresignedUrlConfig(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """`presignedUrlConfig`, with its ranges (spec: control plane 1.3); use it as the member's type."""

    role_arn: Annotated[str, Meta(min_length=20, max_length=2048)] | None = None
    expires_in_sec: Annotated[int, Meta(ge=60, le=3600)] | None = None


class Kind(StrEnum):
    """What follows `${aws:iot:`."""

    PARAMETER = "parameter"
    URL = "s3-presigned-url"
    URL_V1 = "s3-presigned-url-v1"
    URL_V2 = "s3-presigned-url-v2"
    UPLOAD = "s3-presigned-url-upload"
    CODE_SIGN_SIGNATURE = "code-sign-signature"
    PACKAGE = "package"


PRESIGNED: Final = frozenset({Kind.URL, Kind.URL_V1, Kind.URL_V2, Kind.UPLOAD})
"""The kinds that are resolved at delivery. Signatures and packages are left as they are."""

_KINDS: Final = frozenset(kind.value for kind in Kind)


class Location(msgspec.Struct, frozen=True):
    """An object of a store. Without `bucket`, the signer's own place for uploads."""

    host: str = ""
    bucket: str = ""
    key: str = ""
    version_id: str = ""


class Placeholder(msgspec.Struct, frozen=True):
    """One placeholder; `argument` is what follows the kind, with JSON's escapes resolved."""

    kind: Kind
    argument: str
    start: int
    end: int
    location: Location | None = None
    """Of the presigned kinds; the key of an upload may hold local placeholders."""


class UrlRequest(msgspec.Struct, frozen=True):
    """What is to be signed. `role_arn` names the credential; empty means the service's default one."""

    method: Literal["GET", "PUT"]
    location: Location
    expires_in_seconds: int
    role_arn: str = ""


class UrlSigner(Protocol):
    """Makes presigned URLs: an S3-compatible store, or the built-in artifact directory."""

    def sign(self, request: UrlRequest) -> str:
        """Return a URL that works for `expires_in_seconds` from now. What it raises passes through."""


class Recipient(msgspec.Struct, frozen=True):
    """The execution whose document is delivered."""

    thing_name: str
    job_id: str
    execution_number: int


def at_creation(document: str, *, parameters: Mapping[str, str] | None, has_role: bool) -> str:
    """Return the document with its parameters put in, and check all that will be replaced later.

    CreateJob and CreateJobTemplate call it once, after the document is known to be JSON and within its size;
    the result is what GetJobDocument shows and `at_delivery` is given, the argument is what
    `beforeSubstitution` shows. `parameters` is None for any document but a managed template's; a key that
    they lack is put in as the empty string (A26). `has_role`: presignedUrlConfig.roleArn is given, or the
    service has a default credential.

    Raises:
        InvalidRequestError: a malformed placeholder, a parameter outside a managed template, or a presigned
            URL without a role.

    """
    if PREFIX not in document:
        return document
    if parameters is not None:
        given = parameters

        def value_of(placeholder: Placeholder) -> str | None:
            return given.get(placeholder.argument, "") if placeholder.kind is Kind.PARAMETER else None

        document = _replaced(document, value_of)
    # Values are not looked at again for parameters, but a value may be a presigned placeholder.
    found = find(document)
    if any(placeholder.kind is Kind.PARAMETER for placeholder in found):
        where = "a value of documentParameters" if parameters is not None else "the job document"
        message = f"{PREFIX}parameter:...}} in {where}; expected only in the documents of managed templates"
        raise InvalidRequestError(message)
    if not has_role and any(placeholder.kind in PRESIGNED for placeholder in found):
        message = "presignedUrlConfig.roleArn is missing; expected because the document holds a presigned URL"
        raise InvalidRequestError(message)
    return document


def at_delivery(
    document: str, config: PresignedUrlConfig | None, recipient: Recipient, signer: UrlSigner
) -> str:
    """Return the document as one device gets it: presigned URLs made anew, local placeholders filled in.

    Call it for each delivery (describe, start-next, notify-next, update with includeJobDocument) with what
    `at_creation` returned. A document without placeholders comes back as it is, at the cost of one search.
    """
    if PREFIX not in document:
        return document
    own_uploads = 0

    def url(placeholder: Placeholder) -> str | None:
        nonlocal own_uploads
        location = placeholder.location
        if location is None:
            return None
        own_uploads += not location.bucket
        return signer.sign(
            UrlRequest(
                "PUT" if placeholder.kind is Kind.UPLOAD else "GET",
                _filled_in(location, recipient, own_uploads),
                config.expires_in_sec if config and config.expires_in_sec else EXPIRES_IN_SECONDS_DEFAULT,
                (config.role_arn if config else "") or "",
            )
        )

    return _replaced(document, url)


def find(document: str) -> list[Placeholder]:
    """Return the placeholders of AWS IoT in a document, in order; any other `${` is none of our business.

    Raises:
        InvalidRequestError: one is malformed: no closing brace, an unknown kind or local placeholder, one in
            another, or a URL that names no object.

    """
    found: list[Placeholder] = []
    start = document.find(PREFIX)
    while start >= 0:
        placeholder = _read(document, start)
        found.append(placeholder)
        start = document.find(PREFIX, placeholder.end)
    return found


def _replaced(document: str, value_of: Callable[[Placeholder], str | None]) -> str:
    """Put in values as the inside of a JSON string; None leaves a placeholder as it is."""
    pieces: list[str] = []
    position = 0
    for placeholder in find(document):
        value = value_of(placeholder)
        if value is not None:
            pieces += (document[position : placeholder.start], _encoder.encode(value).decode()[1:-1])
            position = placeholder.end
    return "".join((*pieces, document[position:]))


_encoder: Final = msgspec.json.Encoder()


def _read(document: str, start: int) -> Placeholder:
    name_end = start + len(PREFIX)
    matched = _KIND.match(document, name_end)
    assert matched is not None
    name = matched[0]
    end = _closing(document, start, matched.end())
    shown = document[start : min(end, start + 80)]
    if name not in _KINDS or document[matched.end()] not in ":}":
        kinds = ", ".join(Kind)
        raise _bad(shown, f"must be one of ${{aws:iot:...}} with {kinds}")
    kind = Kind(name)
    argument = _unescaped(document[matched.end() + 1 : end - 1], shown)
    if not argument and kind is not Kind.UPLOAD:
        raise _bad(shown, "must name something after the colon")
    if kind is not Kind.UPLOAD and "${" in argument:
        raise _bad(shown, "must not hold another placeholder; local ones belong in the key of an upload")
    location = _location(kind, argument, shown) if kind in PRESIGNED else None
    return Placeholder(kind, argument, start, end, location)


def _closing(document: str, start: int, position: int) -> int:
    """Return the position after the brace that closes the placeholder, which lies in one JSON string."""
    depth = 1
    while position < len(document) and document[position] != '"':
        if document.startswith(PREFIX, position):
            raise _bad(document[start : start + 80], "must not hold another ${aws:iot:...}")
        if document.startswith("${", position):
            depth += 1
        elif document[position] == "}":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 2 if document[position] == "\\" else 1
    raise _bad(document[start : start + 80].partition('"')[0], "has no closing brace")


def _unescaped(text: str, shown: str) -> str:
    try:
        return msgspec.json.decode(f'"{text}"', type=str)
    except msgspec.DecodeError:
        raise _bad(shown, "is not part of a JSON string") from None


def _location(kind: Kind, url: str, shown: str) -> Location:
    if not url:
        return Location()
    matched = _URL.fullmatch(url)
    if matched is None:
        raise _bad(shown, "must hold a URL such as https://s3.REGION.amazonaws.com/BUCKET/KEY")
    scheme, host, path = matched.groups()
    in_host = _BUCKET_IN_HOST.fullmatch(host)
    if scheme == "s3" or in_host:
        bucket, key = in_host[1] if in_host else host, path
    else:
        bucket, _, key = path.partition("/")
    if kind is Kind.URL_V2:
        # Only v2 is percent-encoded, and only it may name a version.
        bucket, key = unquote(bucket), unquote(key)
        key, _, version_id = key.rpartition(_VERSION) if _VERSION in key else (key, "", "")
    else:
        version_id = ""
        if _VERSION in key:
            raise _bad(shown, "must not hold a versionId; expected ${aws:iot:s3-presigned-url-v2:...}")
    if not bucket or not key:
        raise _bad(shown, "must name a bucket and a key")
    if kind is Kind.UPLOAD:
        _check_locals(host + bucket, key, shown)
    return Location(host, bucket, key, version_id)


def _check_locals(before_key: str, key: str, shown: str) -> None:
    if "${" in before_key:
        raise _bad(shown, "may hold local placeholders in the key only")
    names = _LOCAL.findall(key)
    for name in names:
        if name not in LOCAL_NAMES:
            raise _bad(shown, f"holds the unknown ${{{name[:40]}}}; expected {', '.join(LOCAL_NAMES)}")
        if names.count(name) > LOCAL_USES_MAX:
            raise _bad(shown, f"may hold ${{{name}}} {LOCAL_USES_MAX} times")
    if key.count("${") != len(names):
        raise _bad(shown, "holds a local placeholder within another")


def _filled_in(location: Location, recipient: Recipient, own_uploads: int) -> Location:
    thing_name, job_id, number = recipient.thing_name, recipient.job_id, str(recipient.execution_number)
    if not location.bucket:
        # Several uploads of one document must not overwrite each other.
        suffix = f"-{own_uploads}" if own_uploads > 1 else ""
        return Location(key=f"{thing_name}/{job_id}/{number}{suffix}")
    values = {"thingName": thing_name, "jobId": job_id, "executionNumber": number}
    key = _LOCAL.sub(lambda found: values.get(found[1], found[0]), location.key)
    return Location(location.host, location.bucket, key, location.version_id)


def _bad(shown: str, rule: str) -> InvalidRequestError:
    """AWS's guide says InvalidJobDocumentException, which its model lacks (spec: control plane 7.2)."""
    return InvalidRequestError(f"The job document's placeholder {shown!r} {rule}")
