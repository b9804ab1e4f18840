"""Are devices and containers of this host as a node needs them?

It does not know what is done with the answers.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from penstock_contracts.nodes import Device
from penstock_node_agent.checking.findings import FAIL, OK, WARN, Finding
from penstock_node_agent.config import Config
from penstock_node_agent.drivers import check_setting, driver_for
from penstock_node_agent.drivers.command import CommandUnavailable
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable
from penstock_node_agent.drivers.port import DriverSilent
from penstock_node_agent.programs import run
from penstock_node_agent.reaper.podman import podman_environment
from penstock_node_agent.workplace.containers import CDI_KINDS, podman_of

PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY_CLASS = "0x10de", "0x03"
CDI_DIRECTORIES = (Path("/etc/cdi"), Path("/var/run/cdi"))
CDI_FIX = (
    "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml "
    "(and again after every change of driver or MIG layout)"
)
TRIAL_S = 40.0


async def look_at_devices(config: Config) -> list[Finding]:
    try:
        check_setting(config.driver)
        name, devices = await asyncio.to_thread(_discover, config)
    except (ValueError, NvmlUnavailable, CommandUnavailable, DriverSilent) as error:
        fix = "correct --driver, or install what it needs; nvidia-smi shows whether NVML answers"
        return [Finding("driver", FAIL, str(error), fix)]
    cards = nvidia_cards(PCI)
    if not devices:
        if cards:
            found = f"{cards} NVIDIA cards on the bus, and no driver that answers"
            fix = "install the NVIDIA driver, or load it: modprobe nvidia; see dmesg"
            return [Finding("driver", FAIL, found, fix)]
        fix = "nothing, if this host is for jobs without GPUs"
        return [Finding("driver", WARN, f"{name}: no accelerators", fix)]
    versions = sorted({device.driver_version for device in devices if device.driver_version})
    models = [device.model for device in devices]
    counted = ", ".join(f"{models.count(model)} {model}" for model in sorted(set(models)))
    findings = [Finding("driver", OK, " ".join([name, *versions]))]
    sick = [device for device in devices if not device.healthy]
    findings += [
        Finding(
            "device",
            WARN,
            f"{device.uuid}: {device.health_reason or device.health_code or 'not healthy'}",
            "it is not used until it is well: reset it, or take it out",
        )
        for device in sick
    ]
    whole = len(devices) - len(sick)
    found = f"{counted}; {whole} can be used"
    if not whole:
        return [*findings, Finding("devices", FAIL, found, "see what is said of each device")]
    return [*findings, Finding("devices", OK, found)]


def _discover(config: Config) -> tuple[str, tuple[Device, ...]]:
    driver = driver_for(config.driver, node=config.node)
    try:
        return driver.name, driver.discover()
    finally:
        driver.close()


def nvidia_cards(bus: Path) -> int:
    """How many there are, whether a driver knows them or not."""
    found = 0
    for device in bus.iterdir() if bus.is_dir() else ():
        try:
            vendor = (device / "vendor").read_text("ascii").strip()
            kind = (device / "class").read_text("ascii").strip()
        except OSError:
            continue
        found += vendor == NVIDIA and kind.startswith(DISPLAY_CLASS)
    return found


async def look_at_containers(config: Config) -> list[Finding]:
    try:
        name, devices = await asyncio.to_thread(_discover, config)
    except (ValueError, NvmlUnavailable, CommandUnavailable, DriverSilent):
        name, devices = "", ()
    podman = podman_of(config, name, run)
    if podman is None:
        return [Finding("containers", WARN, "switched off", "give --podman podman to offer them")]
    await podman.look()
    if not podman.version:
        fix = "install podman 4.3 or newer, or give --podman none; jobs with an image go elsewhere"
        return [Finding("containers", WARN, podman.fault, fix)]
    findings = [await _try_a_container(podman.argv, config, podman.version)]
    kind = config.cdi_kind or CDI_KINDS.get(name, "")
    if kind and devices:
        usable = [device.uuid for device in devices if device.healthy]
        findings.append(cdi_finding(kind, usable, CDI_DIRECTORIES))
    return findings


async def _try_a_container(argv: tuple[str, ...], config: Config, version: str) -> Finding:
    """Run this host's own `true` in one."""
    with tempfile.TemporaryDirectory(prefix="penstock-check-") as root:
        program = await _make_root(Path(root))
        if not program:
            return Finding("containers", OK, f"podman {version}")
        trial = (*argv, "run", "--rm", "--network=none", *config.container_options)
        trial = (*trial, "--rootfs", root, program)
        ran = await run(trial, podman_environment(), TRIAL_S)
    if ran.code == 0:
        return Finding("containers", OK, f"podman {version} runs them")
    fix = (
        "podman must run a container with the agent's --podman-option and --container-option, "
        "such as --podman-option=--runtime=runc"
    )
    found = f"podman {version} runs none: {ran.last_line or 'it does not answer'}"
    return Finding("containers", FAIL, found, fix)


async def _make_root(root: Path) -> str:
    """A root with one program and what it is linked to; "" when that cannot be told."""
    program = shutil.which("true") or "/bin/true"
    linked = await run(("ldd", program), podman_environment(), TRIAL_S)
    if linked.code != 0:
        return ""
    libraries = re.findall(r"(/\S+) \(0x", linked.output)
    await asyncio.to_thread(_fill_root, root, [program, *libraries])
    return program


def _fill_root(root: Path, files: list[str]) -> None:
    for path in files:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), target)
    for name in ("proc", "dev", "sys", "etc", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)


def cdi_finding(kind: str, uuids: Iterable[str], directories: Iterable[Path]) -> Finding:
    """Whether CDI knows the devices by their UUIDs."""
    fix = CDI_FIX if kind == CDI_KINDS["nvml"] else f"describe them in /etc/cdi as {kind}=UUID"
    known = {name for one, name in _cdi_devices(directories) if one == kind}
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing:
        count = f"{len(missing)} devices are not described as {kind}=UUID, such as {missing[0]}"
        return Finding("CDI", FAIL, count, fix)
    return Finding("CDI", OK, f"{len(known)} devices of {kind}")


def _cdi_devices(directories: Iterable[Path]) -> list[tuple[str, str]]:
    """(kind, name) of all that is described."""
    found = []
    for directory in directories:
        for path in sorted(directory.glob("*")) if directory.is_dir() else ():
            try:
                if path.suffix == ".json":
                    spec: Any = msgspec.json.decode(path.read_bytes())
                elif path.suffix in (".yaml", ".yml"):
                    spec = yaml.safe_load(path.read_bytes())
                else:
                    continue
                found += [(spec["kind"], str(one["name"])) for one in spec["devices"]]
            except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError, yaml.YAMLError):
                continue  # podman passes over it as well
    return found
