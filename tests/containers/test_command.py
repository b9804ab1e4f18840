"""What does podman hear of an order?"""

from __future__ import annotations

from typing import Any

from agent.builders import an_order
from penstock_contracts.work import Container, Mount
from penstock_node_agent.workplace.container_command import (
    Owner,
    Places,
    arguments,
    inside,
    name_of,
)

OWNER = Owner("m1", "n1", "0123456789abcdef")
PLACES = Places("/state/job/3")


def said(
    container: dict[str, Any] | None = None,
    *,
    env: dict[str, str] | None = None,
    places: Places = PLACES,
    **changes: Any,
) -> list[str]:
    order = an_order(container=Container(image="r.example/i:1", **(container or {})), **changes)
    return arguments(
        order, env if env is not None else {}, owner=OWNER, options=("--init",), places=places,
        devices=("nvidia.com/gpu=GPU-1",),
    )  # fmt: skip


def test_a_name_carries_mesh_job_attempt_and_rank_and_is_of_one_state_directory() -> None:
    order = an_order(attempt=3, rank=2)
    assert name_of(OWNER, order) == f"penstock-m1-{order.job_id}-3-2-01234567"
    other = OWNER._replace(directory="fedcba9876543210")
    assert name_of(other, order) != name_of(OWNER, order)


def test_labels_say_whose_it_is_and_what_it_is_of() -> None:
    args = said(lease_seq=7, job_id="J", tenant="acme")
    labels = dict(arg.split("=", 2)[1:] for arg in args if arg.startswith("--label="))
    assert OWNER.labels.items() <= labels.items()
    assert (labels["penstock.lease"], labels["penstock.tenant"]) == ("7/J/0", "acme")


def test_what_the_job_asks_for_stands_behind_the_operators_options_and_before_the_image() -> None:
    args = said(
        {
            "entrypoint": ("/bin/a b", "-x"),
            "network": "none",
            "user": "me",
            "workdir": "/w",
            "mounts": (Mount("/data", "/d"), Mount("/out", "/o", read_only=False)),
            "shm_mib": 64,
        },
        command=("run", "--fast"),
        rlimits={"nofile": 9, "core": 0},
        memory_limit_mib=512,
        pids_max=10,
        cpu_milli=2500,
    )
    assert args[-4:] == ["--", "r.example/i:1", "run", "--fast"]
    first = args.index("--init")
    wanted = (
        *("--network=none", "--workdir=/w", "--user=me", '--entrypoint=["/bin/a b","-x"]'),
        *("--volume=/data:/d:ro", "--volume=/out:/o", "--shm-size=64m"),
        *("--ulimit=core=0:0", "--ulimit=nofile=9:9", "--pids-limit=10", "--cpu-shares=2560"),
        *("--memory=512m", "--memory-swap=512m", "--device=nvidia.com/gpu=GPU-1"),
    )
    assert all(first < args.index(option) < len(args) - 4 for option in wanted)
    assert args.index("--security-opt=no-new-privileges") < first


def test_an_image_of_its_own_command_needs_none() -> None:
    assert said(command=())[-2:] == ["--", "r.example/i:1"]
    assert "--entrypoint=[]" in said({"entrypoint": ()})


def test_secrets_and_the_mps_daemon_are_put_inside_by_the_node_and_never_by_the_job() -> None:
    env = {"PENSTOCK_SECRETS": "/etc", "CUDA_MPS_PIPE_DIRECTORY": "/etc"}
    assert not any("/etc" in arg or "ipc" in arg for arg in said(env=env))
    env = {"PENSTOCK_SECRETS": "/dev/shm/x"}
    args = said(env=env, places=Places("/w", "/dev/shm/x", "/run/mps"))
    assert "--volume=/dev/shm/x:/penstock/secrets:ro" in args
    assert env["PENSTOCK_SECRETS"] == "/penstock/secrets"
    assert {"--volume=/run/mps:/run/mps", "--ipc=host"} <= set(args)


def test_the_hosts_own_environment_stays_outside_unless_the_job_says_the_same_name() -> None:
    base = {"PATH": "/host/bin", "HOME": "/host", "LANG": "C"}
    env = {**base, "HOME": "/mine", "RANK": "0"}
    assert inside(env, base, {"HOME": "/mine"}) == {"HOME": "/mine", "RANK": "0"}
