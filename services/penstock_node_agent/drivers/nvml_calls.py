"""What does NVML answer, and what does it mean that it does not?

Every call of the module `pynvml` passes here, and its failures are sorted by what they say: of the
whole driver, of one device, or only of the question. It does not know what is asked for, nor why.
"""

from __future__ import annotations

import importlib
from typing import Any

from penstock_node_agent.drivers.port import DriverSilent

SUCCESS = 0
NVML_SILENT = {1, 9, 12, 18}
"""UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, LIB_RM_VERSION_MISMATCH: true of all."""
NVML_LOST = {15, 28}
"""GPU_IS_LOST, GPU_NOT_FOUND: fallen off the bus, or otherwise out of reach."""
NVML_FAILED = {8, 10, 11, 14, 16, 17, 999}
"""INSUFFICIENT_POWER, TIMEOUT, IRQ_ISSUE, CORRUPTED_INFOROM, RESET_REQUIRED, OPERATING_SYSTEM,
UNKNOWN: something is wrong with the device, if it has answered this question before."""
NVML_TIMEOUT = 10
"""What waiting for an event says when there was none."""


class NvmlUnavailable(Exception):
    """There is no NVML on this host, or it does not initialise."""


class DeviceLost(Exception):
    """The device is not on the bus any more."""


class DeviceFailed(Exception):
    """The device does not answer as it should."""


class DeviceHidden(Exception):
    """The device is there, and this process may not use it."""


class Nvml:
    """The binding, which may be another one in tests. Raises NvmlUnavailable without it."""

    def __init__(self, module: Any = None) -> None:
        if module is None:
            try:
                module = importlib.import_module("pynvml")
            except ImportError as error:
                raise NvmlUnavailable(f"python module pynvml is missing: {error}") from error
        self.module = module
        self._mismatch: Any = getattr(module, "NVMLLibraryMismatchError", ())

    def begin(self) -> None:
        """Raises NvmlUnavailable."""
        try:
            self.module.nvmlInit()
        except self.module.NVMLError as error:
            raise NvmlUnavailable(str(error)) from error

    def end(self) -> None:
        self.ask("nvmlShutdown")

    def ask(self, call: str, *arguments: Any) -> Any:
        """The answer; None when there is none, whatever the cause. Raises DriverSilent."""
        try:
            return self.demand(call, *arguments)
        except (DeviceLost, DeviceFailed):
            return None

    def demand(self, call: str, *arguments: Any) -> Any:
        """The answer; None where the device, the driver or the binding do not know the question.
        Raises DeviceLost, DeviceFailed, DriverSilent."""
        function = getattr(self.module, call, None)
        if function is None:  # an older binding
            return None
        try:
            return function(*arguments)
        except self._mismatch:  # a call of the binding's that is newer than the driver
            return None
        except self.module.NVMLError as error:
            code = getattr(error, "value", None)
            if code in NVML_SILENT:
                raise DriverSilent(str(error)) from error
            if code in NVML_LOST:
                raise DeviceLost(str(error)) from error
            if code in NVML_FAILED:
                raise DeviceFailed(str(error)) from error
            return None
