"""How much memory of each simulated device is held, and by whom?

By the programs that run on it, and for a while by what one has left there: a dead context that its
driver has not cleared. It does not know who looks.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock_node_agent.drivers.port import MemoryUse
from tests.checkers.history import DeviceFault, History, Run
from tests.simulation.kernel import Kernel

MEMORY_HELD = "memory_held"
RUNNING_MIB = 2_000
LEFT_MIB = 1_500


class DeviceMemory:
    """Of one host. `lingers_s`: how long what the next program to end on a device has held there
    stays held, by UUID."""

    def __init__(self, kernel: Kernel, history: History) -> None:
        self.lingers_s: dict[str, float] = {}
        self._kernel, self._history = kernel, history
        self._left: dict[str, DeviceFault] = {}

    def leave(self, run: Run) -> None:
        """A program has ended."""
        for uuid in run.devices:
            seconds = self.lingers_s.pop(uuid, None)
            if seconds is not None and uuid not in self._left:
                self._left[uuid] = fault = DeviceFault(
                    node=run.node,
                    device=uuid,
                    kind=MEMORY_HELD,
                    began_ns=self._kernel.now_ns,
                    holder=(run.job_id, run.attempt, run.rank),
                )
                self._history.device_faults.append(fault)
                loop, context = self._kernel.loop, self._kernel.context
                loop.call_later(seconds, self._free, fault, context=context)

    def clear(self) -> None:
        """The host goes down."""
        for fault in list(self._left.values()):
            self._free(fault)

    def use(self, uuid: str, running: Iterable[tuple[int, Run]]) -> MemoryUse:
        pids = tuple(pid for pid, run in running if uuid in run.devices)
        left_mib = LEFT_MIB if uuid in self._left else 0
        return MemoryUse(used_mib=len(pids) * RUNNING_MIB + left_mib, reserved_mib=500, pids=pids)

    def _free(self, fault: DeviceFault) -> None:
        if self._left.get(fault.device) is fault:
            del self._left[fault.device]
            fault.ended_ns = self._kernel.now_ns
