"""Do the systemd units start what exists, and stop it as the services expect?"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from deploy.compose import ROOT
from deploy.entry_points import load_command, parse
from penstock_runtime.process import DRAIN_S_MAX

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
DROP_INS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*.service.d/*.conf"))
SERVICES = ("inventory", "scheduler", "metering", "gateway", "agent")
ANALYZE = shutil.which("systemd-analyze")


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FOLDER / name).read_text().replace("\\\n", " "))
    return parser


def arguments(name: str, instance: str = "") -> list[str]:
    line = unit(name)["Service"]["ExecStart"].replace("%i", instance)
    return shlex.split(
        line.replace("${CREDENTIALS_DIRECTORY}", "/c").replace("${STATE_DIRECTORY}", "/s")
    )


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing (Debian: systemd)")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_knows_every_line_of_the_unit(name: str) -> None:
    command = [str(ANALYZE), "verify", "--man=no", str(FOLDER / name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in result.stderr.splitlines() if "is not executable" not in line]
    assert lines == []


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing (Debian: systemd)")
@pytest.mark.parametrize("drop_in", DROP_INS)
def test_systemd_knows_every_line_of_a_drop_in(drop_in: str, tmp_path: Path) -> None:
    folder, _, _ = drop_in.partition("/")
    name = folder.removesuffix(".d")
    shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / folder).mkdir()
    shutil.copy(FOLDER / drop_in, tmp_path / folder)
    result = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", name],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in result.stderr.splitlines() if "is not executable" not in line]
    assert lines == []


def test_an_agent_with_a_credential_file_is_started_with_flags_that_it_knows() -> None:
    drop_in = FOLDER / "penstock-agent.service.d/credentials.conf"
    lines = drop_in.read_text().replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith("ExecStart=/")]
    _, verb, *flags = shlex.split(line.replace("${", "/").replace("}", ""))
    parse(verb, flags)


def test_an_agent_is_started_again_for_ever_and_tells_when_it_is_there() -> None:
    parsed = unit("penstock-agent.service")
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    assert (parsed["Service"]["Type"], parsed["Service"]["Restart"]) == ("notify", "always")


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_started_with_flags_that_its_command_knows(service: str) -> None:
    name = "penstock-agent.service" if service == "agent" else "penstock@.service"
    program, verb, *flags = arguments(name, service)
    assert (Path(program).name, verb) == ("penstock", service)
    try:
        parse(verb, flags)
    except click.UsageError as error:
        pytest.fail(f"{name}: {error.message}")


def test_a_service_gets_the_time_to_drain() -> None:
    for name in ("penstock@.service", "penstock-agent.service"):
        assert float(unit(name)["Service"]["TimeoutStopSec"]) > DRAIN_S_MAX


def test_a_restart_of_the_agent_leaves_the_jobs_alone() -> None:
    assert unit("penstock-agent.service")["Service"]["KillMode"] == "process"


@pytest.mark.parametrize("service", SERVICES)
def test_the_example_file_has_only_settings_that_the_service_knows(service: str) -> None:
    document = tomllib.loads((FOLDER / "penstock.toml").read_text())
    options = {option.name for option in load_command(service).params}
    given = {key for key, value in document.items() if not isinstance(value, dict)}
    assert given | set(document.get(service, {})) <= options


def test_no_two_services_of_the_example_share_a_port() -> None:
    document = tomllib.loads((FOLDER / "penstock.toml").read_text())
    ports = [document[service]["http_port"] for service in SERVICES]
    assert len(set(ports)) == len(ports)
