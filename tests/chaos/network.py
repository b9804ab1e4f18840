"""What are the hosts of a mesh on one machine, and how are they cut off?

Each host is a network namespace with a veth pair to one bridge; the machine itself is on the bridge
too. A host's link can be cut, or its packets to another host lost while the other's still arrive.
It needs root and `ip` (iproute2). It does not know what runs on the hosts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

NOBODY = "02:00:00:00:00:01"
"""A link-layer address that no host has: what is sent there is lost without a word."""
HOSTS_MAX = 200
FIRST_SUBNET = 64
SUBNETS = 128


class NotPossible(Exception):
    """This machine cannot run the test. The sentence says what is missing."""


class Network:
    """A bridge and its hosts. `tag`: so that several runs do not meet."""

    def __init__(self, tag: str) -> None:
        self._bridge = f"pst{tag}"
        self._prefix = f"10.{FIRST_SUBNET + int(tag) % SUBNETS}.0"
        self._tag = tag
        self._numbers: dict[str, int] = {}
        self._opened = False
        self.machine = f"{self._prefix}.1"

    def open(self) -> None:
        """Raises NotPossible."""
        if os.geteuid() != 0:
            raise NotPossible("network namespaces need root")
        if shutil.which("ip") is None:
            raise NotPossible("`ip` is missing (Debian: iproute2)")
        self._opened = True
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self.machine}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        except subprocess.CalledProcessError as error:
            raise NotPossible(f"no bridge could be made: {error.stderr.strip()}") from error

    def add(self, host: str) -> str:
        """A new host; its address. Raises NotPossible."""
        number = 10 + len(self._numbers)
        if number > HOSTS_MAX:
            raise ValueError(f"at most {HOSTS_MAX} hosts")
        self._numbers[host] = number
        space, outer = self.namespace(host), self._outer(host)
        try:
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        except subprocess.CalledProcessError as error:
            raise NotPossible(f"no network namespace: {error.stderr.strip()}") from error
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        return self.address(host)

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def address(self, host: str) -> str:
        return f"{self._prefix}.{self._numbers[host]}"

    def namespace(self, host: str) -> str:
        return f"pst{self._tag}-{host}"

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on that host."""
        return ["ip", "netns", "exec", self.namespace(host), *argv]

    def cut(self, host: str) -> None:
        """Nothing passes, either way."""
        _ip("link", "set", self._outer(host), "down")

    def join(self, host: str) -> None:
        _ip("link", "set", self._outer(host), "up")

    def mute(self, host: str, to: str) -> None:
        """What `host` sends to the address `to` is lost; what comes from there still arrives."""
        _ip(
            "-n", self.namespace(host), "neigh", "replace", to, "lladdr", NOBODY,
            "dev", "eth0", "nud", "permanent",
        )  # fmt: skip

    def unmute(self, host: str, to: str) -> None:
        _ip("-n", self.namespace(host), "neigh", "del", to, "dev", "eth0")

    def pids(self, host: str) -> list[int]:
        """Every process on that host."""
        listed = _ip("netns", "pids", self.namespace(host))
        return [int(word) for word in listed.split()]

    def close(self) -> None:
        """Takes all of it away; what still runs there must be gone before."""
        if not self._opened:
            return
        commands = [("netns", "del", self.namespace(host)) for host in self._numbers]
        for command in (*commands, ("link", "del", self._bridge)):
            subprocess.run(["ip", *command], capture_output=True, check=False)

    def _outer(self, host: str) -> str:
        return f"p{self._tag}v{self._numbers[host]}"


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
    return done.stdout
