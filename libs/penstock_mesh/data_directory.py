"""Where does an embedded mesh keep its things, and who holds them?

The layout of one data directory, the lock that one `penstock up` holds on it, and the list of its
processes, so that the next `up` can wait for those that a killed one left behind.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from penstock_mesh.private_file import make_private_directory, write_private
from penstock_mesh.process_identity import ProcessIdentity, read_pid_file

REAPER_PID_FILE = "reaper.pid"
"""Where an agent's reaper says which process it is, in the node's directory."""


class DirectoryInUse(Exception):
    """Another `penstock up` holds the directory. The sentence names its pid."""


class DataDirectory:
    """The files of one mesh, by name. Nothing outside of this class knows their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "lock"
        self.processes = root / "processes.json"
        self.ports = root / "ports.json"
        self.keys = root / "keys.json"
        self.client_creds = root / "client.creds"
        self.http_token = root / "http.token"
        self.nats_config = root / "nats-server.conf"
        self.operator_config = root / "operator.conf"
        self.cluster_config = root / "cluster.conf"
        self.route_secret = root / "route.secret"
        self.nats_store = root / "jetstream"
        self.accounts = root / "accounts"
        self.authority = root / "authority"
        self.certificate = root / "tls" / "cert.pem"
        self.certificate_key = root / "tls" / "key.pem"
        self.nodes = root / "nodes"
        self.depot_key = root / "gateway" / "secrets.key"

    def creds(self, role: str) -> Path:
        return self.root / "creds" / f"{role}.creds"

    def log(self, child: str) -> Path:
        return self.root / "logs" / f"{child}.log"

    def service(self, name: str) -> Path:
        """What the service itself keeps."""
        return self.root / name

    def secrets(self) -> list[Path]:
        """Keys, credentials and tokens that are there: with them, this mesh's agents and users are
        known to it again, and who was put out stays out."""
        named = (self.keys, self.client_creds, self.http_token, self.route_secret, self.depot_key)
        more = (self.cluster_config, self.operator_config)
        kept = [path for path in (*named, *more) if path.exists()]
        globs = ("creds/*", "authority/*", "accounts/*.jwt", "tls/*.pem", "nodes/*/*.creds")
        return [*kept, *(path for glob in globs for path in sorted(self.root.glob(glob)))]

    def acquire(self) -> int:
        """Locks the directory until the returned descriptor is closed or this process ends.

        Children do not inherit the lock. Raises DirectoryInUse.
        """
        make_private_directory(self.root)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DirectoryInUse(
                f"{self.root} is in use by another penstock up"
                f"{f' (pid {holder})' if holder else ''}; stop it or choose another --data"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        return descriptor

    def record_processes(self, processes: Mapping[str, ProcessIdentity]) -> None:
        write_private(self.processes, msgspec.json.encode(processes), durable=False)

    def leftovers(self) -> dict[str, ProcessIdentity]:
        """Recorded processes of an earlier `up` that still run."""
        try:
            recorded = msgspec.json.decode(
                self.processes.read_bytes(), type=dict[str, ProcessIdentity]
            )
        except (FileNotFoundError, msgspec.DecodeError):
            return {}
        return {name: process for name, process in recorded.items() if process.alive}

    def reapers_beside(self, nodes: Collection[str]) -> list[ProcessIdentity]:
        """Live reapers of nodes other than these: of a fleet that an earlier `up` ran."""
        found = []
        for pid_file in self.nodes.glob(f"*/{REAPER_PID_FILE}"):
            reaper = None if pid_file.parent.name in nodes else read_pid_file(pid_file)
            if reaper is not None and reaper.alive:
                found.append(reaper)
        return found
