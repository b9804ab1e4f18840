"""What does the mesh under fire look like?

Three brokers as one cluster, two of each service that can stand by, a gateway and the agents, each
on a host of its own (network.py), with every way from a host to a broker through the fault proxy.
It starts and stops them; it does not hurt them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from chaos.disks import Disk
from chaos.network import Network
from chaos.processes import Process, Warden
from chaos.proxy import Link
from e2e import processes as e2e_processes
from penstock_bus.nats import NatsBus, connect
from penstock_bus.port import BusRefusal, Outage
from penstock_mesh import nats_server
from penstock_mesh.credentials import Trust
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.initialisation import initialise
from penstock_mesh.preparation import make_storage

BROKERS = ("n1", "n2", "n3")
CONTROLS = ("c1", "c2")
STANDING_BY = ("scheduler", "inventory", "metering")
GATEWAY_HOST = "g1"
USER_HOST = "u1"
BROKER_PORT = 4222
START_TIMEOUT_S = 60.0
BROKER_DISK_MIB = 512
AGENT_DISK_MIB = 48
LEDGER_DISK_MIB = 192
REPLICAS = 3
MARK = "PENSTOCK_CHAOS_MARK"
PENSTOCK = Path(sys.executable).parent / "penstock"


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How many hosts work, with how many devices each."""

    nodes: int = 4
    devices: int = 4


class ChaosMesh:
    def __init__(self, root: Path, size: Size) -> None:
        self.root = root
        self.size = size
        self.tag = str(os.getpid() % 10_000)
        self.network = Network(self.tag)
        self.warden = Warden()
        self.disks: dict[str, Disk] = {}
        self.links: dict[tuple[str, str], Link] = {}
        """(host, broker) → the way between."""
        self.directory = DataDirectory(root / "keys")
        self.nodes = tuple(f"w{number}" for number in range(1, size.nodes + 1))
        self._tasks: list[asyncio.Task[None]] = []
        self._environment = _environment(self.tag)

    # -- life ----------------------------------------------------------------------------------
    async def open(self) -> None:
        """Returns when every node can get work. Raises NotPossible."""
        self.network.open()
        hosts = (*BROKERS, *CONTROLS, GATEWAY_HOST, *self.nodes)
        for host in hosts:
            self.network.add(host)
        initialise(self.directory.root, self.nodes, int(time.time()))
        for broker in BROKERS:
            self._start_broker(broker)
        for host in (*CONTROLS, GATEWAY_HOST, USER_HOST, *self.nodes):
            for broker in BROKERS:
                link = Link((self.network.address(broker), BROKER_PORT))
                await link.open(self.network.machine)
                self.links[host, broker] = link
        await self._make_streams()
        self._start_services()
        for node in self.nodes:
            self._start_agent(node)
        self._tasks.append(asyncio.ensure_future(self.warden.run()))

    async def close(self) -> None:
        """Ends everything: agents with their work first, then services, brokers last."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for prefixes in (("agent-",), ("gateway", *STANDING_BY), ("broker-",)):
            await asyncio.to_thread(self.warden.stop, *prefixes)
        for link in self.links.values():
            await link.close()
        for pid in e2e_processes.marked(MARK, self.tag, str(self.root)):
            _kill(pid)
        for host in self.network.hosts:
            for pid in self.network.pids(host):
                _kill(pid)
        self.network.close()
        for disk in self.disks.values():
            disk.close()

    # -- where things are ------------------------------------------------------------------------
    def url(self, host: str) -> str:
        """The brokers as a host reaches them: through the proxy."""
        machine = self.network.machine
        ports = (self.links[host, broker].port for broker in BROKERS)
        return ",".join(f"nats://{machine}:{port}" for port in ports)

    @property
    def direct_url(self) -> str:
        """The brokers as nothing can disturb it."""
        return ",".join(f"nats://{self.network.address(b)}:{BROKER_PORT}" for b in BROKERS)

    def links_of(self, host: str) -> list[Link]:
        return [link for (of, _), link in self.links.items() if of == host]

    @property
    def ledger(self) -> Path:
        return self.root / "ledger" / "ledger.sqlite"

    def reaper_pid(self, node: str) -> int | None:
        try:
            text = (self.disks[node].path / "reaper.pid").read_text("ascii")
            return int(text.split()[0])
        except (OSError, ValueError, IndexError):
            return None

    async def admin(self) -> NatsBus:
        return await connect(
            self.direct_url, name="chaos", credentials=str(self.directory.creds("admin"))
        )

    # -- processes -------------------------------------------------------------------------------
    def _start_broker(self, broker: str) -> None:
        disk = self._disk(broker, BROKER_DISK_MIB, loop=True)
        trust = Trust.load_or_create(self.directory.keys)
        now_s = int(time.time())
        hosts = tuple(f"{self.network.address(b)}:{nats_server.CLUSTER_PORT}" for b in BROKERS)
        settings = nats_server.ServerSettings(
            name=broker,
            bind=self.network.address(broker),
            port=BROKER_PORT,
            monitor_port=0,
            store_directory=disk.path / "jetstream",
            sync_interval="always",
            operator_jwt=trust.operator_jwt(now_s),
            system_account=trust.system_account,
            account_jwts=trust.account_jwts(now_s),
            routes=nats_server.Routes(hosts=hosts, secret=self.tag),
        )
        config = self.root / f"{broker}.conf"
        monitor = f'\nhttp: "{self.network.address(broker)}:8222"\n'
        config.write_text(nats_server.render_config(settings) + monitor, encoding="utf-8")
        argv = (str(nats_server.find_server()), "--config", str(config))
        self._add(f"broker-{broker}", broker, argv, {"GOMAXPROCS": "1"})

    async def _make_streams(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                bus = await self.admin()
                try:
                    await make_storage(bus, REPLICAS)
                    return
                finally:
                    await bus.close()
            except (Outage, BusRefusal):
                if time.monotonic() > deadline:
                    raise

    def _start_services(self) -> None:
        self._disk("ledger", LEDGER_DISK_MIB, loop=False)
        for host in CONTROLS:
            for service in STANDING_BY:
                flags = self._service_flags(service, f"{service}-{host}", host)
                if service == "metering":
                    flags += ["--database", f"sqlite:///{self.ledger}"]
                argv = [str(PENSTOCK), service, *flags]
                # Both writers of one SQLite file are on one machine, by its nature.
                self._add(f"{service}-{host}", host, argv, {}, apart=service != "metering")
        flags = self._service_flags("gateway", "gateway", GATEWAY_HOST)
        flags += ["--http-port", "8470", "--token-file", str(self.directory.http_token)]
        self._add("gateway", GATEWAY_HOST, [str(PENSTOCK), "gateway", *flags], {})

    def _service_flags(self, service: str, name: str, host: str) -> list[str]:
        return [
            *("--nats-url", self.url(host)),
            *("--creds", str(self.directory.creds(service))),
            *("--data-dir", str(self.root / name)),
        ]

    def _start_agent(self, node: str) -> None:
        disk = self._disk(node, AGENT_DISK_MIB, loop=False)
        argv = [
            *(str(PENSTOCK), "agent"),
            *("--node", node),
            *("--nats-url", self.url(node)),
            *("--creds", str(self.directory.nodes / node / "node.creds")),
            *("--state-dir", str(disk.path)),
            *("--driver", f"simulated:{self.size.devices}xH100"),
            *("--advertise-address", self.network.address(node)),
        ]
        self._add(f"agent-{node}", node, argv, {})

    def _add(
        self, name: str, host: str, argv: object, env: dict[str, str], *, apart: bool = False
    ) -> None:
        process = Process(
            name,
            host,
            tuple(argv),  # type: ignore[arg-type]
            network=self.network,
            log=self.root / f"{name}.log",
            env={**self._environment, **env},
            apart=apart,
        )
        self.warden.add(process)

    def _disk(self, name: str, size_mib: int, *, loop: bool) -> Disk:
        disk = Disk(self.root / name, size_mib, loop=loop)
        self.disks[name] = disk
        return disk


def _environment(tag: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "OTEL_"))}
    return {**kept, MARK: tag}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
