"""Which host does a test want NVML to find?

Builds `library.c` and writes what it shall answer into the file that both have mapped: a change
counts from the next call on, in this process and in others. It does not know who asks.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_char, c_int32, c_uint32, c_uint64
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "library.c"
SONAME = "libnvidia-ml.so.1"
GPUS, PARTS, PROCESSES, FAILURES, EVENTS, NAME, CALL = 8, 7, 8, 8, 16, 96, 48
WHOLE = 0xFFFFFFFF
MIB = 1 << 20
NO_COMPILER = "there is no C compiler (gcc or cc): the NVML library of the tests cannot be built"


class Process(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint32),
        ("sm_percent", c_uint32),
        ("memory_bytes", c_uint64),
        ("stamp_us", c_uint64),
    ]


class Failure(ctypes.Structure):
    _fields_ = [("call", c_char * CALL), ("code", c_int32), ("unused", c_int32)]


class _Busy(ctypes.Structure):
    """Something that processes use."""

    processes: int
    process: Any

    def run(self, pid: int, memory_mib: int = 0, *, sm: int = 0, at_us: int = 0) -> None:
        """A process more."""
        self.process[self.processes] = Process(pid, sm, memory_mib * MIB, at_us)
        self.processes += 1


class Part(_Busy):
    _fields_ = [
        ("uuid", c_char * NAME),
        ("name", c_char * NAME),
        *((name, c_uint64) for name in ("total", "used", "reserved")),
        *(
            (name, c_uint32)
            for name in (
                "present",
                "gpu_instance",
                "compute_instance",
                "slices",
                "processes",
                "unused",
            )
        ),
        ("process", Process * PROCESSES),
    ]


class Gpu(_Busy):
    """`failure`: what the named calls say instead of an answer. `links`: a bit per other GPU."""

    _fields_ = [
        ("uuid", c_char * NAME),
        ("name", c_char * NAME),
        ("bus", c_char * 32),
        *(
            (name, c_uint64)
            for name in (
                "total",
                "used",
                "reserved",
                "numa_bits",
                "energy_mj",
                "pcie_sent",
                "pcie_received",
                "ecc_uncorrectable",
                "throttled",
                "links",
            )
        ),
        *(
            (name, c_uint32)
            for name in (
                "present",
                "lost",
                "minor",
                "cc_major",
                "cc_minor",
                "gpu_percent",
                "memory_percent",
                "temperature",
                "memory_temperature",
                "power_mw",
                "sm_mhz",
                "memory_mhz",
                "pcie_replays",
            )
        ),
        ("rows", c_uint32 * 4),
        ("processes", c_uint32),
        ("pcie_counts", c_uint32),
        ("clique", c_uint32),
        ("ecc", c_int32),
        ("mig", c_int32),
        ("failure", Failure * FAILURES),
        ("process", Process * PROCESSES),
        ("part", Part * PARTS),
    ]

    def fail(self, call: str, code: int) -> None:
        """From now on `call` says `code` for this GPU; 0 mends it."""
        free = next(f for f in self.failure if f.call in (call.encode(), b""))
        free.call, free.code = call.encode() if code else b"", code

    def cut(self, *profiles: str) -> None:
        """MIG mode on, with these instances, such as `1g.10gb`, at its places in turn."""
        self.mig = 1
        for place, part in enumerate(self.part):
            part.present = place < len(profiles)
            if not part.present:
                continue
            gib = int(profiles[place].split(".")[-1].removesuffix("gb"))
            part.uuid = b"MIG-%s-%d-%s" % (self.uuid[4:], place, profiles[place].encode())
            part.name = self.name + b" MIG " + profiles[place].encode()
            part.total, part.used, part.reserved = gib * 1024 * MIB, 0, 10 * MIB
            part.gpu_instance, part.compute_instance, part.slices = 7 + place, 0, 1


class Event(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("gpu", "gpu_instance", "compute_instance", "unused")),
        ("type", c_uint64),
        ("data", c_uint64),
    ]


class Script(ctypes.Structure):
    _fields_ = [
        *(
            (name, c_uint32)
            for name in (
                "bytes",
                "inits",
                "ends",
                "calls",
                "latency_us",
                "events_said",
                "events_taken",
                "sets",
                "waits",
            )
        ),
        *((name, c_int32) for name in ("init_code", "wait_code", "cuda", "global_code")),
        ("driver", c_char * 80),
        ("event", Event * EVENTS),
        ("gpu", Gpu * GPUS),
    ]

    def xid(self, gpu: int, code: int, *, gpu_instance: int = WHOLE, kind: int = 8) -> None:
        """The driver logs an error."""
        place = self.events_said % EVENTS
        self.event[place] = Event(gpu, gpu_instance, gpu_instance, 0, kind, code)
        self.events_said += 1


def build(directory: Path) -> Path:
    """The library, in a directory of its own. Raises FileNotFoundError without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError(NO_COMPILER)
    path = directory / SONAME
    # without a SONAME, by which whoever asks for the real one would be given this one again
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *flags, "-o", path, SOURCE, "-lpthread"], check=True)
    return path


def write_script(path: Path, gpus: int) -> Script:
    """A host of H100s, all well, written where the library reads it; it lives as long as what is
    returned."""
    path.write_bytes(bytes(ctypes.sizeof(Script)))
    with path.open("r+b") as file:
        script = Script.from_buffer(mmap.mmap(file.fileno(), 0))
    script.bytes, script.driver, script.cuda = ctypes.sizeof(Script), b"580.159.03", 13000
    for place in range(gpus):
        fit_gpu(script, place)
    return script


def fit_gpu(script: Script, place: int) -> Gpu:
    """An H100 as one was seen: what it says when it is idle."""
    gpu: Gpu = script.gpu[place]
    gpu.uuid = b"GPU-%08d-0000-0000-0000-000000000000" % place
    gpu.name = b"NVIDIA H100 80GB HBM3"
    gpu.bus = b"00000000:%02X:00.0" % (0x1B + place)
    gpu.total, gpu.used, gpu.reserved = 81_559 * MIB, 0, 480 * MIB
    gpu.numa_bits = 1 << (place // 4)
    gpu.energy_mj, gpu.power_mw, gpu.temperature, gpu.memory_temperature = 123_456, 71_500, 31, 41
    gpu.sm_mhz, gpu.memory_mhz = 345, 2619
    gpu.cc_major, gpu.cc_minor, gpu.minor = 9, 0, place
    gpu.ecc, gpu.mig, gpu.present, gpu.pcie_counts, gpu.throttled = 1, 0, 1, 1, 1
    return gpu


@contextmanager
def loaded(library: Path, script: Path) -> Iterator[Any]:
    """The module pynvml on that library in this process, as if it had found it by itself."""
    import pynvml

    shared = ctypes.CDLL(str(library))
    if shared.script_bytes() != ctypes.sizeof(Script):
        raise ValueError(
            f"library.c has {shared.script_bytes()} bytes, library.py {ctypes.sizeof(Script)}"
        )
    if shared.script_use(str(script).encode()):
        raise OSError(f"the library cannot map {script}")
    before = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    pynvml.nvmlLib = shared
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        yield pynvml
    finally:
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml.nvmlLib = before[0]
        pynvml._nvmlGetFunctionPointer_cache.update(before[1])
