"""What becomes of devices that an operator's program describes, whatever the program does?"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penstock_node_agent.drivers import driver_for
from penstock_node_agent.drivers.command import (
    OUTPUT_BYTES_MAX,
    CommandDriver,
    CommandUnavailable,
)
from penstock_node_agent.drivers.port import DriverSilent, MemoryUse

INVENTORY = {
    "visible_variable": "ROCR_VISIBLE_DEVICES",
    "checks": True,
    "devices": [
        {"uuid": "AMD-1", "index": 1, "model": "MI300X", "visible": "1", "healthy": False,
         "health_code": "ras", "health_reason": "uncorrectable error"},
        {"uuid": "AMD-0", "index": 0, "model": "MI300X", "visible": "0", "memory_mib": 196_592},
    ],
}  # fmt: skip
SAMPLES = {
    "devices": [
        {"uuid": "AMD-0", "power_mw": 140_000, "memory_used_mib": 12, "pids": [77]},
        {"uuid": "NOT-THERE", "power_mw": 1},
    ]
}


class Program:
    """An executable that prints what a test has written down for each word it is called with."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "gpu-info"
        self.path.write_text(f'#!{sys.executable}\nimport sys\nexec(open("{directory}/do").read())')
        self.path.chmod(0o755)
        self._do = directory / "do"
        self.says(inventory=INVENTORY, sample=SAMPLES)

    def does(self, script: str) -> None:
        self._do.write_text(script)

    def says(self, **answers: Any) -> None:
        texts = {word: json.dumps(answer) for word, answer in answers.items()}
        self.does(f"print({texts!r}[sys.argv[1]])")

    def driver(self, **options: Any) -> CommandDriver:
        return CommandDriver(str(self.path), **options)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_devices_are_as_the_program_says_in_index_order(program: Program) -> None:
    driver = driver_for(f"command:{program.path}", node="n1")
    well, bad = driver.discover()
    assert (well.uuid, well.model, well.memory_mib, well.healthy) == (
        "AMD-0",
        "MI300X",
        196_592,
        True,
    )
    assert (bad.uuid, bad.healthy, bad.health_code) == ("AMD-1", False, "ras")
    assert bad.memory_mib is None, "unknown is not zero"
    assert driver.visible_variable == "ROCR_VISIBLE_DEVICES"
    assert driver.visible_devices(("AMD-1", "AMD-0")) == "1,0"
    assert driver.capacity().cpu_milli > 0


@pytest.mark.lesson(24)
def test_readings_are_of_known_devices_and_what_is_left_out_is_unknown(program: Program) -> None:
    driver = program.driver()
    (reading,) = driver.sample()
    assert (reading.uuid, reading.model, reading.power_mw) == ("AMD-0", "MI300X", 140_000)
    assert reading.utilisation_percent is None
    assert driver.memory_in_use(["AMD-0"]) == {"AMD-0": MemoryUse(used_mib=12, pids=(77,))}
    assert driver.memory_in_use(["AMD-1"]) == {}


DEVICE = {"uuid": "A", "index": 0, "model": "M"}


def printing(*devices: Any) -> str:
    return f"print({json.dumps({'devices': devices})!r})"


WRONG = {
    "no JSON": "print('8 devices')",
    "another shape": "print('[]')",
    "a wrong type": printing({**DEVICE, "index": "0"}),
    "a uuid that is none": printing({**DEVICE, "uuid": "a b"}),
    "not a device": printing(DEVICE, None),
    "one uuid twice": printing(DEVICE, {**DEVICE, "index": 1}),
    "a control character": printing({**DEVICE, "model": "M\x1b[2J"}),
    "nested without end": "print('[' * 100_000)",
    "bytes that are no text": 'sys.stdout.buffer.write(b\'{"devices": ["\\xff"]}\')',
    "too much": f"print(' ' * {OUTPUT_BYTES_MAX} + '{{}}')",
    "nothing": "",
    "a failure": printing() + "; sys.exit('no driver loaded')",
    "death": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("script", list(WRONG.values()), ids=list(WRONG))
def test_whatever_else_it_does_means_that_nothing_is_known(program: Program, script: str) -> None:
    driver = program.driver()
    program.does(script)
    with pytest.raises(DriverSilent, match="gpu-info inventory"):
        driver.discover()
    program.says(inventory=INVENTORY, sample=SAMPLES)
    assert len(driver.discover()) == 2


def test_why_it_failed_is_told_in_its_own_words(program: Program) -> None:
    program.does("sys.exit('no driver loaded')")
    with pytest.raises(CommandUnavailable, match="ended with 1: no driver loaded"):
        program.driver()


@pytest.mark.parametrize(
    "script",
    ["import time; time.sleep(600)", "import os\nwhile True: os.write(2, b'x' * 1000)"],
    ids=["sleeps", "complains for ever"],
)
def test_one_that_takes_too_long_is_ended(program: Program, script: str) -> None:
    driver = program.driver()
    program.does(script)
    driver._timeout_s = 0.3
    with pytest.raises(DriverSilent, match="too long"):
        driver.sample()


def test_what_it_has_begun_ends_with_it(program: Program, tmp_path: Path) -> None:
    program.does(
        "import subprocess\n"
        "null = subprocess.DEVNULL\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=null, stderr=null)\n"
        f"open('{tmp_path}/pid', 'w').write(str(child.pid))\n"
        f"print({json.dumps(INVENTORY)!r})"
    )
    program.driver()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if ") Z " in Path(f"/proc/{pid}/stat").read_text():
            break
        os.sched_yield()
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_a_program_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CommandUnavailable, match="gpu-info"):
        CommandDriver(str(tmp_path / "gpu-info"))
    with pytest.raises(ValueError, match="absolute"):
        driver_for("command:gpu-info", node="n1")
