"""When is the end of a container told that never was seen to begin?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penstock_node_agent.reaper.attempts import SECOND_NS, Attempt
from penstock_node_agent.reaper.clearing import Clearing
from penstock_node_agent.reaper.contained import Contained
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.happenings import Away, Begun, Over
from penstock_node_agent.reaper.records import Records

TOLD = {"name": "c", "podman": ["podman"], "labels": {}, "devices": False, "contact_ns": 0}


class Nothing:
    """Processes of a host on which nothing runs."""

    def children(self) -> list[int]:
        return []

    everything = children

    def left(self, slot: int | None = None) -> bool:
        return False

    sweep = left

    def mark_of(self, pid: int, prefix: str) -> str:
        return ""


class Scripted:
    """Containers to which happens what the test says; `cleared`: what was to be removed."""

    def __init__(self) -> None:
        self.happens: list[Any] = []
        self.cleared: list[str] = []
        self.surveyed = True

    def start(self, key: str, order: dict[str, Any]) -> None:
        return

    def clear(self, key: str, told: dict[str, Any]) -> None:
        self.cleared.append(key)

    def owns(self, pid: int) -> bool:
        return False

    def turn(self) -> list[Any]:
        happens, self.happens = self.happens, []
        return happens


class World:
    def __init__(self, directory: Path) -> None:
        self.now_ns = 1000 * SECOND_NS
        self.containers: Any = Scripted()
        self.records = Records(Disk(), str(directory), "boot", print)
        mains: dict[int, Attempt] = {}
        processes: Any = Nothing()
        self.clearing = Clearing(
            str(directory), records=self.records, mains=mains, disk=Disk(), processes=processes,
            containers=self.containers, boottime_ns=lambda: self.now_ns,
        )  # fmt: skip
        self.contained = Contained(
            self.containers, records=self.records, clearing=self.clearing, mains=mains,
            boottime_ns=lambda: self.now_ns, watch=lambda attempt: None,
            stop=lambda attempt, reason, grace_s: None,
        )  # fmt: skip
        self.attempt = Attempt("k", self.now_ns, "out", "err", "", dict(TOLD))
        self.records.attempts["k"] = self.attempt
        self.contained.start(self.attempt, {})

    def after(self, seconds: int, *happens: Any) -> list[Any]:
        """What is told of it in the turn that is then."""
        self.now_ns += seconds * SECOND_NS
        self.containers.happens += happens
        self.contained.turn()
        self.clearing.turn()
        lines = [json.loads(line) for line in self.records.commit().splitlines()]
        return [line[0] for line in lines]


def test_while_it_may_yet_begin_nothing_is_told_however_long_podman_takes(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.after(300, Over("k", None, None, "lost", "slow", begun=False)) == []
    assert world.after(1) == []
    assert world.containers.cleared == ["k"]
    assert world.after(3600) == []
    assert world.clearing.taken_over, "and no agent waits for that"
    assert world.after(1, Away("k")) == ["ended"]
    assert world.attempt.gone


def test_one_that_ran_is_told_before_it_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.after(1, Begun("k", 77)) == ["began"]
    assert world.after(5, Over("k", 3, None)) == ["ended"]
    assert (world.containers.cleared, world.attempt.gone) == ([], False)
    assert world.after(0) == []
    assert world.containers.cleared == ["k"]
    assert world.after(1, Away("k")) == ["gone"]
