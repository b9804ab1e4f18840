"""What does a job see in its environment?"""

from __future__ import annotations

from agent.builders import an_order
from penstock_node_agent.workplace.environment import job_environment

BASE = {"PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def environment(**order: object) -> dict[str, str]:
    return job_environment(BASE, "1/J/0", an_order(**order), node="n1", visible_devices="")


def test_a_job_has_the_agents_home_unless_it_runs_as_somebody_else() -> None:
    assert environment()["HOME"] == "/root"
    assert "HOME" not in environment(user="alice"), "the reaper knows that user's"
    assert environment(user="alice", env={"HOME": "/data"})["HOME"] == "/data"
