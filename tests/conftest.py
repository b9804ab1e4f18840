"""What may every test lean on?

Waiting for a condition, a real broker, and connections to it that are closed afterwards. It does
not know any service; builders of messages stand with the tests that need them.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from metering.absent import ABSENT
from penstock_mesh.ports import any_free_port

POLL_S = 0.005
SERVER_START_TIMEOUT_S = 10.0


def pytest_configure() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would whatever tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not look through it again."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A run that could not try half of what it should says so where one looks."""
    if any(ABSENT in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.section("PostgreSQL")
        terminalreporter.write_line(ABSENT)


class Eventually(Protocol):
    async def __call__(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any: ...


@pytest.fixture
def eventually() -> Eventually:
    """`await eventually(lambda: cond, timeout_s=10)` polls until the condition (which may be a
    coroutine function) is truthy and returns its value."""

    async def wait(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"condition not met within {timeout_s} s; last value {value!r}"
                )
            await asyncio.sleep(POLL_S)

    return wait


class NatsServer:
    """A real nats-server with JetStream in its own directory; it keeps its port across restarts."""

    def __init__(self, directory: Path, extra_config: str = "", sync_interval: str = "2m") -> None:
        self._directory = directory
        self._sync_interval = sync_interval
        self._config = directory / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = any_free_port("127.0.0.1")  # no ephemeral one: it is needed again at a restart
        self._write_config(extra_config)

    def _write_config(self, extra_config: str) -> None:
        self._config.write_text(
            f'jetstream {{ store_dir: "{self._directory / "store"}",'
            f" sync_interval: {self._sync_interval} }}\n{extra_config}\n",
            encoding="utf-8",
        )

    def reconfigure(self, extra_config: str) -> None:
        """Replaces the extra configuration and has the running server read it again."""
        self._write_config(extra_config)
        os.kill(self.pid, signal.SIGHUP)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        binary = Path(sys.executable).parent / "nats-server"
        with open(self._directory / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    str(binary), "-c", str(self._config), "-a", "127.0.0.1", "-p", str(self.port),
                    "--ports_file_dir", str(self._directory),
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        ports_file = self._directory / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + SERVER_START_TIMEOUT_S
        while not (ports_file.exists() and ports_file.read_text(encoding="utf-8").endswith("}")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "nats-server did not start: "
                    + (self._directory / "server.log").read_text(encoding="utf-8")[-2000:]
                )
            time.sleep(POLL_S)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends the server at once (as `kill -9`) and waits until it is gone."""
        if self._process is not None:
            os.kill(self._process.pid, how)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stops the process without ending it; returns when its last thread stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + SERVER_START_TIMEOUT_S
        while time.monotonic() < deadline:
            stats = [task.read_text() for task in Path(f"/proc/{self.pid}/task").glob("*/stat")]
            if all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats):
                return
            time.sleep(POLL_S)
        raise RuntimeError("nats-server does not stop")

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


NatsServerFactory = Callable[..., NatsServer]


@pytest.fixture
def nats_server_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServerFactory]:
    """`nats_server_factory(extra_config="...")` gives a running broker, killed after the test."""
    servers: list[NatsServer] = []

    def make(extra_config: str = "") -> NatsServer:
        server = NatsServer(tmp_path_factory.mktemp("nats"), extra_config)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def nats_server(nats_server_factory: NatsServerFactory) -> NatsServer:
    """A fresh broker on 127.0.0.1, JetStream, no authentication: `.url`, `.kill()`, `.start()`."""
    return nats_server_factory()


BusFactory = Callable[..., Awaitable[Any]]


@pytest.fixture
async def bus_factory(nats_server: NatsServer) -> AsyncIterator[BusFactory]:
    """`await bus_factory(name="a", ...)` connects a NatsBus to `nats_server`; closed afterwards."""
    from penstock_bus.nats import connect

    buses: list[Any] = []

    async def make(name: str = "test", **options: Any) -> Any:
        bus = await connect(nats_server.url, name=name, **options)
        buses.append(bus)
        return bus

    yield make
    for bus in buses:
        await bus.close()


@pytest.fixture
async def bus(bus_factory: BusFactory) -> Any:
    return await bus_factory()
