"""Is a data directory held by one, and are an earlier holder's processes found?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock_mesh.data_directory import DataDirectory, DirectoryInUse
from penstock_mesh.process_identity import ProcessIdentity, identify


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.root.mkdir()
    return made


def own_identity() -> ProcessIdentity:
    own = identify(os.getpid())
    assert own is not None
    return own


def test_a_second_holder_is_refused_by_a_sentence_that_names_the_first(
    directory: DataDirectory,
) -> None:
    held = directory.acquire()
    with pytest.raises(DirectoryInUse, match=rf"pid {os.getpid()}.*--data"):
        directory.acquire()
    os.close(held)
    os.close(directory.acquire())


def test_children_do_not_inherit_the_lock(directory: DataDirectory) -> None:
    held = directory.acquire()
    assert not os.get_inheritable(held)
    os.close(held)


@pytest.mark.lesson(10)
def test_only_recorded_processes_that_still_run_are_left_over(directory: DataDirectory) -> None:
    own = own_identity()
    reused = ProcessIdentity(pid=own.pid, start_ticks=own.start_ticks + 1)
    gone = ProcessIdentity(pid=2**22 + 1, start_ticks=1)
    assert directory.leftovers() == {}
    directory.record_processes({"gone": gone, "reused": reused, "own": own})
    assert directory.leftovers() == {"own": own}
    directory.processes.write_bytes(b"{")
    assert directory.leftovers() == {}


def test_reapers_of_nodes_that_are_no_longer_run_are_found(directory: DataDirectory) -> None:
    own = own_identity()
    for node in ("old", "kept"):
        (directory.nodes / node).mkdir(parents=True)
        text = f"{own.pid} {own.start_ticks}\n"
        (directory.nodes / node / "reaper.pid").write_text(text, encoding="ascii")
    assert directory.reapers_beside({"kept"}) == [own]
    assert directory.reapers_beside({"kept", "old"}) == []
