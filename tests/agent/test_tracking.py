"""Is a process born in its slot's control group, whatever their version, and ended there?"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from penstock_node_agent.reaper.cgroups import UNIFIED, this_process
from penstock_node_agent.reaper.tracking import FIRST_HIERARCHIES

PROGRAM = """
import json, os, sys
from penstock_node_agent.reaper import cgroups
from penstock_node_agent.reaper.tracking import tracking

def spawn():
    return os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 60 & sleep 60"], {}, setsid=True)

identity, name = sys.argv[1:]
here = cgroups.this_process()
groups = tracking(identity, {name: here[name]})
if groups is None:
    sys.exit(4)
told = {"kind": groups.kind, "empty": groups.is_empty(7)}
told["entered"] = groups.enter(7)
first = spawn()
groups.enter(8)
second = spawn()
told["slots"] = [cgroups.slot_of(first, identity), cgroups.slot_of(second, identity)]
told["own"] = cgroups.slot_of(os.getpid(), identity)
told["left"] = [groups.left(7), groups.left(8)]
told["home"] = cgroups.slot_of(os.getpid(), identity)
told["status"] = [os.waitpid(first, 0)[1], os.waitpid(second, 0)[1]]
while groups.left(7) or groups.left(8):
    pass
groups.tidy()
told["kept"] = len(cgroups.groups_in(groups.base))
groups.close()
told["gone"] = not os.path.exists(groups.base)
told["back"] = cgroups.this_process()[name] == here[name]
print(json.dumps(told))
"""


@pytest.mark.parametrize(("name", "kind"), [(UNIFIED, "cgroup.threads"), ("", "tasks")])
def test_a_process_is_born_in_its_group_and_all_that_it_starts_ends_with_it(
    name: str, kind: str
) -> None:
    if kind == "tasks":
        name = next((each for each in FIRST_HIERARCHIES if each in this_process()), "none")
    if name not in this_process():
        pytest.skip("this host has no such hierarchy")
    argv = [sys.executable, "-c", PROGRAM, f"test{os.getpid()}{kind[0]}", name]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 4:
        pytest.skip("this host lets us make no groups")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "kind": kind,
        "empty": True,
        "entered": True,
        "slots": [7, 8],
        "own": 8,
        "left": [True, True],
        "home": None,
        "status": [9, 9],
        "kept": 0,
        "gone": True,
        "back": True,
    }
