"""Does the real adapter speak TLS, with and without the plain greeting before it?"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from bus.conftest import a_stream
from conftest import Eventually, NatsServerFactory
from penstock_bus.nats import connect
from penstock_bus.port import Outage


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of localhost, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "1", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


async def test_everything_works_over_tls_and_after_a_reconnect(
    certificate: tuple[Path, Path], nats_server_factory: NatsServerFactory, eventually: Eventually
) -> None:
    cert, key = certificate
    server = nats_server_factory(f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')
    context = ssl.create_default_context(cafile=str(cert))
    bus = await connect(server.url, name="t", tls=context, tls_hostname="localhost")
    await bus.ensure_streams([a_stream()])
    reader = await bus.reader("EVENTS", after_seq=0)
    for n in range(600):
        await bus.append("event.a", b"%d" % n * 100)
    seqs: list[int] = []
    async with asyncio.timeout(10):
        while len(seqs) < 600:
            seqs += [m.seq for m in await reader.next_batch()]
    assert seqs == list(range(1, 601))

    server.restart()
    await eventually(lambda: bus.counters["reconnects"] == 1)
    assert (await bus.append("event.a", b"after", expected_last_seq=600)).seq == 601
    assert [m.seq for m in await asyncio.wait_for(reader.next_batch(), 10)] == [601]
    await bus.close()


async def test_a_broker_with_a_certificate_nobody_signed_is_an_outage(
    certificate: tuple[Path, Path], nats_server_factory: NatsServerFactory
) -> None:
    cert, key = certificate
    server = nats_server_factory(f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')
    with pytest.raises(Outage):
        await connect(server.url, name="t", tls=ssl.create_default_context(), connect_timeout_s=0.5)
