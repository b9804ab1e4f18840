"""Does `penstock mesh init` leave what processes need that run apart?"""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from conftest import NatsServer
from penstock_mesh.initialisation import command, make_streams
from penstock_mesh.nats_server import find_server


def initialise(data: Path, *nodes: str) -> Result:
    flags = [part for node in nodes for part in ("--node", node)]
    return CliRunner().invoke(command, ["init", "--data", str(data), *flags])


def files(data: Path) -> dict[str, bytes]:
    return {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()}


def test_every_service_node_and_user_gets_a_credential(tmp_path: Path) -> None:
    assert initialise(tmp_path, "node-a").exit_code == 0
    services = {f"creds/{name}.creds" for name in ("inventory", "scheduler", "metering", "gateway")}
    others = {"client.creds", "http.token", "keys.json", "operator.conf"}
    assert services | others | {"nodes/node-a/node.creds"} <= set(files(tmp_path))


def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    initialise(tmp_path, "node-a")
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    assert modes == {0o600}


def test_a_node_can_be_added_and_what_exists_stays(tmp_path: Path) -> None:
    initialise(tmp_path, "node-a")
    before = files(tmp_path)
    initialise(tmp_path, "node-a", "node-b")
    after = files(tmp_path)
    assert set(after) - set(before) == {"nodes/node-b/node.creds"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"operator.conf"}  # signed anew, by the same keys


def test_a_name_that_would_form_a_wrong_subject_is_refused(tmp_path: Path) -> None:
    for name in ("a.b", "*", ">", ""):
        result = initialise(tmp_path, name)
        assert result.exit_code == 2 and "--node" in result.output


def test_the_broker_accepts_what_its_configuration_includes(tmp_path: Path) -> None:
    initialise(tmp_path)
    config = tmp_path / "nats.conf"
    config.write_text('listen: "127.0.0.1:-1"\ninclude "operator.conf"\n')
    checked = [str(find_server()), "-t", "--config", str(config)]
    result = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_inventory_gets_the_keys_that_it_needs_and_no_others(tmp_path: Path) -> None:
    initialise(tmp_path)
    given = msgspec.json.decode((tmp_path / "authority/keys.json").read_bytes())
    kept = msgspec.json.decode((tmp_path / "keys.json").read_bytes())
    seeds = {kept["registrar"], kept["roles"]["node"], kept["roles"]["joiner"]}
    assert {value for value in given.values() if str(value).startswith("S")} == seeds
    assert (tmp_path / "authority/registrar.creds").exists()


def test_a_broker_may_keep_what_it_is_told_of_accounts(tmp_path: Path) -> None:
    CliRunner().invoke(command, ["init", "--data", str(tmp_path)])
    assert "resolver: MEMORY" in (tmp_path / "operator.conf").read_text()
    kept = ["--accounts", "/var/lib/broker"]
    CliRunner().invoke(command, ["init", "--data", str(tmp_path), *kept])
    config = (tmp_path / "operator.conf").read_text()
    assert 'resolver: {type: full, dir: "/var/lib/broker"}' in config


def test_the_brokers_of_a_cluster_share_a_secret_that_stays(tmp_path: Path) -> None:
    servers = ["--server", "nats-a", "--server", "nats-b:7000"]
    made = CliRunner().invoke(command, ["init", "--data", str(tmp_path), *servers])
    assert made.exit_code == 0, made.output
    routes = (tmp_path / "cluster.conf").read_text()
    secret = (tmp_path / "route.secret").read_text()
    assert f"penstock:{secret}@nats-a:6222" in routes
    assert f"penstock:{secret}@nats-b:7000" in routes
    CliRunner().invoke(command, ["init", "--data", str(tmp_path), *servers])
    assert (tmp_path / "cluster.conf").read_text() == routes

    config = tmp_path / "nats.conf"
    config.write_text(
        'server_name: a\nlisten: "127.0.0.1:-1"\ninclude "operator.conf"\n'
        f'jetstream: {{store_dir: "{tmp_path / "store"}"}}\n'
        'cluster: {listen: "127.0.0.1:-1"\ninclude "cluster.conf"\n}\n'
    )
    checked = [str(find_server()), "-t", "--config", str(config)]
    result = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_server_address_that_no_configuration_could_hold_is_refused(tmp_path: Path) -> None:
    for server in ("a b", 'x"', "a:b", "", "nats://a"):
        flags = ["init", "--data", str(tmp_path), "--server", server]
        result = CliRunner().invoke(command, flags)
        assert result.exit_code == 2 and "--server" in result.output


def test_more_replicas_than_a_stream_can_have_are_refused() -> None:
    result = CliRunner().invoke(command, ["streams", "--replicas", "6"])
    assert result.exit_code == 2 and "--replicas" in result.output


async def test_the_streams_are_made_once_the_broker_runs_and_making_them_again_changes_nothing(
    nats_server: NatsServer,
) -> None:
    first = await make_streams(nats_server.url, None)
    assert {"REQUESTS", "JOBS", "NODES", "REPORTS", "USAGE", "FACTS", "LOGS"} <= set(first)
    assert await make_streams(nats_server.url, None) == first
