"""How does the agent use podman?

Whether it works here, the images that jobs name, what the reaper is told of a container. The reaper
starts and ends them. It does not know what a lease is waiting for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.credentials import account_of
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.work import CONTAINERS, FILE, Container
from penstock_node_agent.config import Config
from penstock_node_agent.joining.membership import MembershipFiles
from penstock_node_agent.programs import Ran, Run
from penstock_node_agent.reaper.containers import SETTINGS_NAME
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.podman import podman_environment
from penstock_node_agent.workplace.container_command import (
    DIRECTORY_LABEL,
    Owner,
    Places,
    arguments,
    inside,
    name_of,
)
from penstock_node_agent.workplace.mounted import split_place
from penstock_node_agent.workplace.pulling import fault_of, steps_of
from penstock_node_agent.workplace.unready import JOB, NODE, Unready

LOOK_S = 20.0
COMMAND_S = 30.0
MESH_LETTERS = 8
FACT_LETTERS_MAX = 200
OLDEST = (4, 3)
"""Which knows CDI, and removes by labels."""
OTHER_SOURCE = re.compile(
    r"(containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):"
)
"""Where podman would read files of the host for a job."""
SIMULATED = "simulated"
PULLS_MAX = 3
"""At once: more would only share the same link and disk."""
NVIDIA = "nvidia.com/gpu"
CDI_KINDS = {"nvml": NVIDIA}
"""Of drivers whose devices CDI knows by their UUIDs."""
QUIET = ("--log-level=fatal",)
"""What podman warns of would stand in the job's own errors."""

log = logging.getLogger(__name__)


class PodmanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`options`: of podman itself; `run_options`: of `podman run`. `cdi_kind` "": by the driver.
    `mounts`: below which directories of the host jobs may mount something."""

    program: str = "podman"
    options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    cdi_kind: str = ""
    mounts: tuple[str, ...] = ()
    pull_s: float = 1800.0

    @property
    def argv(self) -> tuple[str, ...]:
        return (self.program, *QUIET, *self.options)


class _Settings(msgspec.Struct):
    """What the reaper reads in `containers.json`."""

    podman: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class Podman:
    """`version` "": it does not work here, as `fault` says."""

    def __init__(
        self, settings: PodmanSettings, owner: Owner, run: Run, disk: Disk, directory: str
    ) -> None:
        self._settings, self._owner, self._run = settings, owner, run
        self._disk, self._path = disk, f"{directory}/{SETTINGS_NAME}"
        self._pulls: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(PULLS_MAX)
        self.version = self.fault = ""

    @property
    def argv(self) -> tuple[str, ...]:
        return self._settings.argv

    async def open(self) -> None:
        """Look whether it works; the reaper is told whose containers these are."""
        await self.look()
        if self.version:
            self._write_settings()
        log.info("podman %s", self.version or self.fault)

    async def look(self) -> None:
        """Whether it works, and why not."""
        ran = await self._call("info", "--format={{.Version.Version}}", limit_s=LOOK_S)
        if ran.code == 0 and _numbers(ran.last_line) >= OLDEST:
            self.version = ran.last_line[:FACT_LETTERS_MAX]
        else:
            old = f"podman {ran.last_line} is too old: 4.3 is needed" if ran.code == 0 else ""
            fault = old or ran.last_line or f"{self._settings.program} does not answer"
            self.fault = "".join(filter(str.isprintable, fault))[:FACT_LETTERS_MAX]

    @property
    def offers(self) -> tuple[str, ...]:
        return (CONTAINERS,) if self.version else ()

    @property
    def facts(self) -> dict[str, str]:
        return {"podman": self.version or f"none: {self.fault}"}

    # -- images --------------------------------------------------------------------------------
    def allowed_mounts(self, container: Container, tenant: str) -> None:
        """Raises Unready where this node does not let a job mount what it names, or where that
        leads, by whatever links. Blocking."""
        prefixes = self._settings.mounts
        real = [os.path.realpath(p.replace("{tenant}", tenant)) for p in prefixes]
        for mount in container.mounts:
            split_place(f"{FILE}{mount.source}", prefixes, tenant)
            split_place(f"{FILE}{os.path.realpath(mount.source)}", real, tenant)
            if not os.path.exists(mount.source):
                raise Unready("no_such_path", f"{mount.source} is not on this node", NODE)

    async def pull(self, image: str, policy: str, progress: Callable[[str], None]) -> None:
        """Have the image here, once however many ask. Raises Unready."""
        if OTHER_SOURCE.match(image):
            raise Unready("image_not_allowed", f"{image} is not in a registry", JOB)
        if policy != "always" and await self._has(image):
            return
        if policy == "never":
            raise Unready("no_such_image", f"image {image} is not on this node", NODE)
        key = (image, policy)
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = asyncio.ensure_future(self._pull(image, progress))
            pull.add_done_callback(partial(self._pulled, key))
        await asyncio.shield(pull)

    def _pulled(self, key: tuple[str, str], pull: asyncio.Task[None]) -> None:
        """Whoever waited for it hears how it ended; they may all have gone."""
        del self._pulls[key]
        if not pull.cancelled():
            pull.exception()

    async def _has(self, image: str) -> bool:
        ran = await self._call("image", "exists", "--", image)
        if ran.code is None:
            raise Unready("podman_failed", f"podman says nothing of image {image}", NODE)
        if ran.code not in (0, 1):
            raise fault_of(image, ran.output)
        return ran.code == 0

    async def _pull(self, image: str, progress: Callable[[str], None]) -> None:
        limit_s = self._settings.pull_s
        async with self._room:
            argv = (*self._settings.argv, "pull", "--", image)
            hear = steps_of(image, progress)
            ran = await self._run(argv, podman_environment(), limit_s, hear=hear)
        if ran.code is None:
            sentence = f"image {image} was not here within {limit_s:g} s"
            raise Unready("pull_timed_out", sentence, NODE)
        if ran.code != 0:
            raise fault_of(image, ran.output)
        progress(f"image {image} is here")

    # -- containers ----------------------------------------------------------------------------
    def request(
        self,
        order: LeaseOrder,
        env: Mapping[str, str],
        *,
        base: Mapping[str, str],
        places: Places,
        driver: str,
    ) -> dict[str, Any]:
        """What the reaper's spawn request has more, and other, for a container. `base`: the
        environment of any program on this host. `driver`: of its devices."""
        kind = self._settings.cdi_kind or CDI_KINDS.get(driver, "")
        devices = [f"{kind}={uuid}" for uuid in order.devices] if kind else []
        own = inside(env, base, order.env)
        args = arguments(
            order,
            own,
            owner=self._owner,
            options=self._settings.run_options,
            places=places,
            devices=devices,
        )
        container = {
            "podman": self._settings.argv,
            "name": name_of(self._owner, order),
            "labels": self._owner.labels,
            "args": args,
            "devices": devices,
        }
        return {"env": own, "container": container}

    # -- internals -----------------------------------------------------------------------------
    async def _call(self, *args: str, limit_s: float = COMMAND_S) -> Ran:
        return await self._run((*self._settings.argv, *args), podman_environment(), limit_s)

    def _write_settings(self) -> None:
        """For the reaper that takes over, whenever that is."""
        settings = _Settings(self._settings.argv, self._owner.labels)
        part = f"{self._path}.new"
        file = self._disk.create(part)
        try:
            self._disk.append(file, msgspec.json.encode(settings))
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(part, self._path)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit())


def podman_of(config: Config, driver: str, run: Run) -> Podman | None:
    """As the node's settings say. `driver`: of its devices."""
    program = config.podman
    if program == "auto":
        program = "none" if driver == SIMULATED else "podman"
    if program == "none":
        return None
    settings = PodmanSettings(
        program=program,
        options=config.podman_options,
        run_options=config.container_options,
        cdi_kind=config.cdi_kind,
        mounts=config.allow_mounts,
        pull_s=config.image_pull_s,
    )
    disk, directory = Disk(), str(config.directory)
    mesh = mesh_of(config.nats_creds or MembershipFiles(disk, config.membership).creds)
    owner = owner_in(disk, directory, mesh=mesh, node=config.node, drawn=os.urandom(8).hex())
    return Podman(settings, owner, run, disk, directory)


def owner_in(disk: Disk, directory: str, *, mesh: str, node: str, drawn: str) -> Owner:
    """Whose containers an agent of this state directory may remove. `drawn` names the directory,
    unless it has a name."""
    known = disk.read(f"{directory}/{SETTINGS_NAME}")
    try:
        labels = msgspec.json.decode(known or b"{}", type=_Settings).labels
    except msgspec.DecodeError as error:
        log.error("%s is damaged: %s", SETTINGS_NAME, error)
        labels = {}
    return Owner(mesh, node, labels.get(DIRECTORY_LABEL, drawn))


def mesh_of(creds: Path) -> str:
    """A short name of the mesh that admitted this node: of the account its key is in."""
    account = account_of(str(creds))
    if account is None:
        return "local"
    return hashlib.sha256(account.encode()).hexdigest()[:MESH_LETTERS]
