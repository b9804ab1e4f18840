"""Whose fault is it when an image cannot be had, and what does whoever waits for it hear?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from penstock_node_agent.programs import Ran
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.workplace.container_command import Owner
from penstock_node_agent.workplace.containers import Podman, PodmanSettings, owner_in
from penstock_node_agent.workplace.pulling import fault_of, steps_of
from penstock_node_agent.workplace.unready import Unready

IMAGE = "registry.example/team/train:2"
REFUSED = (
    'Error: initializing source docker://x: pinging container registry localhost: Get "https://'
    'localhost/v2/": dial tcp 127.0.0.1:443: connect: connection refused'
)
NO_HOST = "Error: pinging container registry r: dial tcp: lookup r on 10.0.0.53:53: no such host"
UNKNOWN = "Error: reading manifest 2 in registry.example/team/train: manifest unknown"
DENIED = "Error: reading manifest: denied: requested access to the resource is denied"
FULL = "Error: writing blob: storing blob to file: write /var/tmp/x: no space left on device"
SHORT = 'Error: short-name "train" did not resolve to an alias and no unqualified-search registries'


@pytest.mark.parametrize(
    ("said", "code", "blame"),
    [
        (REFUSED, "registry_unreachable", "node"),
        (NO_HOST, "registry_unreachable", "node"),
        (f"Trying to pull x...\n{UNKNOWN}\n", "no_such_image", "job"),
        (DENIED, "no_such_image", "job"),
        (SHORT, "no_such_image", "job"),
        (FULL, "disk_full", "node"),
        ("Error: something else\n", "pull_failed", "node"),
        ("", "pull_failed", "node"),
    ],
)
def test_a_registry_or_a_disk_is_the_nodes_fault_and_a_name_the_jobs(
    said: str, code: str, blame: str
) -> None:
    fault = fault_of(IMAGE, said)
    assert (fault.code, fault.blame) == (code, blame)
    assert IMAGE in fault.message


def test_each_step_of_a_pull_is_told_once_in_whatever_pieces_it_comes() -> None:
    told: list[str] = []
    hear = steps_of(IMAGE, told.append)
    said = (
        f"Trying to pull {IMAGE}...\nGetting image source signatures\n"
        "Copying blob sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4\n"
        "Copying blob a3ed95caeb02 done  \nCopying blob b4ed95caeb02 done  \n"
        "Copying config sha256:1234\nWriting manifest to image destination\n"
    )
    for at in range(0, len(said), 7):
        hear(said[at : at + 7])
    assert told == [
        f"image {IMAGE}: asking {IMAGE}",
        f"image {IMAGE}: layer a3ed95caeb02",
        f"image {IMAGE}: layer b4ed95caeb02",
        f"image {IMAGE}: all layers are here",
    ]


class Scripted:
    """A podman that has the images in `here` and pulls when it is let."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.pull = Ran(0, "")
        self.pulling, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout_s: float,
        stdin: str = "",
        hear: Callable[[str], None] | None = None,
    ) -> Ran:
        *_, image = argv
        self.calls.append(tuple(argv))
        if "pull" not in argv:
            return Ran(0 if image in self.here else 1, "")
        self.pulling.set()
        await self.may_go_on.wait()
        if hear is not None:
            hear("Copying blob 0123456789ab done\n")
        return self.pull

    @property
    def pulls(self) -> int:
        return sum("pull" in call for call in self.calls)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def podman(scripted: Scripted, tmp_path: Path) -> Podman:
    owner = Owner("m", "n1", "d")
    return Podman(PodmanSettings(pull_s=5), owner, scripted, Disk(), str(tmp_path))


async def test_an_image_that_is_here_is_pulled_only_when_that_is_asked_for(
    podman: Podman, scripted: Scripted
) -> None:
    scripted.here.add(IMAGE)
    scripted.may_go_on.set()
    told: list[str] = []
    await podman.pull(IMAGE, "missing", told.append)
    await podman.pull(IMAGE, "never", told.append)
    assert (scripted.pulls, told) == (0, [])
    await podman.pull(IMAGE, "always", told.append)
    assert scripted.pulls == 1
    assert told == [f"image {IMAGE}: layer 0123456789ab", f"image {IMAGE} is here"]


async def test_several_that_wait_for_one_image_pull_it_once_and_one_may_leave(
    podman: Podman, scripted: Scripted
) -> None:
    waiting = [asyncio.ensure_future(podman.pull(IMAGE, "missing", _ignore)) for _ in range(3)]
    await scripted.pulling.wait()
    waiting[0].cancel()
    scripted.may_go_on.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None, None]
    assert scripted.pulls == 1


@pytest.mark.parametrize(
    ("ran", "code", "blame"),
    [
        (Ran(None, ""), "pull_timed_out", "node"),
        (Ran(125, UNKNOWN), "no_such_image", "job"),
    ],
)
async def test_a_pull_that_fails_says_why_and_may_be_tried_again(
    podman: Podman, scripted: Scripted, ran: Ran, code: str, blame: str
) -> None:
    scripted.may_go_on.set()
    scripted.pull = ran
    for _ in range(2):
        with pytest.raises(Unready) as caught:
            await podman.pull(IMAGE, "missing", _ignore)
        assert (caught.value.code, caught.value.blame) == (code, blame)
    assert scripted.pulls == 2


async def test_an_image_that_may_not_be_pulled_and_is_not_here_is_declined(
    podman: Podman,
) -> None:
    with pytest.raises(Unready) as caught:
        await podman.pull(IMAGE, "never", _ignore)
    assert (caught.value.code, caught.value.blame) == ("no_such_image", "node")


def _ignore(line: str) -> None:
    return


def test_a_state_directory_keeps_the_identity_that_was_drawn_for_it_once(tmp_path: Path) -> None:
    def owner(drawn: str) -> Owner:
        return owner_in(Disk(), str(tmp_path), mesh="m", node="n1", drawn=drawn)

    assert owner("first").directory == "first"
    (tmp_path / "containers.json").write_text('{"labels":{"penstock.directory":"first"}}', "ascii")
    assert owner("second").directory == "first"
    (tmp_path / "containers.json").write_text('{"labels":', "ascii")
    assert owner("third").directory == "third"
