"""What becomes of one container, from `podman run` to its removal?

Each life is a generator that yields what it waits for, and is sent what came of it; what others
should know it tells. It does not know how commands are run, nor what time it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, NamedTuple

from penstock_node_agent.reaper.attempts import SECOND_NS
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.happenings import Away, Begun, Detached, Happening, Over, Stray
from penstock_node_agent.reaper.podman import Podman

RUN_NS_MAX = 300 * SECOND_NS
"""Some storage drivers copy the whole image for each container."""
COMMAND_NS_MAX = 30 * SECOND_NS
AGAIN_NS, ASKED_MAX = 2 * SECOND_NS, 5
STATUS_NS = SECOND_NS // 200
MEMORY_NS = SECOND_NS // 20
KILLED = (-9, 137)
STATUS_LOOKS_MAX = 40
"""For conmon to wait for the container; then podman is asked, as with a kernel that tells nobody
but a parent how a process ended."""
PROBE_NS = 5 * SECOND_NS
"""Between looks, which take a child that starts no program, whether devices can be opened."""
PROBE_AGAIN_NS = SECOND_NS
PROBE_NS_MAX = 5 * SECOND_NS
FAILED_PROBES_MAX = 2
NOT_PERMITTED = 1
UNFIT = -1
SURVEY_AGAIN_NS = 60 * SECOND_NS
LEASE_LABEL = "penstock.lease"
MESSAGE_LETTERS_MAX = 500
LOST, OUT_OF_MEMORY = "lost", "out_of_memory"
SPAWN_FAILED, DEVICE_FAILED = "spawn_failed", "device_failed"
HOSTS_FAULTS = ("rlimit", "cgroup", "conmon", "no space left")


class Ask(NamedTuple):
    """A command; an Answer is sent. `start` may raise OSError, ValueError, TypeError."""

    start: Callable[[], int]
    ns_max: int = COMMAND_NS_MAX


class Answer(NamedTuple):
    """`code` None: the host could not start it, or it was ended; UNFIT: nobody could start it."""

    code: int | None
    said: str


class End(NamedTuple):
    """Of the watched process: it is sent whether that has ended. `ns_max` None: wait for it."""

    ns_max: int | None = None


class Pause(NamedTuple):
    ns: int


Wait = Ask | End | Pause
Life = Generator[Wait, Any, None]


class Container:
    """What the lives and whoever runs them know of a container. `pid` 0: it has not begun.
    `watched`: a descriptor of its first process. `ended_ns`: when that was seen to have ended.
    `late`: podman has not answered. `monitor`: its conmon. `place`: a directory for `memory_file`,
    which conmon makes when memory has run out, and for `pid_file` and `monitor_file`, where podman
    writes their numbers.
    """

    __slots__ = (
        "ended_ns",
        "key",
        "late",
        "memory_file",
        "monitor",
        "monitor_file",
        "name",
        "pid",
        "pid_file",
        "place",
        "starting",
        "watched",
    )

    def __init__(self, key: str, name: str, directory: str) -> None:
        self.key, self.name = key, name
        self.place = f"{directory}/{name}"
        self.pid_file, self.monitor_file = f"{self.place}/pid", f"{self.place}/conmon"
        self.memory_file = f"{self.place}/oom"
        self.pid = 0
        self.watched: int | None = None
        self.monitor: int | None = None
        self.ended_ns: int | None = None
        self.starting = self.late = False


class Lives:
    """`argv`: how podman is called. `labels`: all of them stand on what is ours. `tell` hears each
    Happening."""

    def __init__(
        self,
        podman: Podman,
        disk: Disk,
        argv: list[str],
        labels: dict[str, str],
        tell: Callable[[Happening], None],
        complain: Callable[[str], object],
    ) -> None:
        self._podman, self._disk = podman, disk
        self._argv, self._labels = argv, labels
        self._tell, self._complain = tell, complain

    def new(self, one: Container, order: dict[str, Any]) -> Life:
        """From an order to its end."""
        wanted = order["container"]
        argv = [*self._argv, "run", "--detach", "--log-driver=passthrough", "--pull=never"]
        argv += [f"--name={one.name}", f"--pidfile={one.pid_file}"]
        argv += [f"--conmon-pidfile={one.monitor_file}"]

        def start() -> int:
            self._disk.make_directory(one.place)
            for path in (one.pid_file, one.monitor_file, one.memory_file):
                self._disk.remove(path)
            out, err = order["out"], order["err"]
            return self._podman.run(argv, wanted["args"], order["env"], out, err, one.place)

        one.starting = True
        answer: Answer = yield Ask(start, RUN_NS_MAX)
        one.starting = False
        pid = self._disk.read(one.pid_file) if answer.code == 0 else b""
        if not pid:
            said = answer.said or self._last_words(order["err"]) or "podman did not start it"
            reason = why_not_begun(answer.code, said)
            said = said[:MESSAGE_LETTERS_MAX]
            self._tell(Over(one.key, None, None, reason, said, begun=False))
            return
        one.pid, one.monitor = int(pid), int(self._disk.read(one.monitor_file) or 0) or None
        self._tell(Begun(one.key, one.pid))
        yield from self._running(one, bool(wanted.get("devices")))

    def adopted(self, one: Container, *, devices: bool) -> Life:
        """Of one that a reaper began which died."""
        state = yield from self._state(one)
        if state.get("Status") in ("running", "paused", "stopping"):
            one.pid = int(state["Pid"])
            self._tell(Begun(one.key, one.pid))
            yield from self._running(one, devices)
        else:
            self._tell_over(one, state)

    def _running(self, one: Container, devices: bool) -> Life:
        one.watched = self._podman.watch(one.pid)
        if one.watched is None:  # gone already
            yield from self._asked(one)
            return
        cgroups = self._podman.cgroups(one.pid, one.monitor)
        could, failed, after_ns = False, 0, 0
        while not (yield End(after_ns if devices else None)):
            answer = yield Ask(lambda: self._podman.probe(one.pid, cgroups), PROBE_NS_MAX)
            could |= answer.code == 0
            failed = failed + 1 if could and answer.code == NOT_PERMITTED else 0
            after_ns = PROBE_AGAIN_NS if failed else PROBE_NS
            if failed == FAILED_PROBES_MAX:
                self._tell(Detached(one.key))
                devices = False
        memory = self._ran_out_of_memory(one, cgroups)
        for _ in range(STATUS_LOOKS_MAX):
            status = self._podman.status(one.watched)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                if code in KILLED and not memory:  # perhaps conmon is about to say so
                    yield Pause(MEMORY_NS)
                    memory = self._ran_out_of_memory(one, cgroups)
                ended = (code, None) if code >= 0 else (None, -code)
                self._tell(verdict(one, *ended, memory=memory))
                return
            yield Pause(STATUS_NS)
        yield from self._asked(one, memory=memory)

    def _ran_out_of_memory(self, one: Container, cgroups: dict[str, str]) -> bool:
        """As the kernel says while the groups are there, and conmon when they are gone."""
        told = self._disk.read(one.memory_file) is not None
        return told or (bool(cgroups) and self._podman.out_of_memory(cgroups))

    def _asked(self, one: Container, *, memory: bool = False) -> Life:
        """Its first process has ended, and podman knows how."""
        for _ in range(ASKED_MAX):
            state = yield from self._state(one)
            if state.get("Status") not in ("running", "stopping"):
                break
            yield Pause(STATUS_NS)
        self._tell_over(one, state, memory=memory)

    def _state(self, one: Container) -> Generator[Wait, Any, dict[str, Any]]:
        """What podman says of it; nothing when it knows none, or does not answer."""
        argv = [*self._argv, "inspect", "--type=container", "--format={{json .State}}", one.name]
        for _ in range(ASKED_MAX):
            answer: Answer = yield Ask(lambda: self._podman.ask(argv))
            if answer.code == 0:
                found: dict[str, Any] = json.loads(answer.said)
                return found
            if "no such" in answer.said:
                break
            yield Pause(AGAIN_NS)
        self._complain(f"podman says nothing of {one.name}: {answer.said[:MESSAGE_LETTERS_MAX]}\n")
        return {}

    def _tell_over(self, one: Container, state: dict[str, Any], *, memory: bool = False) -> None:
        if state.get("Status") not in ("exited", "stopped") or not state.get("FinishedAt"):
            self._tell(Over(one.key, None, None, LOST, "the container is gone"))
            return
        memory = memory or bool(state.get("OOMKilled")) or self._ran_out_of_memory(one, {})
        over = verdict(one, int(state["ExitCode"]), None, memory=memory)
        if one.ended_ns is None:
            over = over._replace(ago_ns=self._podman.ago_ns(state["FinishedAt"]))
        self._tell(over)

    def removed(self, one: Container) -> Life:
        """Whatever it does, away with it; another's, that has come to the name, stays."""
        argv = [*self._argv, "rm", "--force", "--time=0", "--volumes"]
        argv += [f"--filter=name=^{one.name}$", *self._ours()]
        patience_ns = COMMAND_NS_MAX
        while True:
            answer: Answer = yield Ask(lambda: self._podman.ask(argv), patience_ns)
            if answer.code == 0:
                break
            self._complain(f"cannot remove {one.name}: {answer.said[:MESSAGE_LETTERS_MAX]}\n")
            patience_ns = min(2 * patience_ns, RUN_NS_MAX)
            yield Pause(AGAIN_NS)
        for path in (one.pid_file, one.monitor_file, one.memory_file):
            self._disk.remove(path)
        with suppress(OSError):
            self._disk.remove_directory(one.place)
        self._tell(Away(one.key))

    def survey(self, one: Container) -> Life:
        """What bears all our labels, whoever began it. When podman does not answer at once, nobody
        waits for it any more."""
        argv = [*self._argv, "ps", "--all", "--format=json"]
        argv += self._ours()
        while True:
            answer: Answer = yield Ask(lambda: self._podman.ask(argv))
            if answer.code == 0:
                break
            self._complain(f"cannot list containers: {answer.said[:MESSAGE_LETTERS_MAX]}\n")
            one.late = True
            yield Pause(SURVEY_AGAIN_NS)
        for found in json.loads(answer.said):
            labels = found.get("Labels") or {}
            if LEASE_LABEL in labels and self._labels.items() <= labels.items():
                told = {"name": found["Names"][0], "podman": self._argv, "labels": self._labels}
                self._tell(Stray(labels[LEASE_LABEL], told))

    def _ours(self) -> list[str]:
        return [f"--filter=label={name}={value}" for name, value in self._labels.items()]

    def _last_words(self, path: str) -> str:
        """What podman wrote where the job's errors go."""
        lines = (self._disk.read(path) or b"").decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.startswith("Error:")), "")


def verdict(one: Container, code: int | None, number: int | None, *, memory: bool) -> Over:
    """`memory`: something in it was killed for want of memory. A shell says of a child that it was
    killed by 128 and the signal's number."""
    killed = number == 9 or code == 137
    reason = OUT_OF_MEMORY if memory and killed else ""
    return Over(one.key, code, number, reason, at_ns=one.ended_ns)


def why_not_begun(code: int | None, said: str) -> str:
    """Podman's codes: 127 no such program, 126 it cannot be executed, 125 podman itself failed.
    What is not the job's own fault is tried elsewhere."""
    text = said.lower()
    if "cdi device" in text:
        return DEVICE_FAILED
    if any(word in text for word in HOSTS_FAULTS):
        return LOST
    if code in (UNFIT, 126, 127) or "unable to find user" in text or "workdir" in text:
        return SPAWN_FAILED
    return LOST
