"""Are hosts cut off as asked, one way too, and do small disks fill up?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disks import Disk
from chaos.network import Network, NotPossible

CALL = "import socket, sys; socket.create_connection((sys.argv[1], 9), 0.3)"
PORT_CLOSED = "ConnectionRefusedError"
"""Both ways work: somebody has refused."""


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(str(os.getpid() % 10_000))
    try:
        network.open()
        for host in ("a", "b"):
            network.add(host)
    except NotPossible as error:
        network.close()
        pytest.skip(str(error))
    yield network
    network.close()


def answer(network: Network, host: str, to: str) -> str:
    """What a connection attempt from `host` ends with."""
    argv = network.command(host, [sys.executable, "-I", "-S", "-c", CALL, network.address(to)])
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1].split(":")[0]


def test_a_cut_host_is_reached_by_nobody_and_comes_back(network: Network) -> None:
    assert answer(network, "a", "b") == PORT_CLOSED
    network.cut("b")
    assert answer(network, "a", "b") != PORT_CLOSED
    network.join("b")
    assert answer(network, "a", "b") == PORT_CLOSED


def test_what_a_muted_host_sends_is_lost_and_what_it_hears_is_not(network: Network) -> None:
    hears = [sys.executable, "-I", "-S", "-c", LISTEN, network.address("a")]
    with subprocess.Popen(network.command("a", hears), stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None and listener.stdout.readline() == b"ready\n"
        network.mute("a", network.address("b"))
        say = [sys.executable, "-I", "-S", "-c", SAY, network.address("a")]
        subprocess.run(network.command("b", say), check=True)
        assert listener.stdout.readline() == b"heard\n"
        assert answer(network, "a", "b") != PORT_CLOSED
        network.unmute("a", network.address("b"))
        assert answer(network, "a", "b") == PORT_CLOSED


LISTEN = """
import socket, sys
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
box.bind((sys.argv[1], 9))
print("ready", flush=True)
box.recv(10)
print("heard", flush=True)
"""
SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("loop", [True, False])
def test_a_full_disk_takes_nothing_until_it_is_emptied(tmp_path: Path, loop: bool) -> None:
    disk = Disk(tmp_path / "disk", 8, loop=loop)
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "file").write_bytes(b"x" * 5_000)
        disk.empty()
        (disk.path / "file").write_bytes(b"x" * 5_000)
    finally:
        disk.close()
