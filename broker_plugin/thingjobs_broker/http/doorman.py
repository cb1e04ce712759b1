"""Who asks, for which service and region: the caller of a request, or the AWS error that refuses it.

What an operation does is decided elsewhere; whether it may be asked for at all is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from thingjobs_broker.http import sigv4
from thingjobs_broker.http.access_keys import AccessKey, AccessKeys, Role
from thingjobs_broker.http.rest_json import HttpError
from thingjobs_broker.http.routes import CONTROL, DATA

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.http.routes import Route

_SERVICES: Final = {CONTROL: CONTROL, DATA: DATA, "execute-api": CONTROL, "iotjobsdata": DATA}
"""What clients sign for, old ones included; `execute-api` was the control plane's name before 2020."""

ANONYMOUS: Final = "anonymous"


class Announced(NamedTuple):
    """What is known before the body has arrived; a claim without a key is not verified."""

    claim: sigv4.Claim | None
    key: AccessKey | None
    service: str


class Doorman:
    """Verifies signatures with the operators' keys; without keys everybody may do everything.

    Args:
        keys: the access keys, None for anonymous access, which is for loopback only.
        now: seconds since the epoch.

    """

    def __init__(self, keys: AccessKeys | None, now: Callable[[], float]) -> None:
        self._keys = keys
        self._now = now

    def announced(self, headers: sigv4.Headers, query: bytes) -> Announced:
        """Look at what a request says of itself, before its body is read.

        Raises:
            HttpError: it is not signed, or not by a known key, not for us, or not now.

        """
        if self._keys is None:
            return _unverified(headers, query)
        claim = sigv4.claim_of(headers, query)
        if claim is None:
            message = "The request is not signed; it needs an access key of thingjobs init operator"
            raise HttpError(403, "MissingAuthenticationTokenException", message)
        service = _SERVICES.get(claim.service)
        if service is None:
            expected = f"{CONTROL} or {DATA}"
            raise sigv4.invalid(f"The credential is for the service {claim.service!r}, not for {expected}")
        key = self._keys.find(claim.access_key_id)
        if key is None:
            known = "those of thingjobs init operator are"
            message = f"The access key {claim.access_key_id[:40]!r} is not known here; {known}"
            raise HttpError(403, "UnrecognizedClientException", message)
        sigv4.check_time(claim, self._now())
        return Announced(claim, key, service)

    def check_head(self, announced: Announced, head: sigv4.Request) -> None:
        """Look at the signature before the body is read, where the body's hash is declared, as some SDKs do.

        Raises:
            HttpError: the signature is not right.

        """
        claim = announced.claim
        if claim is not None and (digest := sigv4.declared_digest(claim, head.headers)):
            self.check(announced, head._replace(body_digest=digest))

    def check(self, announced: Announced, request: sigv4.Request) -> str:
        """Return the name of who asks.

        Raises:
            HttpError: the signature is not right.

        """
        claim, key = announced.claim, announced.key
        if claim is None or key is None:
            return ANONYMOUS
        if not sigv4.is_right(claim, key.secret, request):
            raise sigv4.invalid(
                "The signature is not the one that the secret access key makes of this request"
            )
        return key.name


def check_role(announced: Announced, route: Route) -> None:
    """Refuse a change to who may only read.

    Raises:
        HttpError: the key's role does not allow the operation.

    """
    if announced.key is not None and announced.key.role is Role.READ_ONLY and not route.is_read:
        message = f"{announced.key.name} may only read, and not call {route.operation}"
        raise HttpError(403, "AccessDeniedException", message)


def _unverified(headers: sigv4.Headers, query: bytes) -> Announced:
    """Return what a request claims; a claim that cannot be read counts as none, which is the control plane's
    (spec: control plane 1.1).
    """
    try:
        claim = sigv4.claim_of(headers, query)
    except HttpError:
        claim = None
    return Announced(claim, None, _SERVICES.get(claim.service, CONTROL) if claim else CONTROL)
