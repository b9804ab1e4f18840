"""How does the rack of the compose files run without containers?

Each container becomes a process with exactly its command line and environment; only paths, host
names and ports are moved to where this machine has room. It checks nothing.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from deploy.compose import BROKERS, ROOT, long_running, penstock_services, services
from penstock_mesh.ports import any_free_port

BIN = Path(sys.executable).parent
LONG_RUNNING = long_running()
STOP_TIMEOUT_S = 20.0


def free_port() -> int:
    """One that no outgoing connection is given before we use it."""
    return any_free_port("127.0.0.1")


class Rack:
    """The containers as processes below one directory; with `cluster`, on three brokers."""

    def __init__(self, root: Path, *, cluster: bool = False) -> None:
        self.root = root
        self.brokers = BROKERS if cluster else BROKERS[:1]
        self._cluster = cluster
        self.etc = root / "etc"
        for folder in ("mesh", "tls"):
            (self.etc / folder).mkdir(parents=True)
        self.ports = {
            (name, port): free_port() for name in self.brokers for port in (4222, 6222, 8222)
        }
        self.http_ports = {name: free_port() for name in penstock_services(cluster=cluster)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.trust = ssl.create_default_context()

    def moved(self, text: str, container: str) -> str:
        """The text with the container's places replaced by this machine's."""
        http_port = str(self.http_ports.get(container, 0))
        if text == " ".join(self.brokers):
            return " ".join(f"localhost:{self.ports[name, 6222]}" for name in self.brokers)
        clients = [(f"{name}:4222", f"localhost:{self.ports[name, 4222]}") for name in self.brokers]
        own = [
            (f"{place}:{port}", f"127.0.0.1:{self.ports[container, port]}")
            for place, port in (("0.0.0.0", 4222), ("0.0.0.0", 6222), ("127.0.0.1", 8222))
            if container in self.brokers
        ]
        for old, new in (
            ("/etc/penstock", str(self.etc)),
            ("/var/lib/penstock/keys", str(self.root / "keys")),
            ("/var/lib/penstock", str(self.root / container)),
            *clients,
            *own,
            ("postgresql://penstock@postgres/penstock", f"sqlite:///{self.root}/ledger.sqlite"),
            ("http://jaeger:4318", f"http://127.0.0.1:{free_port()}"),
        ):
            text = text.replace(old, new)
        return http_port if text in ("9100", "8470") else text

    def environment(self, container: str) -> dict[str, str]:
        given = self._services()[container].get("environment") or {}
        moved = {name: self.moved(str(value), container) for name, value in given.items()}
        path = f"{BIN}:{os.environ['PATH']}"
        home = self.root / container
        home.mkdir(exist_ok=True)
        return {**moved, "PATH": path, "HOME": str(home), "XDG_DATA_HOME": str(home)}

    def initialise(self) -> None:
        """Run the script of the `init` container."""
        places = {
            "TLS_DIR": str(self.etc / "tls"),
            "MESH_DIR": str(self.etc / "mesh"),
            "KEYS_DIR": str(self.root / "keys"),
            "AUTHORITY_DIR": str(self.etc / "authority"),
            "ACCOUNTS_DIR": "accounts",  # below where each broker runs
        }
        environment = self.environment("init") | places
        subprocess.run([ROOT / "deploy/init"], env=environment, check=True, capture_output=True)
        self.trust.load_verify_locations(self.etc / "tls/cert.pem")

    def start_broker(self, name: str = "nats") -> None:
        given = ROOT / ("deploy/nats-cluster.conf" if self._cluster else "deploy/nats.conf")
        config = self.etc / f"{name}.conf"
        config.write_text(self.moved(given.read_text(), name))
        self._spawn(name, [str(BIN / "nats-server"), "--config", str(config)])

    def _services(self) -> dict[str, dict[str, Any]]:
        return services(cluster=self._cluster)

    def start(self, container: str) -> None:
        given = penstock_services(cluster=self._cluster)[container]
        arguments = [self.moved(part, container) for part in given]
        self._spawn(container, [str(BIN / "penstock"), *arguments])

    def make_streams(self) -> None:
        given = penstock_services(cluster=self._cluster)["streams"]
        arguments = [self.moved(part, "streams") for part in given]
        result = self.penstock(*arguments, container="streams")
        if result.returncode:
            raise RuntimeError(result.stderr)

    def penstock(self, *arguments: str, container: str = "cli") -> subprocess.CompletedProcess[str]:
        """Run a command as the container does."""
        return subprocess.run(
            [str(BIN / "penstock"), *arguments],
            env=self.environment(container),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def is_broker_up(self, name: str = "nats") -> bool:
        return self._answers(f"http://127.0.0.1:{self.ports[name, 8222]}/healthz")

    def is_ready(self, container: str) -> bool:
        if (code := self.processes[container].poll()) is not None:
            log = (self.root / f"{container}.log").read_text()
            raise RuntimeError(f"{container} ended with {code}:\n{log[-4000:]}")
        return self._answers(f"https://localhost:{self.http_ports[container]}/readyz")

    def stop(self) -> dict[str, int]:
        """SIGTERM to all, the broker last, as compose does; the exit codes."""
        codes = {}
        others = [name for name in self.processes if name not in self.brokers]
        for group in (others, self.brokers):
            started = [name for name in group if name in self.processes]
            for name in started:
                self.processes[name].send_signal(signal.SIGTERM)
            for name in started:
                try:
                    codes[name] = self.processes[name].wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self.processes[name].kill()
                    codes[name] = self.processes[name].wait()
        return codes

    def _spawn(self, container: str, command: list[str]) -> None:
        with (self.root / f"{container}.log").open("wb") as log:
            self.processes[container] = subprocess.Popen(
                command,
                env=self.environment(container),
                cwd=self.root / container,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answers(self, url: str) -> bool:
        try:
            with urlopen(url, timeout=2, context=self.trust if url[:5] == "https" else None):
                return True
        except (URLError, OSError):
            return False
