"""The front behind TLS: who the certificate names, and the same traffic."""

import subprocess
from pathlib import Path
from ssl import CERT_REQUIRED, PROTOCOL_TLS_CLIENT, Purpose, SSLContext, create_default_context

import pytest

from tests.broker.front import wire
from tests.broker.front.harness import Echo, running_edge
from tests.broker.front.wire import Wire
from tests.support import require_program

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate with the CN thing-7, good for both ends, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    openssl = require_program("openssl", package="openssl")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/O=test/CN=thing-7", "-days", "2"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_tls_client_certificate_names_the_client(tmp_path: Path) -> None:
    """The CN of a verified certificate is the certificate name; traffic is the same as without TLS."""
    certificate, key = make_certificates(tmp_path)
    server_context = create_default_context(Purpose.CLIENT_AUTH, cafile=certificate)
    server_context.load_cert_chain(certificate, key)
    server_context.verify_mode = CERT_REQUIRED
    client_context = SSLContext(PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(certificate)
    client_context.load_cert_chain(certificate, key)
    async with (
        running_edge(Echo(), ssl_context=server_context) as edge,
        Wire.dial(edge.port, ssl=client_context, server_hostname="thing-7") as client,
    ):
        client.send(wire.connect("t1"), wire.subscribe(1, ("$aws/x/accepted", 1)))
        await client.expect(wire.connack(), wire.suback(1, 1))
        assert edge.endpoint.opened_[0].certificate_name == "thing-7"
        requests = [wire.publish("$aws/x", b"p" * 2000, qos=1, packet_id=n) for n in range(1, 501)]
        client.send(*requests)
        for n in range(1, 501):
            await client.expect(wire.puback(n))
            client.send(wire.puback((await client.receive_publish()).packet_id))
        await client.expect_silence()
