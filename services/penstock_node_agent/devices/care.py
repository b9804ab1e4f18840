"""Who looks after the devices of a node?

Wiring: the watch, the checks around leases, the tests of idle devices, and what the agent hears of
them. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence

from penstock_contracts.leases import LeaseOrder
from penstock_contracts.nodes import Device
from penstock_contracts.work import FRACTIONS
from penstock_node_agent.config import Config
from penstock_node_agent.core.attempts import concerned
from penstock_node_agent.core.events import AbilitiesChanged, DeviceErred, DevicesSeen
from penstock_node_agent.core.state import OVER, State
from penstock_node_agent.devices.checks import DeviceChecks, Occupancy
from penstock_node_agent.devices.idle_tests import IdleTests, OperatorTest
from penstock_node_agent.devices.mps import Mps
from penstock_node_agent.devices.trust import take_trusted
from penstock_node_agent.devices.watch import DeviceWatch
from penstock_node_agent.host import Host
from penstock_node_agent.reaper_package import identity

Take = Callable[[DevicesSeen | DeviceErred | AbilitiesChanged], None]
NVML = "nvml"
PIPES = "/run/penstock-mps"

log = logging.getLogger(__name__)


class DeviceCare:
    """`first`: what the driver has found when the agent started. `state` is read only."""

    def __init__(self, config: Config, host: Host, state: State, first: Sequence[Device]) -> None:
        self._host, self._state, self._directory = host, state, str(config.directory)
        self._programs = bool(config.sanity_command)
        before = said_before(state, host) if host.driver.can_check else {}
        self.watch = DeviceWatch(host.driver, host.clock, first, config.sample_s, before)
        self.watch.trust(take_trusted(host.disk, self._directory))
        occupancy = Occupancy(
            host.driver, idle_mib=config.idle_memory_mib, owners_of=self._owners_of
        )
        self._tests = IdleTests(
            self.watch,
            occupancy,
            _operator_test(config, host),
            interval_s=config.sanity_s,
            is_idle=self._is_idle,
            visible=self._visible,
        )
        self.checks = DeviceChecks(occupancy, self.watch, self._tests)
        self._mps = _mps(config, host)

    @property
    def devices(self) -> tuple[Device, ...]:
        """What is to be said of them now."""
        return self.watch.devices

    @property
    def wanted(self) -> bool:
        """Whether devices are looked at before and after each lease."""
        return self._host.driver.can_check or self._programs

    @property
    def offers(self) -> tuple[str, ...]:
        return self._mps.offers if self._mps is not None else ()

    @property
    def facts(self) -> dict[str, str]:
        return self._mps.facts if self._mps is not None else {}

    async def open(self) -> None:
        """Find out what is offered."""
        if self._mps is not None:
            await self._mps.open()

    async def keep(self, take: Take) -> None:
        """Look after them until cancelled."""
        keepers = [
            self.watch.keep(lambda devices: self._see(devices, take), self._note(take)),
            self._tests.keep(),
        ]
        if self._mps is not None:
            keepers.append(self._mps.keep(lambda: self._tell_offers(take)))
        await asyncio.gather(*keepers)

    async def end(self) -> None:
        """No work is left on the node."""
        if self._mps is not None:
            await self._mps.end()

    def limits(self, order: LeaseOrder) -> dict[str, str]:
        """What holds a job to its part of a device."""
        if self._mps is None:
            return {}
        memory_mib = {uuid: device.memory_mib for uuid, device in self._state.devices.items()}
        return self._mps.environment(order, memory_mib.get)

    def _tell_offers(self, take: Take) -> None:
        gained = self.offers
        lost = () if gained else (FRACTIONS,)
        take(AbilitiesChanged(gained=gained, lost=lost, facts=self.facts))

    def _see(self, devices: tuple[Device, ...], take: Take) -> None:
        if trusted := take_trusted(self._host.disk, self._directory):
            self.watch.trust(trusted)
            return
        state, described = self._state, self._state.described
        driver = self._host.driver.name
        same = described is not None and described.driver == driver and state.checks == self.wanted
        if same and state.devices == {device.uuid: device for device in devices}:
            return
        log.warning("the devices have changed", extra={"node": state.node})
        now = self._host.clock.boottime_ns()
        take(DevicesSeen(at_ns=now, devices=devices, driver=driver, checks=self.wanted))

    def _note(self, take: Take) -> Callable[[str, str], None]:
        def note(uuid: str, said: str) -> None:
            if concerned(self._state, uuid):
                take(DeviceErred(uuid=uuid, said=said))

        return note

    def _is_idle(self, uuid: str) -> bool:
        leases = self._state.leases.values()
        return not any(uuid in lease.order.devices and lease.stage != OVER for lease in leases)

    def _owners_of(self, pids: Sequence[int]) -> Mapping[int, str]:
        leases = list(self._state.leases.values())
        keys = {lease.slot: lease.key for lease in leases if lease.slot is not None}
        return self._host.owners_of(pids, lambda slot: keys.get(slot, ""))

    def _visible(self, uuid: str) -> Mapping[str, str]:
        driver = self._host.driver
        return {driver.visible_variable: driver.visible_devices((uuid,))}


def said_before(state: State, host: Host) -> dict[str, Device]:
    """What an agent with the same driver has said of the devices in this boot."""
    described = state.described
    if described is None or state.boot_id != host.boot_id or described.driver != host.driver.name:
        return {}
    return state.devices


def _mps(config: Config, host: Host) -> Mps | None:
    """The agents of a host have one daemon each, in a directory that jobs of any user reach."""
    if config.mps == "off" or (config.mps == "auto" and host.driver.name != NVML):
        return None
    directory = f"{config.directory}/mps"
    if os.geteuid() == 0:
        directory = f"{PIPES}/{identity(config.directory)}"
    return Mps(host.run, host.environment, directory)


def _operator_test(config: Config, host: Host) -> OperatorTest | None:
    if not config.sanity_command:
        return None
    argv = shlex.split(config.sanity_command)
    return OperatorTest(host.run, argv, config.sanity_timeout_s, host.environment)
