"""How does a test run a cluster of three brokers on one machine?

Real nats-servers that find each other by the routes that the mesh would write, with or without the
mesh's accounts. Each can be killed, frozen and started again. It does not know what is stored.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

from penstock_mesh.nats_server import Routes, find_server, render_routes
from penstock_mesh.ports import any_free_port

SERVERS = ("a", "b", "c")
START_TIMEOUT_S = 30.0
POLL_S = 0.02
LOOPBACK = "127.0.0.1"


class Cluster:
    """Three brokers below one directory; `urls` and `url` name them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = {name: any_free_port(LOOPBACK) for name in SERVERS}
        self._monitors = {name: any_free_port(LOOPBACK) for name in SERVERS}
        cluster = {name: any_free_port(LOOPBACK) for name in SERVERS}
        routes = Routes(
            hosts=tuple(f"{LOOPBACK}:{port}" for port in cluster.values()), secret="between-us"
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in SERVERS:
            self._config(name).write_text(
                f"server_name: {name}\n"
                f'listen: "{LOOPBACK}:{self._ports[name]}"\n'
                f'http: "{LOOPBACK}:{self._monitors[name]}"\n'
                f'jetstream: {{store_dir: "{directory / name}", sync_interval: always}}\n'
                f'cluster: {{listen: "{LOOPBACK}:{cluster[name]}"\n{render_routes(routes)}}}\n',
                encoding="utf-8",
            )

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"nats://{LOOPBACK}:{port}" for name, port in self._ports.items()}

    @property
    def url(self) -> str:
        return ",".join(self.urls.values())

    def start(self, *names: str) -> None:
        """Returns when the cluster has a leader."""
        for name in names or SERVERS:
            with open(self._directory / f"{name}.log", "ab") as log:
                self.processes[name] = subprocess.Popen(
                    [str(find_server()), "-c", str(self._config(name))], stdout=log, stderr=log
                )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(self._is_healthy(name) for name in self.processes):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not come up: see {self._directory}")
            time.sleep(POLL_S)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        os.kill(self.processes[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        os.kill(self.processes[name].pid, signal.SIGCONT)

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def _config(self, name: str) -> Path:
        return self._directory / f"{name}.conf"

    def _is_healthy(self, name: str) -> bool:
        try:
            with urlopen(f"http://{LOOPBACK}:{self._monitors[name]}/healthz", timeout=2) as answer:
                return json.load(answer).get("status") == "ok"
        except OSError:
            return False
