"""What do the drivers say about devices, and what do they leave unknown?"""

from __future__ import annotations

import socket
from functools import partial

import pytest

from penstock_node_agent.drivers import driver_for
from penstock_node_agent.ports import PortRange, can_bind, parse_port_range


class PublishedBus:
    """Notes what is published; nothing else is expected of it."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        self.published.append((subject, payload))


def test_simulated_devices_are_as_declared_whatever_the_machine_has() -> None:
    driver = driver_for("simulated:8xH100", node="n7")
    devices = driver.discover()
    assert [device.uuid for device in devices] == [f"SIM-n7-{index}" for index in range(8)]
    assert {device.memory_mib for device in devices} == {81_920}
    assert (driver.capacity().cpu_milli, driver.capacity().memory_mib) == (128_000, 1_048_576)
    assert driver.visible_devices(("SIM-n7-2", "SIM-n7-0")) == "2,0"
    unknown = driver_for("simulated:1xUnheardOf", node="n7").discover()
    assert unknown[0].memory_mib is None
    reading = driver.sample()[0]
    assert (reading.utilisation_percent, reading.memory_used_mib) == (0, 0), "nobody can use it"
    assert (reading.memory_free_mib, reading.power_mw) == (81_920, None)


@pytest.mark.parametrize(
    ("setting", "domains"),
    [
        ("simulated:4xH100", ["n7/0"] * 4),
        ("simulated:4xH100/2", ["n7/0", "n7/0", "n7/1", "n7/1"]),
        ("simulated:2xGB200@tray-1", ["tray-1", "tray-1"]),
    ],
)
def test_simulated_links_are_as_declared(setting: str, domains: list[str]) -> None:
    devices = driver_for(setting, node="n7").discover()
    assert [device.link_domain for device in devices] == domains


@pytest.mark.parametrize(
    "setting",
    ["tpu", "simulated:", "simulated:8", "simulated:99xH100", "simulated:8xH100/0"],
)
def test_a_wrong_driver_is_refused_with_its_name(setting: str) -> None:
    with pytest.raises(ValueError, match=setting.removeprefix("simulated:") or "''"):
        driver_for(setting, node="n1")


def test_a_port_is_given_once_and_only_when_it_can_be_bound() -> None:
    is_free = partial(can_bind, "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert PortRange(port, port, is_free).find(set()) is None
    assert PortRange(port, port, is_free).find(set()) == port
    assert PortRange(port, port, is_free).find({port}) is None


@pytest.mark.parametrize("text", ["", "5", "0-9", "9-5", "1-70000", "a-b"])
def test_a_wrong_port_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_port_range(text)
