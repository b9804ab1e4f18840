"""What does a program see of a GPU that uses CUDA, and nothing but its driver?

Run as a program it prints what it finds as one JSON line, takes memory and works on it until it is
ended. It needs libcuda.so.1 alone, which comes with the NVIDIA driver.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time

MIB = 1 << 20
SUCCESS, OUT_OF_MEMORY = 0, 2
MULTIPROCESSOR_COUNT = 16
"""CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT."""


class Cuda:
    """The first device that this process may see, with a context on it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._must("cuInit", 0)
        count = ctypes.c_int()
        self._must("cuDeviceGetCount", ctypes.byref(count))
        self.devices = count.value
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._must("cuDeviceGet", ctypes.byref(self._device), 0)
        self._must("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._must("cuCtxSetCurrent", self._context)

    def memory_mib(self) -> tuple[int, int]:
        """Free, and all that there is for this process."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._must("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value // MIB, total.value // MIB

    def multiprocessors(self) -> int:
        count = ctypes.c_int()
        kind = MULTIPROCESSOR_COUNT
        self._must("cuDeviceGetAttribute", ctypes.byref(count), kind, self._device)
        return count.value

    def take(self, mib: int) -> ctypes.c_uint64 | None:
        """Memory, None when it is refused for want of it."""
        place = ctypes.c_uint64()
        code = self._library.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(mib * MIB))
        if code == OUT_OF_MEMORY:
            return None
        if code != SUCCESS:
            raise OSError(f"cuMemAlloc says {code}")
        return place

    def work(self, place: ctypes.c_uint64, mib: int) -> None:
        """Write all of it once."""
        self._must("cuMemsetD8_v2", place, ctypes.c_ubyte(1), ctypes.c_size_t(mib * MIB))
        self._must("cuCtxSynchronize")

    def _must(self, call: str, *arguments: object) -> None:
        code = getattr(self._library, call)(*arguments)
        if code != SUCCESS:
            raise OSError(f"{call} says {code}")


def main(mib: int, too_much_mib: int) -> None:
    cuda = Cuda()
    free_mib, total_mib = cuda.memory_mib()
    seen = {
        "pid": os.getpid(),
        "devices": cuda.devices,
        "free_mib": free_mib,
        "total_mib": total_mib,
        "multiprocessors": cuda.multiprocessors(),
        "gets_too_much": cuda.take(too_much_mib) is not None if too_much_mib else None,
    }
    place = cuda.take(mib)
    seen["gets_memory"] = place is not None
    print(json.dumps(seen), flush=True)
    while place is not None:
        cuda.work(place, mib)
        time.sleep(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
