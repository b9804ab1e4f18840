"""Does the check of a host find what is wrong with it, and say what to do?"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock_mesh.ports import any_free_port
from penstock_node_agent.checking import devices as check_devices
from penstock_node_agent.checking import host as check_host
from penstock_node_agent.checking.devices import cdi_finding, nvidia_cards
from penstock_node_agent.checking.findings import FAIL, OK, WARN, Finding, check
from penstock_node_agent.command import command
from penstock_node_agent.config import Config

Looking = Callable[[Config], Awaitable[list[Finding]]]


def settings(directory: Path, **changes: Any) -> Config:
    values = {"driver": "simulated:2xH100", "state_dir": directory, "podman": "none"}
    return Config(node="n1", **{**values, **changes})


async def state_of(look: Looking, config: Config) -> tuple[str, str]:
    """The worst finding, and all that is said."""
    findings = await look(config)
    assert all(bool(one.fix) or one.state == OK for one in findings), "each says what to do"
    worst = max(findings, key=lambda one: (OK, WARN, FAIL).index(one.state))
    return worst.state, " ".join(f"{one.found} {one.fix}" for one in findings)


async def test_a_host_that_is_fit_is_told_so_in_every_respect(
    nats_server: Any, tmp_path: Path
) -> None:
    report = await check(settings(tmp_path, nats_url=nats_server.url))
    assert report.fit
    names = [finding.name for finding in report.findings]
    assert names == [
        *("system", "driver", "devices", "containers", "control groups"),
        *("clock", "disk", "disk writes", "ports", "broker"),
    ]
    assert report.findings[-1].state == OK
    assert "NATS 2." in report.findings[-1].found
    assert os.listdir(tmp_path) == [], "nothing is left behind"


async def test_devices_that_cannot_be_used_are_told_with_the_reason(tmp_path: Path) -> None:
    look = check_devices.look_at_devices
    assert (await state_of(look, settings(tmp_path)))[0] == OK
    state, said = await state_of(look, settings(tmp_path, driver="nvml"))
    assert state == FAIL
    assert "nvidia-smi" in said
    state, said = await state_of(look, settings(tmp_path, driver="command:/no/such/program"))
    assert state == FAIL


async def test_cards_without_a_driver_are_a_fault_and_no_cards_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_devices, "PCI", tmp_path / "pci")
    config = settings(tmp_path, driver="cpu")
    assert (await state_of(check_devices.look_at_devices, config))[0] == WARN
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),
        ("0000:02:00.0", "0x8086", "0x030000"),
    ):
        device = tmp_path / "pci" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n", "ascii")
        (device / "class").write_text(f"{kind}\n", "ascii")
    assert nvidia_cards(tmp_path / "pci") == 1
    state, said = await state_of(check_devices.look_at_devices, config)
    assert state == FAIL
    assert "1 NVIDIA cards" in said


async def test_a_podman_that_is_not_there_is_no_hindrance_and_is_told(tmp_path: Path) -> None:
    config = settings(tmp_path, podman=str(tmp_path / "podman"))
    state, said = await state_of(check_devices.look_at_containers, config)
    assert state == WARN
    assert "install podman" in said


async def test_a_podman_that_runs_nothing_is_a_fault(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *info*) echo 5.0.0;; *) echo broken; exit 126;; esac'
    )
    program.chmod(0o755)
    config = settings(tmp_path, podman=str(program))
    state, said = await state_of(check_devices.look_at_containers, config)
    assert state == FAIL
    assert "broken" in said


def test_devices_must_be_in_cdi_under_their_uuids(tmp_path: Path) -> None:
    kind, places = "nvidia.com/gpu", (tmp_path, tmp_path / "none")
    spec = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: '0'\n- name: GPU-1\n"
    (tmp_path / "nvidia.yaml").write_text(spec, "ascii")
    (tmp_path / "broken.json").write_text("{", "ascii")
    more = {"kind": kind, "devices": [{"name": "GPU-2"}]}
    (tmp_path / "more.json").write_text(json.dumps(more), "ascii")
    assert cdi_finding(kind, ["GPU-1", "GPU-2"], places).state == OK
    missing = cdi_finding(kind, ["GPU-1", "GPU-3"], places)
    assert missing.state == FAIL
    assert "GPU-3" in missing.found
    assert "nvidia-ctk cdi generate" in missing.fix


def test_a_full_disk_and_one_that_cannot_be_written_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {one.state for one in check_host.disk_of(tmp_path)} <= {OK, WARN}
    monkeypatch.setattr(check_host, "FREE_FAIL_BYTES", 1 << 62)
    monkeypatch.setattr(check_host, "FREE_WARN_BYTES", 1 << 63)
    assert check_host.disk_of(tmp_path)[0].state == FAIL
    monkeypatch.setattr(check_host, "SYNC_FAIL_MS", 0.0)
    monkeypatch.setattr(check_host, "SYNC_WARN_MS", 0.0)
    assert check_host.disk_of(tmp_path)[1].state == FAIL
    file = tmp_path / "file"
    file.write_text("")
    assert check_host.disk_of(file)[1].state == FAIL


async def test_ports_that_cannot_be_had_or_are_handed_out_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = check_host.look_at_ports
    elsewhere = settings(tmp_path, advertise_address="192.0.2.1")
    assert (await state_of(look, elsewhere))[0] == FAIL
    low = check_host.EPHEMERAL.read_text("ascii").split()[0]
    state, said = await state_of(look, settings(tmp_path, port_range=f"{low}-{low}"))
    assert (state, "hands out" in said) == (WARN, True)
    assert (await state_of(look, settings(tmp_path, port_range="9-1")))[0] == FAIL


async def test_a_broker_that_is_none_or_not_there_is_a_fault(tmp_path: Path) -> None:
    port = any_free_port("127.0.0.1")
    look = check_host.look_at_broker
    config = settings(tmp_path, nats_url=f"nats://127.0.0.1:{port}")
    state, said = await state_of(look, config)
    assert (state, "refused" in said) == (FAIL, True)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", port):
        state, said = await state_of(look, config)
    assert (state, "no NATS broker" in said) == (FAIL, True)
    state, said = await state_of(look, settings(tmp_path, join="rubbish"))
    assert (state, "token" in said) == (FAIL, True)


async def test_a_look_that_breaks_or_hangs_is_a_finding_among_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(config: Config) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    def broken(config: Config) -> list[Finding]:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr("penstock_node_agent.checking.findings.LOOK_S", 0.5)
    monkeypatch.setattr(check_host, "look_at_clock", hang)
    monkeypatch.setattr(check_host, "look_at_disk", broken)
    report = await check(settings(tmp_path))
    found = {finding.name: finding for finding in report.findings}
    assert not report.fit
    assert (found["clock"].state, found["disk"].state) == (FAIL, FAIL)
    assert "nobody thought of" in found["disk"].found
    assert found["system"].state != FAIL


def test_the_command_says_it_in_lines_or_json_and_by_its_exit_code(tmp_path: Path) -> None:
    options = ["--node", "n1", "--driver", "simulated:2xH100", "--state-dir", str(tmp_path)]
    options += ["--podman", "none"]
    done = CliRunner().invoke(command, ["check", *options])
    assert done.exit_code == 0
    assert "ok    devices" in done.output
    assert "\x1b" not in done.output
    done = CliRunner().invoke(command, ["check", "--json", *options, "--driver", "nvml"])
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert (told["node"], told["fit"]) == ("n1", False)
    assert {"name", "state", "found", "fix"} == set(told["findings"][0])


def test_options_before_the_word_check_are_refused_not_ignored() -> None:
    done = CliRunner().invoke(command, ["--driver", "cpu", "check"])
    assert done.exit_code == 2
    assert "behind" in done.output


def test_trying_control_groups_leaves_none_behind() -> None:
    module = "penstock_node_agent.checking.groups"
    identity = "check-of-a-test"
    told = subprocess.run(
        [sys.executable, "-m", module, identity], capture_output=True, check=True, timeout=30
    )
    assert set(json.loads(told.stdout)) == {"offers", "facts"}
    groups = os.walk("/sys/fs/cgroup")  # others come and go meanwhile, which it passes over
    assert [group for group, _, _ in groups if identity in group] == []
