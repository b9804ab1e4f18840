"""How is each of the core's instructions carried out?

One line of effect per instruction: to the reaper, to the slots, to the log shipper. It chooses
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from penstock_bus.port import Bus
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import (
    Clear,
    Extend,
    FindPort,
    Finish,
    Forget,
    Instruction,
    Ready,
    Ship,
    Spawn,
    Stop,
)
from penstock_node_agent.core.state import HELD, READYING, SPAWNING, State
from penstock_node_agent.devices.mps import PIPE_VARIABLE
from penstock_node_agent.disk_watch import DiskWatch
from penstock_node_agent.host import Host
from penstock_node_agent.reaper_link import ReaperLink
from penstock_node_agent.recollection import memo_of
from penstock_node_agent.telling.logs import LogShipper
from penstock_node_agent.telling.spool_room import SpoolRoom
from penstock_node_agent.workplace.container_command import Places
from penstock_node_agent.workplace.environment import job_environment
from penstock_node_agent.workplace.slots import Slots
from penstock_node_agent.workplace.spawn_request import limits_of
from penstock_node_agent.workplace.workbench import SECRETS_VARIABLE, Tools, Workbench

log = logging.getLogger(__name__)


class Taker(Protocol):
    """Who hears of what an effect came to."""

    def take(self, event: events.AnyEvent) -> None: ...


class Effects:
    """Everything the agent can do to its host. `attach` names who hears of it."""

    def __init__(
        self, bus: Bus, state: State, host: Host, *, slots: Slots, link: ReaperLink
    ) -> None:
        self._state, self._host, self._slots = state, host, slots
        self._forgotten: list[str] = []
        self._cleared: list[int] = []
        self._clearing: set[int] = set()
        self._slow: set[asyncio.Task[None]] = set()
        self._taker: Taker | None = None
        self.link = link
        self.shipper = LogShipper(bus, state, host.disk, slots, self._take)
        self.room = SpoolRoom(state, host.disk, self.shipper.tails, self._take, host.spool)
        self._disk_watch = DiskWatch(
            host.disk, slots.spool_dir, host.clock, self._take, host.spool.free_bytes
        )
        self.tools = Tools(bus, state.node, host)
        self.workbench = Workbench(state, host.clock, slots, self.tools, self._take)

    def attach(self, taker: Taker) -> None:
        self._taker = taker
        self.link.attach(taker.take)

    def follow(self, instruction: Instruction) -> None:
        """Carry out one instruction."""
        if isinstance(instruction, Spawn):
            self._spawn(instruction.key)
        elif isinstance(instruction, Forget):
            self._forgotten.append(instruction.key)
        elif isinstance(instruction, Clear):
            self._clear(instruction)
        elif isinstance(instruction, Ship):
            self.shipper.ship(instruction.key)
        elif isinstance(instruction, Stop):
            self.link.send(
                op="stop",
                key=instruction.key,
                reason=instruction.reason,
                grace_s=instruction.grace_s,
                signal=instruction.signal,
            )
        elif isinstance(instruction, Extend):
            self.link.send(op="paid", key=instruction.key, paid_ms=instruction.paid_ms)
        elif isinstance(instruction, FindPort):
            self._find_port(instruction.key)
        elif isinstance(instruction, Ready):
            self.workbench.ready(instruction.key)
        elif isinstance(instruction, Finish):
            self.workbench.finish(instruction.key)

    def look_around(self) -> None:
        """Hold the bounds of the disk, of what waits there and for what is new; and have a reaper
        of another version replaced as soon as it has no work."""
        self.room.hold()
        self._disk_watch.look()
        if self.link.outdated and not self._state.at_work():
            self.link.retire()

    @property
    def may_forget(self) -> bool:
        """Whether the reaper remembers what the journal would keep once it is on the disk, or a
        slot or some room waits for that."""
        return bool(self._forgotten or self._cleared or self.room.wanted)

    def flush(self, *, synced: bool) -> None:
        """Let what was asked of the reaper leave in one write. Once `synced`, ends are forgotten
        and slots used again: no power loss brings back a lease whose slot has another's output."""
        if synced:
            self.room.release()
        if self._forgotten and synced:
            self.link.send(op="forget", keys=self._forgotten)
            self._forgotten = []
        if self._cleared and synced:
            cleared, self._cleared = self._cleared, []
            for slot in cleared:
                self._take(events.SlotCleared(slot=slot))
        self.link.flush()

    def renew(self, at_ns: int) -> None:
        """Leases with a `disconnect_s` hold on from then."""
        self.link.send(op="renew", at_ns=at_ns)
        self.link.flush()

    def cut(self) -> None:
        """Have segments cut where the reaper has told all ends: its answer is the cut. A moment
        chosen here could lie behind an end that is still unread."""
        self.link.send(op="mark")
        self.link.flush()

    def _take(self, event: events.AnyEvent) -> None:
        if self._taker is not None:
            self._taker.take(event)

    def _spawn(self, key: str) -> None:
        lease = self._state.leases.get(key)
        if lease is None or lease.stage != SPAWNING or lease.slot is None:
            return
        order, slot = lease.order, lease.slot
        more = limits_of(order)
        secrets = self.workbench.variables(key)
        if SECRETS_VARIABLE in secrets:
            more["secrets"] = secrets[SECRETS_VARIABLE]
        self._slots.make(slot)
        self.shipper.expect(key, slot)
        work = self._slots.work(slot)
        env = job_environment(
            self._host.environment,
            key,
            order,
            node=self._state.node,
            visible_devices=self._host.driver.visible_devices(order.devices),
            visible_variable=self._host.driver.visible_variable,
        )
        limits = self.tools.limits(order)
        env |= limits | secrets
        request: dict[str, Any] = {"argv": order.command, "env": env}
        if order.container is not None and self._host.podman is not None:
            request |= self._host.podman.request(
                order,
                request["env"],
                base=self._host.environment,
                places=Places(
                    work, secrets.get(SECRETS_VARIABLE, ""), limits.get(PIPE_VARIABLE, "")
                ),
                driver=self._host.driver.name,
            )
        self.link.send(
            op="spawn",
            key=key,
            cwd=work,
            out=self._slots.spool(slot, "stdout"),
            err=self._slots.spool(slot, "stderr"),
            grace_s=order.grace_s,
            limit_s=order.time_limit_s,
            disconnect_s=order.disconnect_s,
            contact_ns=lease.contact_ns,
            memo=memo_of(lease, slot),
            slot=slot,
            **request,
            **more,
        )

    def _find_port(self, key: str) -> None:
        lease = self._state.leases.get(key)
        if lease is None or lease.stage not in (HELD, READYING):
            return
        port = self._host.ports.find(self._state.ports_taken())
        self._take(events.PortFound(at_ns=self._host.clock.boottime_ns(), key=key, port=port))

    def _clear(self, instruction: Clear) -> None:
        slot = instruction.slot
        if slot in self._clearing or slot in self._cleared:
            return
        self.shipper.forget(slot)
        if self._slots.clear(slot, silent=instruction.silent):
            self._cleared.append(slot)
            return
        self._clearing.add(slot)
        task = asyncio.ensure_future(self._clear_slowly(slot, silent=instruction.silent))
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    async def _clear_slowly(self, slot: int, *, silent: bool) -> None:
        try:
            await asyncio.to_thread(self._slots.clear_slowly, slot, silent=silent)
        except OSError as error:
            log.error("slot %d is not used again before a restart: %s", slot, error)
            return
        finally:
            self._clearing.discard(slot)
        self._cleared.append(slot)
