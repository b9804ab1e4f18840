"""Which nodes, ports and addresses does an embedded mesh get?"""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from penstock_contracts.ids import is_token
from penstock_mesh import command_lines
from penstock_mesh.command_lines import Addresses
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.fleet import (
    FleetError,
    Node,
    SimulatedGroup,
    local_node_name,
    parse_simulate,
    plan_fleet,
)
from penstock_mesh.nats_server import is_loopback
from penstock_mesh.ports import PortsError, choose_port, ephemeral_range, is_free, node_port_ranges
from penstock_mesh.preparation import MeshOptions, choose_addresses
from penstock_node_agent.drivers import check_setting

LOOPBACK = "127.0.0.1"


def a_fleet(*groups: str, local_node: bool = True) -> tuple[Node, ...]:
    parsed = [parse_simulate(group) for group in groups]
    return plan_fleet(parsed, local_node=local_node, directory=Path("/data/nodes"))


def test_a_simulated_group_is_read() -> None:
    assert parse_simulate("4x8xH100") == SimulatedGroup(nodes=4, devices=8, model="H100")
    assert parse_simulate("1x0xA100-80G").devices == 0
    assert parse_simulate("2x1xRTXx2").model == "RTXx2"


def test_where_simulated_nodes_are_is_read() -> None:
    fleet = a_fleet("4x8xH100:site=s1,racks=2,links=4", "2x4xGB200:link=tray", local_node=False)
    assert [node.labels for node in fleet] == [
        {"site": "s1", "rack": "r1"},
        {"site": "s1", "rack": "r1"},
        {"site": "s1", "rack": "r2"},
        {"site": "s1", "rack": "r2"},
        {},
        {},
    ]
    assert {node.driver for node in fleet} == {"simulated:8xH100/4", "simulated:4xGB200@tray"}
    for node in fleet:
        check_setting(node.driver)
    address = Addresses(
        nats_bind="127.0.0.1",
        bind=LOOPBACK,
        nats_url="nats://127.0.0.1:1",
        nats_port=1,
        monitor_port=2,
        http_url="http://127.0.0.1:3",
        http_port=3,
        health_ports={},
    )
    argv = command_lines.agent_child(fleet[2], address, DataDirectory(Path("/data"))).argv
    assert "--label site=s1 --label rack=r2" in " ".join(argv)


@pytest.mark.parametrize(
    "about", ["", "rack", "=x", "rack=", "rack=a b", "racks=3", "racks=x", "links=9", "a=b,"]
)
def test_a_place_of_another_form_is_refused(about: str) -> None:
    with pytest.raises(FleetError, match="2x8xH100:"):
        parse_simulate(f"2x8xH100:{about}")


@pytest.mark.parametrize("text", ["", "4", "4x8", "x8xH100", "0x8xH100", "4x65xH100", "-1x8xH100"])
def test_a_group_of_another_form_or_size_is_refused(text: str) -> None:
    with pytest.raises(FleetError, match=re.escape(repr(text))):
        parse_simulate(text)


@pytest.mark.parametrize("model", ["a b", "a/b", "*", "-x", "x" * 41])
def test_a_model_that_cannot_be_a_name_is_refused(model: str) -> None:
    with pytest.raises(FleetError):
        parse_simulate(f"1x1x{model}")


def test_nodes_are_numbered_on_over_groups_of_one_model() -> None:
    fleet = a_fleet("2x8xH100", "1x4xA100", "1x2xh100", local_node=False)
    assert [(node.name, node.driver) for node in fleet] == [
        ("sim-h100-1", "simulated:8xH100"),
        ("sim-h100-2", "simulated:8xH100"),
        ("sim-a100-1", "simulated:4xA100"),
        ("sim-h100-3", "simulated:2xh100"),
    ]


def test_this_host_is_a_node_with_whatever_it_has() -> None:
    (node,) = a_fleet()
    assert (node.driver, node.devices) == ("auto", None)


def test_a_mesh_without_nodes_or_with_too_many_is_refused() -> None:
    for groups in ((), ("200x1xH100", "200x1xA100")):
        with pytest.raises(FleetError):
            a_fleet(*groups, local_node=False)


@pytest.mark.parametrize(
    "host", ["gpu01", "gpu01.example.com", "Ünïcode", "-", "", "sim-h100-1", "x" * 300]
)
def test_any_host_name_gives_a_name_that_can_be_a_subject_token(host: str) -> None:
    name = local_node_name(host)
    assert is_token(name)
    assert not name.startswith("sim-")


def test_port_ranges_are_disjoint_and_never_ephemeral() -> None:
    low, high = ephemeral_range()
    fleet = a_fleet("120x1xH100")
    ports = [port for node in fleet for port in range(node.port_first, node.port_last + 1)]
    assert len(ports) == len(set(ports)) == 121 * 64
    assert all((port < low or port > high) and port < 65_536 for port in ports)


def test_more_ranges_than_there_are_ports_are_refused() -> None:
    with pytest.raises(PortsError, match="ip_local_port_range"):
        node_port_ranges(2_000)


def test_an_explicit_port_that_is_taken_is_an_error_and_a_default_one_is_not() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(PortsError, match=f"{port}.*--port"):
            choose_port(LOOPBACK, port, 4222, previous=None, flag="--port")
        chosen = choose_port(LOOPBACK, None, port, previous=port, flag="--port")
        assert chosen != port
        assert is_free(LOOPBACK, chosen)
        assert choose_port(LOOPBACK, 0, port, previous=None, flag="--port") != 0


def test_a_later_mesh_on_a_directory_listens_where_the_earlier_one_did(tmp_path: Path) -> None:
    options = MeshOptions(data=tmp_path, port=0, http_port=0)
    directory = DataDirectory(tmp_path)
    first = choose_addresses(options, directory)
    again = choose_addresses(options, directory)
    assert (first.nats_port, first.http_port) == (again.nats_port, again.http_port)
    directory.ports.write_bytes(b"{")
    assert choose_addresses(options, directory).nats_port != first.nats_port


def test_only_loopback_addresses_need_no_tls() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com")))


def test_a_wildcard_bind_is_reached_by_a_name_a_certificate_can_hold(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    options = MeshOptions(data=tmp_path, bind="0.0.0.0", tls_certificate=cert, tls_key=cert)
    addresses = choose_addresses(options, DataDirectory(tmp_path))
    assert addresses.nats_url.startswith("tls://localhost:")
    assert addresses.http_url.startswith("https://localhost:")


def test_exactly_the_command_lines_of_agents_contain_the_word(tmp_path: Path) -> None:
    directory = DataDirectory(Path("/data"))
    options = MeshOptions(data=tmp_path, port=0, http_port=0)
    addresses = choose_addresses(options, DataDirectory(tmp_path))
    agents = [command_lines.agent_child(node, addresses, directory) for node in a_fleet()]
    others = [
        command_lines.server_child(Path("/bin/nats-server"), directory),
        *(command_lines.service_child(s, addresses, directory) for s in command_lines.SERVICES),
    ]
    assert all("agent" in " ".join(child.argv) for child in agents)
    assert not any("agent" in " ".join(child.argv[1:]) for child in others)
