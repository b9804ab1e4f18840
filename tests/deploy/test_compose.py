"""Is the compose file valid, and complete, and safe by default?"""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest
import yaml

from deploy.compose import COMPOSE_FILE, ROOT, long_running, penstock_services, services
from deploy.entry_points import parse

COMPOSE = shutil.which("docker-compose")


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is missing (Debian: docker-compose)")
def test_docker_compose_accepts_the_file() -> None:
    command = [str(COMPOSE), "--file", str(COMPOSE_FILE), "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_rack_has_every_service_two_simulated_nodes_and_what_they_lean_on() -> None:
    expected = {"inventory", "scheduler", "metering", "gateway", "nats", "postgres"}
    assert expected | {"prometheus", "jaeger", "init"} <= set(services())
    simulated = [args for args in penstock_services().values() if "simulated" in " ".join(args)]
    assert len(simulated) == 2


@pytest.mark.parametrize("name", sorted(penstock_services()))
def test_each_container_passes_only_flags_that_its_command_knows(name: str) -> None:
    verb, *arguments = penstock_services()[name]
    try:
        parse(verb, arguments)
    except click.UsageError as error:
        pytest.fail(f"{name}: penstock {verb} {' '.join(arguments)}: {error.message}")


def test_every_published_port_is_on_loopback() -> None:
    ports = [port for spec in services().values() for port in spec.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_only_those_who_need_the_keys_see_them() -> None:
    with_keys = [
        name
        for name, spec in services().items()
        if any(volume.startswith("keys:") for volume in spec.get("volumes", []))
    ]
    assert with_keys == ["init", "streams"]


def test_every_image_of_others_is_pinned_to_a_version() -> None:
    images = [s["image"] for s in services().values() if s["image"] != "penstock"]
    loose = [image for image in images if ":" not in image or image.endswith(":latest")]
    assert loose == []


def test_the_broker_syncs_before_it_acknowledges() -> None:
    assert "sync_interval: always" in (ROOT / "deploy/nats.conf").read_text()


def test_prometheus_asks_every_service() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    targets = {
        target.split(":")[0]
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert targets == set(long_running())


@pytest.mark.lesson(24)
def test_prometheus_alerts_when_time_is_unaccounted_or_nobody_counts() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    mounted = {
        mount.split(":")[1] for mount in services()["prometheus"]["volumes"] if "alerts" in mount
    }
    assert mounted == {f"/etc/prometheus/{name}" for name in config["rule_files"]}
    rules = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"][0]["rules"]
    expressions = {rule["alert"]: rule["expr"] for rule in rules}
    metric = "penstock_metering_unaccounted_ms"
    assert expressions["PenstockTimeUnaccounted"] == f"{metric} > 0"
    assert expressions["PenstockUnaccountedUnknown"] == f"absent({metric})"
    source = (ROOT / "services/penstock_metering/service.py").read_text()
    told = set(re.findall(r'"(penstock_metering_[a-z_]+)"', source))
    assert {word for e in expressions.values() for word in re.findall(r"penstock_\w+", e)} <= told
