"""How does a simulated host answer who asks for podman?

It has none: nothing is started, and nothing is there to be found.
"""

from __future__ import annotations

import errno

from penstock_node_agent.reaper.podman import Podman


class NoPodman(Podman):
    """A host on which the program is not installed."""

    def __init__(self) -> None:
        self.descriptor = -1

    def run(self, argv: list[str], args: list[str], env: dict[str, str], out: str, err: str) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", argv[0])

    def ask(self, argv: list[str]) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", argv[0])

    def end_others(self, pids: list[int]) -> None:
        return

    def ended(self) -> list[int]:
        return []
