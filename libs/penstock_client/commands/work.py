"""How does one say on a command line what a job wants around its command?

Options for a container, a user, limits, files and secrets. It does not know which of them
contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock_contracts.work import Container, Input, Mount, Output, Secret

PULLS = ("missing", "always", "never")
NETWORKS = ("host", "none", "bridge")
PLACES = ("object:", "file:")
SHA256 = re.compile(r"(?P<place>.+)@sha256:(?P<digest>[0-9a-f]{64})")
"""As in the contract, which a help text does not wait for."""

_OPTIONS = (
    click.option("--image", metavar="IMAGE", help="Run CMD inside a container of this image."),
    click.option(
        "--pull", type=click.Choice(PULLS), help="When to fetch the image.  [default: missing]"
    ),
    click.option(
        "--entrypoint", metavar="PROGRAM", help="Instead of the image's own; '' = none, CMD alone."
    ),
    click.option(
        "--network", type=click.Choice(NETWORKS), help="Of the container.  [default: host]"
    ),
    click.option(
        "--mount",
        metavar="HOST:INSIDE[:rw]",
        multiple=True,
        help="A directory that the node's operator allows, in the container; repeatable.",
    ),
    click.option("--workdir", metavar="DIR", help="Where CMD runs inside the container."),
    click.option("--shm-mib", type=int, metavar="MIB", help="/dev/shm of the container."),
    click.option("--user", metavar="NAME", help="Run as this user of the host, or of the image."),
    click.option(
        "--rlimit",
        metavar="NAME=N",
        multiple=True,
        help="nofile, nproc, core, stack, fsize, memlock, data or as; repeatable.",
    ),
    click.option("--pids-max", type=int, metavar="N", help="Processes and threads at most."),
    click.option("--private-tmp", is_flag=True, help="A /tmp of its own, which goes with the job."),
    click.option(
        "--input",
        "inputs",
        metavar="PATH=PLACE[@sha256:HEX]",
        multiple=True,
        help="A file that is there before CMD begins: PLACE is object:NAME (`penstock files`) or "
        "file:/PATH on the node; repeatable.",
    ),
    click.option(
        "--output",
        "outputs",
        metavar="PATH=PLACE[?]",
        multiple=True,
        help="A file that is kept when CMD has ended; with ? it need not be there; {rank} in PLACE "
        "stands for the rank; repeatable.",
    ),
    click.option(
        "--secret",
        "secrets",
        metavar="NAME[=VARIABLE|=file:FILE]",
        multiple=True,
        help="A secret (`penstock secret`) in VARIABLE, by default NAME, or in "
        "$PENSTOCK_SECRETS/FILE; repeatable.",
    ),
    click.option(
        "--gpu-enforced", is_flag=True, help="Only where a part of a GPU is held to its part."
    ),
)


def work_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def work_of(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job from what the options said."""
    container = _container(options)
    return {
        "container": container,
        "user": "" if container is not None else options["user"] or "",
        "rlimits": dict(map(_rlimit, options["rlimit"])),
        "pids_max": options["pids_max"],
        "private_tmp": options["private_tmp"],
        "inputs": tuple(map(input_of, options["inputs"])),
        "outputs": tuple(map(output_of, options["outputs"])),
        "secrets": tuple(map(secret_of, options["secrets"])),
        "gpu_enforced": options["gpu_enforced"],
    }


def _container(options: dict[str, Any]) -> Container | None:
    from penstock_contracts.work import Container

    if options["image"] is None:
        for name in ("pull", "entrypoint", "network", "mount", "workdir", "shm_mib"):
            if options[name] not in (None, ()):
                flag = f"--{name.replace('_', '-')}"
                raise click.BadParameter("is for containers: add --image", param_hint=flag)
        return None
    entrypoint = options["entrypoint"]
    return Container(
        image=options["image"],
        pull=options["pull"] or "missing",
        entrypoint=None if entrypoint is None else ((entrypoint,) if entrypoint else ()),
        network=options["network"] or "host",
        user=options["user"] or "",
        workdir=options["workdir"] or "",
        mounts=tuple(map(mount_of, options["mount"])),
        shm_mib=options["shm_mib"],
    )


def mount_of(text: str) -> Mount:
    """`/data:/data:rw` as a mount."""
    from penstock_contracts.work import Mount

    parts = text.split(":")
    if len(parts) not in (2, 3) or parts[2:] not in ([], ["rw"], ["ro"]):
        sentence = f"{text!r} is not HOST:INSIDE or HOST:INSIDE:rw"
        raise click.BadParameter(sentence, param_hint="--mount")
    return Mount(parts[0], parts[1], read_only=parts[2:] != ["rw"])


def input_of(text: str) -> Input:
    """`in/data=object:data@sha256:…` as an input."""
    from penstock_contracts.work import Input

    path, place = _path_and_place(text, "--input")
    matched = SHA256.fullmatch(place)
    if matched is None:
        return Input(place, path)
    return Input(matched["place"], path, matched["digest"])


def output_of(text: str) -> Output:
    """`model=object:model?` as an output that need not be there."""
    from penstock_contracts.work import Output

    path, place = _path_and_place(text, "--output")
    return Output(path, place.removesuffix("?"), required=not place.endswith("?"))


def secret_of(text: str) -> Secret:
    """`key=KEY` or `key=file:key` as a secret."""
    from penstock_contracts.work import Secret

    name, _, place = text.partition("=")
    if place.startswith("file:"):
        return Secret(name, path=place.removeprefix("file:"))
    return Secret(name, env=place or name)


def _rlimit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise click.BadParameter(f"{text!r} is not NAME=N", param_hint="--rlimit")
    return name, int(number)


def _path_and_place(text: str, option: str) -> tuple[str, str]:
    path, _, place = text.partition("=")
    if not path or not place.startswith(PLACES):
        sentence = f"{text!r} is not PATH=object:NAME or PATH=file:/PATH"
        raise click.BadParameter(sentence, param_hint=option)
    return path, place
