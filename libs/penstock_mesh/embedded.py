"""How does a whole mesh on one machine come up and go down?

Broker, streams, services, agents, in that order, until every node can take work; and back. It does
not know how to keep a process running (supervisor) nor what their command lines are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import BusRefusal, Outage
from penstock_contracts.message_type import ADMIN
from penstock_mesh import command_lines, nats_server
from penstock_mesh.child import ChildSpec
from penstock_mesh.command_lines import Addresses
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.fleet import Node, plan_fleet
from penstock_mesh.preparation import (
    MeshOptions,
    choose_addresses,
    make_storage,
    reachable_host,
    write_files,
)
from penstock_mesh.private_file import make_private_directory
from penstock_mesh.process_identity import wait_until_dead
from penstock_mesh.readiness import wait_until_schedulable
from penstock_mesh.supervisor import Supervisor, stop_reapers

SERVER_START_S = 20.0
SERVER_CONNECT_S = 1.0
SERVER_POLL_S = 0.02
ENDS_BEFORE_GIVING_UP = 5
"""A child that ends this often while the mesh starts never will start."""
LOG_TAIL_BYTES = 2_000
LEFTOVER_S = 12.0
"""Processes of a killed `up` end by themselves within 10 s."""
AGENTS_STOPPED_S = 10.5
REAPERS_STOPPED_S = 11.7
SERVICES_STOPPED_S = 13.2
SERVER_STOPPED_S = 14.2
"""Instants after the request to stop by which each group is gone, by SIGKILL if need be."""
GROUP_S_MIN = 0.5


class StartFailed(Exception):
    """The mesh cannot start. The sentence says what failed, with the end of its log."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh of which every node can take work. `certificate`: the one that it has made itself."""

    nats_url: str
    http_url: str
    creds: str
    http_token_file: str
    data: str
    nodes: tuple[str, ...]
    gpus: int
    health_urls: dict[str, str]
    certificate: str = ""

    @property
    def sentence(self) -> str:
        return (
            f"{self.nats_url} {self.http_url} creds={self.creds} "
            f"nodes={len(self.nodes)} gpus={self.gpus}"
        )


class EmbeddedMesh:
    """One mesh of processes below this one. `start` once, then `stop` once, whatever happened."""

    def __init__(self, options: MeshOptions, report: Callable[[str], None]) -> None:
        self._options = options
        self._report = report
        self._directory = DataDirectory(options.data.absolute())
        self._supervisor = Supervisor(report, self._on_change)
        self._fleet: tuple[Node, ...] = ()
        self._failed: asyncio.Future[None] | None = None
        self._lock: int | None = None
        self._bus: NatsBus | None = None

    async def start(self) -> Running:
        """Returns when every node can take work. Raises StartFailed, DirectoryInUse, PortsError,
        FleetError or ServerNotFound; then, too, `stop` has to be called.
        """
        self._failed = asyncio.get_running_loop().create_future()
        starting = asyncio.ensure_future(self._start())
        try:
            either: set[asyncio.Future[Any]] = {starting, self._failed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                self._failed.result()
            return await starting
        finally:
            starting.cancel()
            if not self._failed.cancel():
                self._failed.exception()
            self._failed = None

    async def stop(self) -> None:
        """Ends agents with their work, reapers, services and broker, in this order, within 15 s."""
        started_s = asyncio.get_running_loop().time()
        if self._bus is not None:
            await self._bus.close()

        def left_s(until_s: float) -> float:
            passed_s = asyncio.get_running_loop().time() - started_s
            return max(until_s - passed_s, GROUP_S_MIN)

        names = self._supervisor.names
        agents = [name for name in map(command_lines.agent_name, self._fleet) if name in names]
        orphaned = self._supervisor.orphaned(agents)
        await asyncio.gather(
            self._supervisor.stop(agents, within_s=left_s(AGENTS_STOPPED_S)),
            self._supervisor.stop_reapers(orphaned, within_s=left_s(AGENTS_STOPPED_S)),
        )
        await self._supervisor.stop_reapers(agents, within_s=left_s(REAPERS_STOPPED_S))
        await self._supervisor.stop(command_lines.SERVICES, within_s=left_s(SERVICES_STOPPED_S))
        await self._supervisor.stop([command_lines.SERVER], within_s=left_s(SERVER_STOPPED_S))
        if self._lock is not None:
            os.close(self._lock)

    async def _start(self) -> Running:
        options, directory = self._options, self._directory
        self._fleet = plan_fleet(
            options.simulate, local_node=options.local_node, directory=directory.nodes
        )
        binary = nats_server.find_server()
        self._lock = directory.acquire()
        await self._end_leftovers()
        addresses = choose_addresses(options, directory)
        write_files(options, addresses, directory, self._fleet)
        self._report(f"starting the broker on {addresses.nats_url}")
        for name, value in addresses.environment.items():
            self._report(f"commands that connect to it need {name}={value}")
        self._supervisor.start(command_lines.server_child(binary, directory))
        self._bus = await self._connect(addresses)
        await make_storage(self._bus)
        self._report(f"starting {len(command_lines.SERVICES)} services, {len(self._fleet)} nodes")
        for spec in self._children(addresses):
            make_private_directory(spec.directory)
            self._supervisor.start(spec)
        gateway = (reachable_host(options.bind), addresses.http_port)
        gpus = await wait_until_schedulable(self._bus, self._fleet, gateway, self._report)
        await self._bus.close()
        self._bus = None
        return _running(addresses, directory, self._fleet, gpus)

    def _children(self, addresses: Addresses) -> list[ChildSpec]:
        options = self._options
        more = {
            "scheduler": command_lines.scheduler_flags(options.policy, options.workload),
        }
        services = [
            command_lines.service_child(name, addresses, self._directory, more.get(name, ()))
            for name in command_lines.SERVICES
        ]
        agents = [
            command_lines.agent_child(node, addresses, self._directory) for node in self._fleet
        ]
        return services + agents

    async def _end_leftovers(self) -> None:
        """Waits for what a killed `up` has left in this directory, then ends it."""
        left = self._directory.leftovers()
        if left:
            self._report("waiting for processes of an earlier mesh to end: " + ", ".join(left))
        late = await wait_until_dead(left.values(), within_s=LEFTOVER_S)
        for process in late:
            process.send(signal.SIGKILL)
        await wait_until_dead(late, within_s=GROUP_S_MIN)
        beside = self._directory.reapers_beside({node.name for node in self._fleet})
        await stop_reapers(beside, within_s=LEFTOVER_S, report=self._report)

    async def _connect(self, addresses: Addresses) -> NatsBus:
        """The first connection that the starting broker accepts."""
        certificate = addresses.tls_certificate
        trusted = None if certificate is None else ssl.create_default_context(cafile=certificate)
        deadline_s = asyncio.get_running_loop().time() + SERVER_START_S
        while True:
            try:
                return await connect(
                    addresses.nats_url,
                    name="penstock up",
                    credentials=str(self._directory.creds(ADMIN)),
                    tls=trusted,
                    connect_timeout_s=SERVER_CONNECT_S,
                )
            except Outage as error:
                if asyncio.get_running_loop().time() > deadline_s:
                    raise StartFailed(
                        f"the broker does not answer on {addresses.nats_url}: {error}"
                        f"{self._log_tail(command_lines.SERVER)}"
                    ) from error
            except BusRefusal as error:
                raise StartFailed(
                    f"the broker on {addresses.nats_url} refuses its own mesh: {error}"
                ) from error
            await asyncio.sleep(SERVER_POLL_S)

    def _on_change(self) -> None:
        """Notes what runs, for the next `up`; gives up on a start that cannot succeed."""
        try:
            self._directory.record_processes(self._supervisor.identities())
        except OSError as error:
            self._report(f"cannot note which processes run: {error}")
        if self._failed is None or self._failed.done():
            return
        for name in self._supervisor.names:
            if self._supervisor.ends(name) >= ENDS_BEFORE_GIVING_UP:
                self._failed.set_exception(
                    StartFailed(f"{name} ends whenever it is started{self._log_tail(name)}")
                )
                return

    def _log_tail(self, child: str) -> str:
        path = self._directory.log(child)
        try:
            text = path.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
        except OSError:
            return ""
        return f"; the end of {path}:\n{text}"


def _running(
    addresses: Addresses, directory: DataDirectory, fleet: tuple[Node, ...], gpus: int
) -> Running:
    own = addresses.tls_certificate == directory.certificate
    return Running(
        nats_url=addresses.nats_url,
        http_url=addresses.http_url,
        creds=str(directory.client_creds),
        http_token_file=str(directory.http_token),
        data=str(directory.root),
        nodes=tuple(node.name for node in fleet),
        gpus=gpus,
        health_urls={
            name: f"http://127.0.0.1:{port}" for name, port in addresses.health_ports.items()
        },
        certificate=str(directory.certificate) if own else "",
    )
