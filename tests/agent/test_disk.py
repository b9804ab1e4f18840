"""Does the simulated disk do what the real one does?

Each test but those of faults runs on both.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock_node_agent.journal import Journal
from penstock_node_agent.reaper.disk import Disk
from tests.simulation.disk import SimulatedDisk


class Place(NamedTuple):
    disk: Disk
    root: str


def a_simulated_disk(seed: int = 0) -> SimulatedDisk:
    disk = SimulatedDisk(random.Random(seed), lambda seconds: None)
    disk.make_directory("/d")
    return disk


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "real":
        return Place(Disk(), str(tmp_path))
    return Place(a_simulated_disk(), "/d")


def filled(place: Place, name: str, data: bytes) -> str:
    path = f"{place.root}/{name}"
    file = place.disk.create(path)
    place.disk.append(file, data)
    place.disk.close(file)
    return path


def test_what_was_appended_is_read(place: Place) -> None:
    disk, path = place.disk, f"{place.root}/a"
    file = disk.create(path)
    disk.append(file, b"one")
    disk.append(file, b"")
    disk.append(file, b"two")
    disk.sync(file)
    assert disk.read(path) == b"onetwo"
    assert disk.size(path) == 6
    reader = disk.open(path)
    assert reader is not None
    assert disk.pread(reader, 2, 2) == b"et"
    assert disk.pread(reader, 100, 4) == b"wo"
    assert disk.pread(reader, 100, 6) == b""
    disk.append(file, b"!")
    assert disk.pread(reader, 100, 6) == b"!", "a reader sees what comes later"


def test_what_is_not_there_is_said_to_be_absent(place: Place) -> None:
    disk, path = place.disk, f"{place.root}/nothing"
    assert disk.read(path) is None
    assert disk.open(path) is None
    assert disk.size(path) == 0
    disk.remove(path)
    for refused in (
        lambda: disk.truncate(path, 0),
        lambda: disk.rename(path, f"{path}.new"),
        lambda: disk.create(f"{path}/a"),
        lambda: disk.is_pristine(path),
    ):
        with pytest.raises(FileNotFoundError):
            refused()


def test_a_cut_file_goes_on_at_its_new_end(place: Place) -> None:
    disk, path = place.disk, f"{place.root}/a"
    file = disk.create(path)
    disk.append(file, b"whole")
    disk.cut(file, 2)
    disk.append(file, b"ally")
    assert disk.read(path) == b"whally"
    disk.truncate(path, 1)
    disk.append(file, b"!")
    assert disk.read(path) == b"w!"


def test_what_is_punched_out_reads_as_zeros_and_leaves_the_size(place: Place) -> None:
    disk, path = place.disk, filled(place, "a", b"x" * 10_000)
    assert disk.punch(path, 0, 8_192)
    assert disk.size(path) == 10_000
    assert disk.read(path) == bytes(8_192) + b"x" * 1_808
    assert not disk.punch(f"{path}.absent", 0, 1)
    assert disk.free_bytes(place.root) > 0


def test_to_create_empties_the_file_for_whoever_reads_it(place: Place) -> None:
    path = filled(place, "a", b"old")
    reader = place.disk.open(path)
    assert reader is not None
    place.disk.create(path)
    assert place.disk.pread(reader, 10, 0) == b""


def test_a_file_that_was_renamed_over_lives_on_for_who_has_it_open(place: Place) -> None:
    disk = place.disk
    old, new = filled(place, "a", b"old"), filled(place, "b", b"new")
    reader = disk.open(old)
    assert reader is not None
    disk.rename(new, old)
    disk.sync_directory(place.root)
    assert disk.read(old) == b"new"
    assert disk.read(new) is None
    assert disk.pread(reader, 10, 0) == b"old"


def test_a_removed_file_lives_on_for_who_has_it_open(place: Place) -> None:
    path = filled(place, "a", b"old")
    reader = place.disk.open(path)
    assert reader is not None
    place.disk.remove(path)
    assert place.disk.read(path) is None
    assert place.disk.pread(reader, 10, 0) == b"old"


def test_a_closed_file_takes_and_gives_nothing(place: Place) -> None:
    disk = place.disk
    file = disk.create(f"{place.root}/a")
    disk.close(file)
    calls: tuple[Callable[[], object], ...] = (
        lambda: disk.append(file, b"x"),
        lambda: disk.pread(file, 1, 0),
        lambda: disk.sync(file),
        lambda: disk.close(file),
    )
    for call in calls:
        with pytest.raises(OSError):
            call()


def test_a_directory_is_pristine_until_something_is_in_it(place: Place) -> None:
    disk, path = place.disk, f"{place.root}/w/0"
    disk.make_directory(path)
    disk.make_directory(path)
    assert disk.is_pristine(path)
    filled(place, "w/0/left", b"x")
    assert not disk.is_pristine(path)
    assert not disk.is_pristine(f"{place.root}/w")
    assert disk.names(path) == ["left"] and disk.names(f"{place.root}/w") == ["0"]
    with pytest.raises(OSError):
        disk.remove_directory(path)
    disk.remove_tree(path)
    assert disk.read(f"{path}/left") is None
    disk.make_directory(path)
    disk.remove_directory(path)
    assert disk.names(f"{place.root}/w") == []
    disk.remove_tree(path)


# -- faults, which only the simulated one has on request ---------------------------------------


def survivors(prepare: Callable[[SimulatedDisk], None]) -> set[bytes | None]:
    """What may stand in /d/a after a power loss."""
    found = set()
    for seed in range(300):
        disk = a_simulated_disk(seed)
        prepare(disk)
        disk.lose_power()
        found.add(disk.read("/d/a"))
    return found


def create(disk: SimulatedDisk) -> int:
    file = disk.create("/d/a")
    disk.append(file, b"kept")
    disk.sync(file)
    disk.sync_directory("/d")
    return file


def test_a_power_loss_tears_what_was_not_synced_at_any_byte() -> None:
    def prepare(disk: SimulatedDisk) -> None:
        disk.append(create(disk), b"12")

    assert survivors(prepare) == {b"kept", b"kept1", b"kept12"}


def test_a_power_loss_may_undo_a_cut() -> None:
    def prepare(disk: SimulatedDisk) -> None:
        file = create(disk)
        disk.cut(file, 1)
        disk.append(file, b"X")

    assert survivors(prepare) == {b"kept", b"k", b"kX"}


def test_a_power_loss_may_undo_a_name_whose_directory_was_not_synced() -> None:
    def prepare(disk: SimulatedDisk) -> None:
        create(disk)
        file = disk.create("/d/b")
        disk.append(file, b"new")
        disk.sync(file)
        disk.rename("/d/b", "/d/a")

    assert survivors(prepare) == {b"kept", b"new"}


def test_a_full_disk_takes_part_of_a_write_and_says_so() -> None:
    disk = a_simulated_disk()
    file = create(disk)
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        disk.append(file, b"more")
    whole = disk.read("/d/a") or b""
    assert b"keptmore".startswith(whole) and len(whole) < 8
    disk.full = False
    disk.cut(file, 4)
    disk.append(file, b"!")
    assert disk.read("/d/a") == b"kept!"


def test_the_agents_journal_lives_on_either_disk(place: Place) -> None:
    journal = Journal(place.disk, place.root, "n1")
    journal.close()
    assert Journal(place.disk, place.root, "n1").state == journal.state
