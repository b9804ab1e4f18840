"""Where do the hosts stand, and what is built into them?

Draws for each host its labels (site, rack and others), a model for each of its devices and which of
these are linked. It does not know what happens to a host, nor who wants which.
"""

from __future__ import annotations

import random

import msgspec

MODELS = ("H100", "A100", "L4")
UNKNOWN_MODEL = "X1"
"""No data sheet says how much memory it has."""
SITES = ("oslo", "bonn")
RACKS = ("r1", "r2")
"""Each site has racks of these names."""
DISKS = ("fast", "slow")
UNLABELLED_SHARE = 0.15
MIXED_SHARE = 0.15
CHECKING_SHARE = 0.6
PODMAN_SHARE = 0.7


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """One host. `models` and `links` are those of its devices, in order; "" = in no link domain
    that is known. `checks_devices`: their driver can say what is held of their memory. `podman`:
    it is installed. `tells_status`: the kernel says how somebody else's child has ended."""

    models: tuple[str, ...]
    links: tuple[str, ...]
    labels: dict[str, str] = {}
    checks_devices: bool = False
    podman: bool = False
    tells_status: bool = True


def plain_ground(name: str, gpus: int, model: str = "H100") -> Ground:
    """A host without labels, its devices alike and all linked."""
    return Ground(models=(model,) * gpus, links=(f"{name}/0",) * gpus)


def draw_ground(rng: random.Random, name: str, *, gpus: int, model: str) -> Ground:
    """Most hosts are whole: labelled, and with devices that are alike."""
    labels = {"disk": rng.choice(DISKS)}
    if rng.random() >= UNLABELLED_SHARE:
        labels["site"] = rng.choice(SITES)
    if rng.random() >= UNLABELLED_SHARE:
        labels["rack"] = rng.choice(RACKS)
    other = rng.choice((*MODELS, UNKNOWN_MODEL))
    mixed = rng.random() < MIXED_SHARE
    models = tuple(other if mixed and index % 2 else model for index in range(gpus))
    return Ground(
        models=models,
        links=_draw_links(rng, name, gpus, labels),
        labels=labels,
        checks_devices=rng.random() < CHECKING_SHARE,
        podman=rng.random() < PODMAN_SHARE,
        tells_status=rng.random() < 0.5,
    )


def _draw_links(
    rng: random.Random, name: str, gpus: int, labels: dict[str, str]
) -> tuple[str, ...]:
    kind = rng.random()
    if kind < 0.45:
        return (f"{name}/0",) * gpus
    if kind < 0.7:
        return tuple(f"{name}/{index // 2}" for index in range(gpus))
    if kind < 0.85 and "rack" in labels:  # one domain over several hosts
        return (f"{labels.get('site', '')}-{labels['rack']}",) * gpus
    return ("",) * gpus
