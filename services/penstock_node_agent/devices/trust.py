"""How does an operator vouch for a device that has been reset or repaired?

By its name in a file of the agent's state directory, which the agent takes away when it has read
it: at its start, or when it next looks at its devices. It does not know what the device was kept
from use for.
"""

from __future__ import annotations

import logging
import os
from typing import Annotated

import click
from msgspec import Meta

from penstock_node_agent.config import Config
from penstock_node_agent.reaper.disk import Disk

log = logging.getLogger(__name__)

FILE_NAME = "trusted"
UUIDS_MAX = 256


class TrustConfig(Config, frozen=True, kw_only=True):
    devices: Annotated[
        tuple[str, ...],
        Meta(
            description="UUID of a device that has been reset or repaired.",
            extra={"flags": ("--device",)},
        ),
    ] = ()


def trust(config: TrustConfig) -> int:
    """Leave a word for the agent."""
    if not config.devices:
        raise click.UsageError("name a device: --device UUID")
    path = os.path.join(config.directory, FILE_NAME)
    try:
        with open(path, "a", encoding="ascii") as file:
            file.write("".join(f"{uuid}\n" for uuid in config.devices))
    except (OSError, UnicodeEncodeError) as error:
        raise click.ClickException(f"{path}: {error}") from error
    click.echo(f"the agent hears of it when it next looks, within {config.sample_s:g} s")
    return 0


def take_trusted(disk: Disk, directory: str) -> tuple[str, ...]:
    """Whom the operator has vouched for since this was asked last."""
    path = f"{directory}/{FILE_NAME}"
    try:
        said = disk.read(path)
        if not said:
            return ()
        disk.remove(path)
    except OSError as error:
        log.error("nobody is vouched for: %s", error)
        return ()
    return tuple(said.decode("ascii", "replace").split()[:UUIDS_MAX])
