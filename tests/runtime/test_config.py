"""Does a service get its settings from flags, environment and file, in that order?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from click.testing import CliRunner
from msgspec import Meta

from penstock_runtime.config import CommonConfig, ConfigError, command_for, load_config


class Config(CommonConfig, frozen=True, kw_only=True):
    beat_ms: Annotated[int, Meta(description="Time between beats.", ge=1)] = 1000
    labels: Annotated[dict[str, str], Meta(description="Labels.")] = {}
    simulate: Annotated[tuple[str, ...], Meta(description="Fleet.")] = ()
    tiny: Annotated[bool, Meta(description="Be small.")] = False
    mode: Annotated[Literal["fast", "safe"], Meta(description="How.")] = "safe"


class Strict(CommonConfig, frozen=True, kw_only=True):
    node: Annotated[str, Meta(description="Name of the node.")]


def load(flags: dict[str, Any] | None = None, file: Path | None = None, **environ: str) -> Config:
    return load_config(
        Config,
        table="inventory",
        flags=flags or {},
        environ=environ,
        file=None if file is None else str(file),
    )


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    return caught.value.message


def a_file(folder: Path, text: str) -> Path:
    path = folder / "penstock.toml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = a_file(tmp_path, "beat_ms = 1\n[inventory]\nbeat_ms = 2\n")
    assert load().beat_ms == 1000
    assert load(file=a_file(tmp_path, "beat_ms = 1")).beat_ms == 1
    file = a_file(tmp_path, "beat_ms = 1\n[inventory]\nbeat_ms = 2\n")
    assert load(file=file).beat_ms == 2
    assert load(file=file, PENSTOCK_BEAT_MS="3").beat_ms == 3
    assert load({"beat_ms": "4"}, file=file, PENSTOCK_BEAT_MS="3").beat_ms == 4


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = a_file(tmp_path, "beat_ms = 7")
    assert load(PENSTOCK_CONFIG=str(file)).beat_ms == 7


def test_every_kind_of_setting_can_come_from_text() -> None:
    config = load(
        {"labels": ("rack=r1", "expr=a=b"), "simulate": ("4x8xH100", "1x1xL4"), "tiny": True},
        PENSTOCK_HTTP_PORT="9100",
        PENSTOCK_MODE="fast",
        PENSTOCK_DATA_DIR="/var/lib/x",
    )
    assert config.labels == {"rack": "r1", "expr": "a=b"}
    assert config.simulate == ("4x8xH100", "1x1xL4")
    assert config.tiny is True
    assert (config.http_port, config.mode, config.data_dir) == (9100, "fast", Path("/var/lib/x"))


def test_every_kind_of_setting_can_come_from_a_file(tmp_path: Path) -> None:
    file = a_file(
        tmp_path,
        'data_dir = "/d"\n[inventory]\nsimulate = ["1x2xL4"]\ntiny = true\nlabels = {rack = "r1"}',
    )
    config = load(file=file)
    assert (config.data_dir, config.simulate) == (Path("/d"), ("1x2xL4",))
    assert (config.tiny, config.labels) == (True, {"rack": "r1"})


def test_several_values_in_a_variable_are_separated_by_commas() -> None:
    config = load(PENSTOCK_LABELS="rack=r1, zone=z2", PENSTOCK_SIMULATE="1x1xL4,2x8xH100")
    assert config.labels == {"rack": "r1", "zone": "z2"}
    assert config.simulate == ("1x1xL4", "2x8xH100")


def test_an_empty_variable_counts_as_not_given() -> None:
    assert load(PENSTOCK_NATS_CREDS="").nats_creds is None


@pytest.mark.parametrize(
    ("flags", "environ", "named"),
    [
        ({"beat_ms": "soon"}, {}, ("beat_ms", "--beat-ms", "soon")),
        ({}, {"PENSTOCK_HTTP_PORT": "70000"}, ("http_port", "PENSTOCK_HTTP_PORT", "65535")),
        ({"beat_ms": "0"}, {}, ("beat_ms", ">= 1")),
        ({"mode": "wild"}, {}, ("mode", "--mode", "wild")),
        ({"labels": ("rack",)}, {}, ("labels", "--labels", "K=V")),
    ],
)
def test_a_wrong_value_is_refused_with_the_setting_and_its_source(
    flags: dict[str, Any], environ: dict[str, str], named: tuple[str, ...]
) -> None:
    message = refusal(flags, **environ)
    assert all(part in message for part in named), message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('http_port = "80"', "http_port"),
        ("[inventory]\nbeat_ms = 1.5", "inventory.beat_ms"),
        ("[inventory]\nbeats = 1", "inventory.beats"),
        ("beats = 1", "beats"),
        ("beat_ms = ", "penstock.toml"),
        ("inventory = 3", "inventory"),
    ],
)
def test_a_wrong_key_of_the_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(file=a_file(tmp_path, text))


def test_a_table_of_another_service_is_left_alone(tmp_path: Path) -> None:
    assert load(file=a_file(tmp_path, "[scheduler]\nqueue = 1")).beat_ms == 1000


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    assert "absent.toml" in refusal(file=tmp_path / "absent.toml")


def test_a_required_setting_that_nobody_gave_is_named_with_all_its_sources() -> None:
    with pytest.raises(ConfigError, match=r"node.*--node.*PENSTOCK_NODE"):
        load_config(Strict, table="agent", flags={}, environ={})


def test_the_command_passes_the_settings_and_exits_with_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Config] = []

    def run(config: Config) -> int:
        seen.append(config)
        return 75

    monkeypatch.setenv("PENSTOCK_BEAT_MS", "3")
    command = command_for(Config, name="inventory", help="Keep nodes.", run=run)
    flags = ["--url", "nats://n:1", "--creds", "c", "--labels", "a=b", "--tiny", "--json"]
    result = CliRunner().invoke(command, flags)
    assert result.exit_code == 75, result.output
    assert [(c.nats_url, c.nats_creds, c.beat_ms) for c in seen] == [("nats://n:1", Path("c"), 3)]
    assert (seen[0].labels, seen[0].tiny) == ({"a": "b"}, True)


def test_the_command_ends_with_two_on_a_wrong_setting() -> None:
    command = command_for(Config, name="inventory", help="Keep nodes.", run=lambda config: 0)
    result = CliRunner().invoke(command, ["--http-port", "x"])
    assert result.exit_code == 2
    assert "http_port" in result.output and "--http-port" in result.output


def test_the_help_names_every_setting_its_variable_and_its_default() -> None:
    command = command_for(Config, name="inventory", help="Keep nodes.", run=lambda config: 0)
    output = CliRunner().invoke(command, ["--help"], terminal_width=200).output
    for part in ("--beat-ms N", "PENSTOCK_BEAT_MS", "default: 1000", "Time between beats."):
        assert part in output
    assert "--url" in output and "--no-tiny" in output and "PENSTOCK_CONFIG" in output
