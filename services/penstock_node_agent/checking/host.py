"""Are system, clock, disk, ports and broker as a node needs them?

It does not know what is done with the answers.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import statistics
import sys
import time
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock_bus.join_token import NoToken, decode
from penstock_node_agent.checking.findings import FAIL, OK, WARN, Finding
from penstock_node_agent.config import Config
from penstock_node_agent.joining.membership import MembershipFiles, MembershipUnreadable
from penstock_node_agent.ports import can_bind, parse_port_range
from penstock_node_agent.programs import run
from penstock_node_agent.reaper.disk import Disk

KERNEL_MIN = (5, 3)
"""pidfd_open."""
KERNEL_TELLS_STATUS = (6, 15)
GIB = 1 << 30
FREE_FAIL_BYTES, FREE_WARN_BYTES = GIB, 10 * GIB
SYNCS = 20
SYNC_WARN_MS, SYNC_FAIL_MS = 20.0, 500.0
STA_UNSYNC = 0x40
"""linux/timex.h."""
CLOCK_WARN_S = 1.0
CONNECT_S = 5.0
PROBE_S = 20.0
NATS_PORT = 4222
DEFAULT_URL = Config().nats_url
PORTS_TRIED = 8
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


async def look_at_system(config: Config) -> list[Finding]:
    release = os.uname().release
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2] if n.isdigit())
    user = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    found = f"Linux {release}, {os.cpu_count()} cores, as {user}"
    if numbers < KERNEL_MIN:
        return [Finding("system", FAIL, found, "a kernel of 5.3 or newer is needed")]
    if os.geteuid() != 0:
        fix = "run the agent as root for jobs under users of their own and limits of memory"
        return [Finding("system", WARN, found, fix)]
    return [Finding("system", OK, found)]


async def look_at_control_groups(config: Config) -> list[Finding]:
    """By a program that tries it and leaves, for a process cannot try it and stay where it is."""
    argv = (sys.executable, "-m", "penstock_node_agent.checking.groups", f"check-{os.getpid()}")
    ran = await run(argv, {"PATH": os.environ.get("PATH", os.defpath)}, PROBE_S)
    if ran.code != 0:
        fix = "mount a cgroup file system, or see that the agent may write there"
        return [Finding("control groups", WARN, f"cannot be tried: {ran.last_line}", fix)]
    told: dict[str, Any] = msgspec.json.decode(ran.last_line)
    offers, how = told["offers"], told["facts"].get("cgroups", "")
    missing = [word for word in ("memory_limit", "pids_limit") if word not in offers]
    if missing:
        fix = (
            "start the agent by its systemd unit (Delegate=yes) or as root, so that it may make "
            "control groups; jobs that want these limits go elsewhere"
        )
        found = f"{how}; no {' and no '.join(word.replace('_', ' ') for word in missing)}"
        return [Finding("control groups", WARN, found, fix)]
    return [Finding("control groups", OK, how)]


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2); what is behind `status` is not looked at."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


async def look_at_clock(config: Config) -> list[Finding]:
    """Whether somebody keeps it right: no lease hangs on it, but people read its times."""
    timex = _Timex()
    ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    fix = "run chrony or systemd-timesyncd"
    if timex.status & STA_UNSYNC:
        return [Finding("clock", WARN, "nothing keeps it synchronised", fix)]
    error_s = timex.maxerror / 1e6
    found = f"synchronised, wrong by at most {error_s * 1000:.0f} ms"
    return [graded("clock", found, -error_s, -CLOCK_WARN_S, float("-inf"), fix)]


async def look_at_disk(config: Config) -> list[Finding]:
    return await asyncio.to_thread(disk_of, config.directory)


def disk_of(directory: Path) -> list[Finding]:
    """Room, and how long it takes until something is safe. Blocking."""
    there = next(one for one in (directory, *directory.parents) if one.exists())
    free = os.statvfs(there)
    free_bytes = free.f_bavail * free.f_frsize
    found = f"{free_bytes / GIB:.0f} GiB free for {directory}"
    fix = "make room, or give the agent a --state-dir elsewhere"
    findings = [graded("disk", found, free_bytes, FREE_WARN_BYTES, FREE_FAIL_BYTES, fix)]
    path = there / f".penstock-check-{uuid.uuid4().hex}"
    try:
        times_ms = _sync_times_ms(path)
    except OSError as error:
        fix = f"let the agent's user write to {there}, or give another --state-dir"
        return [*findings, Finding("disk writes", FAIL, f"{there}: {error.strerror}", fix)]
    finally:
        with suppress(OSError):
            path.unlink()
    middle, most = statistics.median(times_ms), max(times_ms)
    found = f"{middle:.1f} ms until a write is safe, {most:.1f} ms at most"
    fix = "put the agent's --state-dir on a faster disk: every end of a job waits for that"
    return [*findings, graded("disk writes", found, -middle, -SYNC_WARN_MS, -SYNC_FAIL_MS, fix)]


def graded(name: str, found: str, value: float, warn: float, fail: float, fix: str) -> Finding:
    """By how little it is: below `warn`, below `fail`."""
    if value >= warn:
        return Finding(name, OK, found)
    return Finding(name, WARN if value >= fail else FAIL, found, fix)


def _sync_times_ms(path: Path) -> list[float]:
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return times


async def look_at_ports(config: Config) -> list[Finding]:
    """Where ranks of a gang meet."""
    try:
        first, last = parse_port_range(config.port_range)
    except ValueError as error:
        return [Finding("ports", FAIL, str(error), "correct --port-range")]
    found = f"{first}-{last} at {config.advertise_address}"
    tried = range(first, min(last + 1, first + PORTS_TRIED))
    if not any(map(partial(can_bind, config.advertise_address), tried)):
        fix = "give --advertise-address an address of this host, or another --port-range"
        return [Finding("ports", FAIL, f"none of {found} can be bound", fix)]
    low, high = _handed_out()
    if first <= high and low <= last:
        fix = f"give a --port-range outside {low}-{high}, which the system hands out itself"
        return [Finding("ports", WARN, found, fix)]
    if config.advertise_address.startswith("127."):
        fix = "give --advertise-address, or ranks on other hosts will not reach those here"
        return [Finding("ports", WARN, found, fix)]
    return [Finding("ports", OK, found)]


def _handed_out() -> tuple[int, int]:
    """The range that the system takes ports from for whoever names none."""
    try:
        low, high = EPHEMERAL.read_text("ascii").split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 0, 0


async def look_at_broker(config: Config) -> list[Finding]:
    """Whether there is one where this node would look for it."""
    try:
        url = broker_url(config)
    except (NoToken, MembershipUnreadable) as error:
        return [Finding("broker", FAIL, str(error), "join with a new token")]
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    host, port = parts.hostname or "127.0.0.1", parts.port or NATS_PORT
    begun = time.perf_counter()
    writer = None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
            line = await reader.readline()
    except (OSError, TimeoutError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number else f"no answer within {CONNECT_S:g} s"
        found = f"{host}:{port}: {why}"
        if url == DEFAULT_URL:
            fix = "give --join TOKEN, or --url, so that the way to the mesh is tried"
            return [Finding("broker", WARN, found, fix)]
        fix = f"see that {host}:{port} can be reached from here: address, firewall, broker"
        return [Finding("broker", FAIL, found, fix)]
    finally:
        if writer is not None:
            writer.close()
    took_ms = (time.perf_counter() - begun) * 1000
    if not line.startswith(b"INFO "):
        fix = "give the address of the mesh's NATS broker"
        return [Finding("broker", FAIL, f"{host}:{port} is no NATS broker", fix)]
    info: dict[str, Any] = msgspec.json.decode(line[5:])
    tls = ", TLS" if info.get("tls_required") else ""
    found = f"{host}:{port} answers in {took_ms:.0f} ms: NATS {info.get('version', '?')}{tls}"
    return [Finding("broker", OK, found)]


def broker_url(config: Config) -> str:
    """Of the token, the mesh that this host has joined, or the settings. Raises NoToken,
    MembershipUnreadable."""
    if config.join is not None:
        return decode(config.join).url
    member = MembershipFiles(Disk(), config.membership).load()
    return member.url if member is not None else config.nats_url
