"""Does the health server answer what monitors ask, and survive what they should not send?"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest

from penstock_runtime import health as health_module
from penstock_runtime.config import ConfigError
from penstock_runtime.health import Health
from penstock_runtime.metrics import Metric, Metrics


async def close(writer: asyncio.StreamWriter) -> None:
    """The server may have reset the connection: that is no failure of the asker."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    request = "openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=penstock"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    paths = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*request.split(), *names, *paths], check=True, capture_output=True)
    return cert, key


class Service:
    """A service with a health server on a free port."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.metrics = Metrics()
        self.health = Health(why_not_ready=lambda: self.reason, metrics=self.metrics)
        self.port = 0

    async def send(self, raw: bytes) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        try:
            answer = await asyncio.wait_for(reader.read(), 5)
        except ConnectionResetError:
            answer = b""
        await close(writer)
        return answer.decode()

    async def get(self, path: str, method: str = "GET") -> str:
        return await self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    service.port = await service.health.start("127.0.0.1", 0) or 0
    yield service
    await service.health.stop()


async def test_a_living_process_is_healthy(service: Service) -> None:
    assert (await service.get("/healthz")).startswith("HTTP/1.1 200 OK\r\n")


async def test_readiness_follows_the_service_and_says_why_not(service: Service) -> None:
    service.reason = "replaying the journal"
    answer = await service.get("/readyz")
    assert answer.startswith("HTTP/1.1 503 ") and "replaying the journal" in answer
    service.reason = None
    assert (await service.get("/readyz?verbose=1")).startswith("HTTP/1.1 200 ")


@pytest.mark.lesson(24)
async def test_metrics_are_read_at_the_scrape_and_unknown_ones_left_out(service: Service) -> None:
    jobs = [3]

    def source() -> Iterable[Metric]:
        yield Metric("penstock_jobs", "counter", "Jobs accepted.", jobs[0], {"tenant": "a"})
        yield Metric("penstock_jobs", "counter", "Jobs accepted.", 1, {"tenant": "b"})
        yield Metric("penstock_power_mw", "gauge", "Power drawn.", None)

    service.metrics.add(source)
    assert 'penstock_jobs_total{tenant="a"} 3.0' in await service.get("/metrics")
    jobs[0] = 4
    page = await service.get("/metrics")
    assert 'penstock_jobs_total{tenant="a"} 4.0' in page
    assert 'penstock_jobs_total{tenant="b"} 1.0' in page
    assert "penstock_power_mw" not in page
    assert "process_resident_memory_bytes" in page


async def test_head_has_the_length_and_no_body(service: Service) -> None:
    head, _, body = (await service.get("/healthz", "HEAD")).partition("\r\n\r\n")
    assert "Content-Length: 3" in head and body == ""


async def test_other_paths_and_methods_are_refused(service: Service) -> None:
    assert (await service.get("/jobs")).startswith("HTTP/1.1 404 ")
    assert (await service.get("/healthz", "POST")).startswith("HTTP/1.1 405 ")


async def test_an_oversized_or_broken_request_harms_nobody(service: Service) -> None:
    assert await service.send(b"GET /" + b"x" * 20_000) == ""
    assert (await service.send(b"\r\n\r\n")).startswith("HTTP/1.1 405 ")
    assert (await service.get("/healthz")).startswith("HTTP/1.1 200 ")


async def test_more_connections_than_the_bound_are_turned_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CONNECTIONS_MAX", 1)
    _, idle = await asyncio.open_connection("127.0.0.1", service.port)
    assert await service.get("/healthz") == ""
    await close(idle)
    while await service.get("/healthz") == "":
        pass  # until the server has seen the end of the idle connection


async def test_an_asker_who_says_nothing_is_cut_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "REQUEST_S_MAX", 0.01)
    assert await service.send(b"GET /hea") == ""


async def test_an_address_of_the_network_needs_a_certificate() -> None:
    with pytest.raises(ConfigError, match="tls_cert"):
        await Health(why_not_ready=lambda: None).start("0.0.0.0", 0)


@pytest.mark.skipif(which("openssl") is None, reason="openssl makes the certificate")
async def test_with_a_certificate_it_speaks_https(tmp_path: Path) -> None:
    cert, key = a_certificate(tmp_path)
    health = Health(why_not_ready=lambda: None)
    port = await health.start("127.0.0.1", 0, tls_cert=cert, tls_key=key)
    trust = ssl.create_default_context(cafile=cert)
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    await close(writer)
    await health.stop()


async def test_without_a_port_nothing_listens() -> None:
    health = Health(why_not_ready=lambda: None)
    assert await health.start("127.0.0.1", None) is None
    await health.stop()


def test_a_process_that_nobody_scrapes_imports_neither_aiohttp_nor_prometheus_client() -> None:
    code = (
        "import sys, penstock_runtime.health;"
        "print(sorted({'aiohttp', 'prometheus_client'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
