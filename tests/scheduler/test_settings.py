"""Do the scheduler's settings say what the scheduler can do?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock_contracts.policies import POLICY_NAMES
from penstock_mesh.command import command as up
from penstock_mesh.command_lines import scheduler_flags
from penstock_scheduler.command import command
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.packing.policies import DEFAULT, POLICIES
from penstock_scheduler.warming import load_machine_code
from tests.scheduler.driver import Driver, a_job, a_node


def test_every_policy_can_be_named_and_the_default_comes_first() -> None:
    assert tuple(POLICIES) == POLICY_NAMES
    assert DEFAULT.name == POLICY_NAMES[0]


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_every_policy_places_the_same_after_a_restart(name: str) -> None:
    fleet = [a_node(f"n{number}", 4) for number in range(6)]
    driver, twin = (Driver(*fleet, core=SchedulerCore(POLICIES[name])) for _ in range(2))
    for number in range(30):
        job = a_job(number, gpus=1, gpu_milli=300 + number % 5 * 100)
        assert driver.submit(job) == twin.submit(job)
        twin.core = SchedulerCore(POLICIES[name])
        twin.core.restore(driver.core.snapshot())


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_machine_code_is_loaded_for_every_policy(name: str) -> None:
    load_machine_code(POLICIES[name])


def test_a_workload_that_cannot_be_read_ends_the_scheduler_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nj,1,1,1,-5\n", "ascii")
    done = CliRunner().invoke(command, ["--workload", str(path)])
    assert done.exit_code == 2
    assert "setting workload is wrong" in done.output
    assert f"{path}, line 2, column gpu_milli" in done.output


def test_an_unknown_policy_is_refused() -> None:
    done = CliRunner().invoke(command, ["--policy", "luck"])
    assert done.exit_code == 2
    assert "policy" in done.output


def test_the_embedded_mesh_passes_both_on() -> None:
    assert scheduler_flags(None, None) == ()
    expected = ("--policy", "fgd", "--workload", "/jobs.csv")
    assert scheduler_flags("fgd", Path("/jobs.csv")) == expected
    refused = CliRunner().invoke(up, ["--policy", "luck"])
    assert refused.exit_code == 2
    assert "penstock" in refused.output
