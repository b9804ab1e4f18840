"""Does systemd, where it runs, give the reaper a scope of its own, and is it started if not?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient
from penstock_node_agent import reaper_package

STAND_IN = """\
#!/bin/sh
echo "$@" >{said}
while [ "$1" != "--" ]; do shift; done
shift
{then}
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ReaperClient]:
    directory = tmp_path / "state"
    directory.mkdir()
    client = ReaperClient(directory)
    yield client
    client.close()


def stand_in(directory: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> Path:
    """A `systemd-run` on a host that seems to have systemd; where it writes its arguments."""
    said, program = directory / "said", directory / "bin" / "systemd-run"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(said=said, then=then), "ascii")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(reaper_package, "SYSTEMD", str(directory))
    return said


async def test_a_reaper_is_started_in_a_scope_that_is_its_own_to_divide(
    client: ReaperClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stand_in(tmp_path, monkeypatch, 'exec "$@"')
    await client.start()
    options = said.read_text("utf-8")
    assert "--scope" in options and "--property=Delegate=yes" in options
    client.shell("k", "exit 3")
    assert client.end_of("k")["code"] == 3
    client.close()
    await client.start()
    assert client.known() == ["k"], "what it ran before is remembered"


async def test_a_systemd_that_refuses_leaves_no_node_without_a_reaper(
    client: ReaperClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stand_in(tmp_path, monkeypatch, "exit 1")
    await client.start()
    assert said.exists()
    client.shell("k", "exit 3")
    assert client.end_of("k")["code"] == 3
