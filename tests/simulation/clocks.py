"""What time does a host believe it is?

The clocks of one simulated host over the world's true time: wall clock with an offset and jumps,
boot time with a drift, begun anew with each boot. It does not know who reads them.
"""

from __future__ import annotations

from tests.simulation.kernel import Kernel

PPM = 1_000_000


class HostClock:
    """The runtime's clock port. `boot_ns`: how long the host had been up when the world began."""

    def __init__(self, kernel: Kernel, *, offset_ns: int = 0, boot_ns: int = 3_600 * 10**9) -> None:
        self._kernel = kernel
        self._drift_ppm = 0
        self._true_ns = kernel.now_ns
        self._boot_ns = boot_ns
        self._offset_ns = offset_ns + kernel.now_ns - boot_ns

    def now_ns(self) -> int:
        return self.boottime_ns() + self._offset_ns

    def boottime_ns(self) -> int:
        passed = self._kernel.now_ns - self._true_ns
        return self._boot_ns + passed + passed * self._drift_ppm // PPM

    monotonic_ns = boottime_ns

    def step_wall(self, by_ns: int) -> None:
        """An operator or NTP sets the wall clock forwards or back."""
        self._offset_ns += by_ns

    def set_drift(self, ppm: int) -> None:
        """From now on both clocks run that much faster than the world."""
        self._boot_ns, self._true_ns = self.boottime_ns(), self._kernel.now_ns
        self._drift_ppm = ppm

    def reboot(self) -> None:
        """Boot time begins at zero; the wall clock goes on."""
        wall_ns = self.now_ns()
        self._boot_ns, self._true_ns = 0, self._kernel.now_ns
        self._offset_ns = wall_ns
