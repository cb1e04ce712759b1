"""Who comes in, and as whom, on both brokers as `thingjobs init` sets them up (architecture, 2).

`press-` devices have passwords, `drill-` devices certificates.
"""

import datetime as dt
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.raw_client import RawClient, RefusedError
from tests.end_to_end.stages import OPERATOR, SERVICE, AmqttStage, Stage, log_in, password_of, running, tls_of
from thingjobs_broker.provision.setup import Setup

pytestmark = pytest.mark.broker

CONTROL_REQUEST = "$aws/control/ops/ListJobs"


def jobs(name: str, ending: str) -> str:
    """A topic of a thing."""
    return f"$aws/things/{name}/jobs/{ending}"


@pytest.fixture(scope="module", params=["amqtt", "mosquitto"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One broker for the whole module."""
    folder = tmp_path_factory.mktemp(request.param)
    make_bad_certificates(folder)
    with running(folder, request.param) as started:
        yield started


def make_bad_certificates(folder: Path) -> None:
    """Certificates that must not count, in `folder`/bad, and the directory they are judged by."""
    bad = folder / "bad"
    bad.mkdir()
    foreign = Setup(folder / "foreign")
    foreign.create(["localhost"], "amqtt")
    foreign.add_device("press-7", certificate=True)
    Setup(folder / "setup").create(["localhost"], "amqtt")
    too_long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=11 * 365)
    Setup(folder / "setup", too_long_ago).add_device("old-1", certificate=True)
    Setup(folder / "setup").add_device("lost-1", certificate=True)
    layout = Setup(folder / "setup").layout
    for name, certificate, key in [
        ("foreign", foreign.layout.device("press-7").certificate, foreign.layout.device("press-7").key),
        ("foreign-ca", foreign.layout.ca_certificate, foreign.layout.ca_key),
        ("expired", layout.device("old-1").certificate, layout.device("old-1").key),
        ("revoked", layout.device("lost-1").certificate, layout.device("lost-1").key),
        ("of-the-broker", layout.server_certificate, layout.server_key),
    ]:
        shutil.copyfile(certificate, bad / f"{name}.crt")
        shutil.copyfile(key, bad / f"{name}.key")
    Setup(folder / "setup").revoke_device("lost-1")


@pytest.mark.parametrize("listener", ["plain", "password", "certificate"])
@pytest.mark.parametrize(
    ("user", "secret_of"),
    [
        (None, None),
        ("press-7", None),
        ("press-7", ""),
        ("press-7", "press-8"),
        (OPERATOR, "press-7"),
        (OPERATOR, None),
        (SERVICE, "press-7"),
        (SERVICE, None),
        ("nobody", "press-7"),
        ("drill-7", None),
        ("drill-7", "press-7"),
        ("press-7/jobs", "press-7"),
        ("+", "press-7"),
    ],
)
def test_nobody_comes_in_without_their_own_password(
    stage: Stage, listener: str, user: str | None, secret_of: str | None
) -> None:
    """Anonymous, without or with an empty password, with another's, or with a name of no user."""
    tls = None if listener == "plain" else tls_of(stage.setup)
    secret = password_of(stage.setup.layout.device(secret_of)) if secret_of else secret_of
    with pytest.raises(RefusedError):
        RawClient(stage.ports[listener], user=user, password=secret, tls=tls)


@pytest.mark.parametrize("name", ["foreign", "foreign-ca", "expired", "revoked", "of-the-broker"])
@pytest.mark.parametrize("user", [None, "press-7"])
def test_a_certificate_that_does_not_count_is_refused_at_the_handshake(
    stage: Stage, name: str, user: str | None
) -> None:
    """Of another CA, expired, revoked or made for a broker: also with a password that would be right."""
    bad = stage.setup.layout.root.parent / "bad"
    tls = tls_of(stage.setup, bad / f"{name}.crt", bad / f"{name}.key")
    secret = password_of(stage.setup.layout.device(user)) if user else None
    with pytest.raises(RefusedError, match="handshake"):
        RawClient(stage.ports["certificate"], user=user, password=secret, tls=tls)


def test_a_client_that_trusts_the_ca_talks_to_no_other_broker(stage: Stage) -> None:
    """Devices check the broker's certificate: one of another CA never sees a password."""
    foreign = Setup(stage.setup.layout.root.parent / "foreign")
    with pytest.raises(RefusedError, match="CERTIFICATE_VERIFY_FAILED"):
        RawClient(stage.ports["password"], user="press-7", password="x", tls=tls_of(foreign))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("listener", ["password", "certificate"])
def test_tls_1_2_and_1_3_are_spoken(stage: Stage, version: ssl.TLSVersion, listener: str) -> None:
    """Both versions in use, with a password and with a certificate."""
    login = stage.setup.layout.device("drill-7" if listener == "certificate" else "press-7")
    with_certificate = login.certificate.exists()
    tls = tls_of(stage.setup, *((login.certificate, login.key) if with_certificate else ()))
    tls.minimum_version = tls.maximum_version = version
    credentials: dict[str, Any] = (
        {} if with_certificate else {"user": "press-7", "password": password_of(login)}
    )
    with RawClient(stage.ports[listener], tls=tls, **credentials) as client:
        assert client.drain() == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(stage: Stage) -> None:
    """TLS 1.2 is the oldest version."""
    tls = tls_of(stage.setup)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(RefusedError, match="handshake"):
        RawClient(stage.ports["password"], user="press-7", password="x", tls=tls)


# Nobody is somebody else.


@pytest.mark.parametrize("user", ["press-8", OPERATOR, "drill-8", "anybody"])
def test_a_certificate_wins_over_a_user_name(stage: Stage, user: str) -> None:
    """A device is what its certificate says, whatever name and right password it gives besides."""
    layout = stage.setup.layout
    login = layout.device("drill-7")
    other = layout.operator(user) if user == OPERATOR else layout.device(user)
    secret = password_of(other) if other.password.exists() else "x"
    tls = tls_of(stage.setup, login.certificate, login.key)
    own = [jobs("drill-7", "get")]
    with RawClient(stage.ports["certificate"], user=user, password=secret, tls=tls) as client:
        stage.heard()
        client.publish([jobs(user, "get"), CONTROL_REQUEST, *own])
        assert stage.heard() == own


@pytest.mark.parametrize(
    ("user", "secret"), [(None, None), ("drill-7", None), (OPERATOR, "x"), ("press-8", "x")]
)
def test_the_session_of_a_certificate_does_not_let_others_in(
    stage: Stage, user: str | None, secret: str | None
) -> None:
    """Who names the client id of a certified device finds its session, and is not let in for it."""
    log_in(stage, "drill-7", client_id="gateway-1", clean=False).close()
    with pytest.raises(RefusedError):
        RawClient(
            stage.ports["password"],
            user=user,
            password=secret,
            tls=tls_of(stage.setup),
            client_id="gateway-1",
            clean=False,
        )


@pytest.mark.parametrize(
    ("first", "second"), [("press-7", "press-8"), ("drill-7", "press-8"), ("press-7", "drill-7")]
)
def test_a_session_does_not_pass_to_another_user(stage: Stage, first: str, second: str) -> None:
    """What waits for a device is not delivered to another that takes its client id, nor what comes later."""
    client_id = f"shared-by-{first}-{second}"
    notify = [jobs(first, "notify")]
    with log_in(stage, first, client_id=client_id, clean=False) as device:
        assert device.subscribe(f"$aws/things/{first}/jobs/#") == [1]
    stage.say(notify)
    with log_in(stage, second, client_id=client_id, clean=False) as thief:
        stage.say(notify)
        assert thief.drain() == []


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("user", [None, "press-7", "press-8", "nobody", OPERATOR])
def test_a_wrong_password_does_not_touch_the_client_of_that_id(
    stage: Stage, clean: bool, user: str | None
) -> None:
    """Whoever knows a client id and no password ends no connection and takes no subscription."""
    notify = [jobs("press-7", "notify")]
    with log_in(stage, "press-7", client_id="gateway-7", clean=False) as device:
        assert device.subscribe("$aws/things/press-7/jobs/#") == [1]
        device.drain()
        with pytest.raises(RefusedError, match="return code"):
            RawClient(
                stage.ports["password"],
                user=user,
                password=None if user is None else "wrong",
                tls=tls_of(stage.setup),
                client_id="gateway-7",
                clean=clean,
            )
        stage.say(notify)
        device.wait_for(notify[0])


@pytest.mark.parametrize("other", ["press-8", "drill-8", OPERATOR])
def test_another_user_cannot_push_a_device_out_of_the_embedded_broker(stage: Stage, other: str) -> None:
    """Mosquitto lets whoever has logged in take any client id; docs/security.md says so."""
    if not isinstance(stage, AmqttStage):
        pytest.skip("Mosquitto has no such rule")
    with log_in(stage, "press-7", client_id="gateway-7") as device:
        with pytest.raises(RefusedError, match="return code 2"):
            log_in(stage, other, client_id="gateway-7")
        assert device.drain() == []
        # The device itself comes back at once, however its old connection was lost.
        with log_in(stage, "press-7", client_id="gateway-7") as again:
            assert again.drain() == []
