"""What is still there after the power has failed?

A broker stores messages on a file system of its own, on a disk image. While it runs, the image is
copied as it lies on the machine's disk: what the broker's file system had not been made to write
back is not in it, just as after a power failure. A second broker starts on the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.conftest import a_stream
from conftest import NatsServer
from penstock_bus.nats import connect
from penstock_bus.port import Appended

MIB = 1024 * 1024
IMAGE_MIB = 64
MESSAGES = 200


class Disk:
    """An ext4 file system on a loop device."""

    def __init__(self, image: Path, mounted: Path) -> None:
        self.image, self.mounted = image, mounted
        mounted.mkdir()

    def make(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(IMAGE_MIB * MIB)
        _run("mkfs.ext4", "-q", str(self.image))

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.mounted))

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.mounted)], capture_output=True, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)


def why_not() -> str:
    """What this machine lacks; empty when nothing."""
    if os.geteuid() != 0:
        return "mounting a disk image needs root"
    for tool in ("mkfs.ext4", "mount", "umount", "losetup"):
        if shutil.which(tool) is None:
            return f"{tool} is missing (Debian: e2fsprogs, mount)"
    free = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return "" if free.returncode == 0 else f"no loop device: {free.stderr.strip()}"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "possible")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Disk, Disk]]:
    """The broker's disk, and the one that the failure leaves (its image is still to be copied)."""
    before = Disk(tmp_path / "before.img", tmp_path / "before")
    after = Disk(tmp_path / "after.img", tmp_path / "after")
    before.make()
    before.mount()
    yield before, after
    before.unmount()
    after.unmount()


async def kept_after_power_loss(
    disks: tuple[Disk, Disk], sync_interval: str
) -> tuple[int, int, int]:
    """(acknowledged when the power failed, the last of them there afterwards, how many are
    there)."""
    before, after = disks
    server = NatsServer(before.mounted, sync_interval=sync_interval)
    server.start()
    try:
        bus = await connect(server.url, name="before")
        await bus.ensure_streams([a_stream()])
        # The stream itself was made a while ago; what is in question is what came last.
        os.sync()
        stored = Appended("EVENTS", 0)
        for number in range(MESSAGES):
            stored = await bus.append("event.a", b"%d" % number)
        shutil.copyfile(before.image, after.image)
        await bus.close()
    finally:
        server.kill()
    after.mount()
    again = NatsServer(after.mounted, sync_interval=sync_interval)
    again.start()
    try:
        bus = await connect(again.url, name="after")
        state = await bus.stream_state("EVENTS")
        await bus.close()
    finally:
        again.kill()
    return stored.seq, state.last_seq, state.messages


async def test_what_is_acknowledged_under_sync_always_outlives_a_power_loss(
    disks: tuple[Disk, Disk],
) -> None:
    assert await kept_after_power_loss(disks, "always") == (MESSAGES, MESSAGES, MESSAGES)


async def test_what_is_acknowledged_by_a_default_node_may_not(disks: tuple[Disk, Disk]) -> None:
    """The other side of the same coin, and the proof that the copy really is what a failure
    leaves."""
    acknowledged, last_seq, messages = await kept_after_power_loss(disks, "10s")
    assert acknowledged == MESSAGES
    assert last_seq == messages < MESSAGES
