"""How does a service learn its settings?

Each service declares its settings once, as a msgspec Struct; from it come the flags, the
environment variables (`PENSTOCK_<NAME>`), the keys of a TOML file, `--help` and the checks. A
flag wins over the environment, the environment over the file, the file over the default. It does
not know what any setting is for.

    class Config(CommonConfig, frozen=True, kw_only=True):
        suspect_after_ms: Annotated[int, Meta(description="Silence before suspicion.", ge=1)] = 3000

    def run(config: Config) -> int:
        from penstock_inventory.service import serve  # heavy imports only when it really runs
        return serve(config)

    command = command_for(Config, name="inventory", help="Keep the list of nodes.", run=run)

Setting types: str, int, float, bool, Path, Literal, each also `| None`; `tuple[str, ...]`
(repeated flag, comma-separated variable, array) and `dict[str, str]` (the same with K=V, or a
table). A bound on an optional number goes inside: `Annotated[Port | None, Meta(description=...)]`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import click
import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

EXIT_BAD_CONFIG = 2
ENV_PREFIX = "PENSTOCK_"
ENV_CONFIG_FILE = ENV_PREFIX + "CONFIG"

LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, Meta(ge=0, le=65_535)]
C = TypeVar("C", bound=msgspec.Struct)


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/penstock`, as the XDG base directory specification places it."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "penstock"


class CommonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings every service has; a service's own Config extends it."""

    nats_url: Annotated[
        str, Meta(description="Where NATS listens.", extra={"flags": ("--url",)})
    ] = "nats://127.0.0.1:4222"
    nats_creds: Annotated[
        Path | None,
        Meta(description="NATS credentials file of this role.", extra={"flags": ("--creds",)}),
    ] = None
    data_dir: Annotated[Path, Meta(description="Where this service keeps its files.")] = (
        msgspec.field(default_factory=default_data_dir)
    )
    http_host: Annotated[str, Meta(description="Address for health and metrics.")] = "127.0.0.1"
    http_port: Annotated[
        Port | None, Meta(description="Port for health and metrics; unset = off, 0 = a free one.")
    ] = None
    tls_cert: Annotated[
        Path | None, Meta(description="Certificate; needed where http_host is not loopback.")
    ] = None
    tls_key: Annotated[Path | None, Meta(description="Private key of the certificate.")] = None
    log_level: Annotated[LogLevel, Meta(description="Least level that is logged.")] = "info"
    otlp_endpoint: Annotated[
        str | None, Meta(description="OTLP/HTTP base URL that traces go to.")
    ] = None


class ConfigError(click.ClickException):
    """A setting is wrong or missing; the message names it and where it came from."""

    exit_code = EXIT_BAD_CONFIG


def command_for(
    config_type: type[C], *, name: str, help: str, run: Callable[[C], int], table: str = ""
) -> click.Command:
    """Make the click command that loads the settings, calls `run` and exits with its result.
    `table`: of the settings in a file, where that is not `name`."""
    settings = msgspec.structs.fields(config_type)

    def callback(config_file: str | None, json_output: bool, **flags: Any) -> None:
        config = load_config(
            config_type, table=table or name, flags=flags, environ=os.environ, file=config_file
        )
        click.get_current_context().exit(run(config))

    options = [_option(setting) for setting in settings]
    options += [
        click.Option(
            ["--config", "config_file"],
            metavar="FILE",
            help=f"TOML file with settings, common ones at the top, others in [{table or name}]."
            f"  [env: {ENV_CONFIG_FILE}]",
        ),
        click.Option(
            ["--json", "json_output"],
            is_flag=True,
            help="Accepted for uniformity: a service logs JSON in any case.",
        ),
    ]
    return click.Command(name, params=list(options), callback=callback, help=help)


def load_config(
    config_type: type[C],
    *,
    table: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: str | None = None,
) -> C:
    """Combine flags, environment and file (its top level, then `[table]`) into a checked Config.

    A flag that is None or an empty tuple, and a variable that is empty, count as not given.
    Raises ConfigError.
    """
    settings = msgspec.structs.fields(config_type)
    file = file or environ.get(ENV_CONFIG_FILE) or None
    known = {setting.name for setting in settings}
    from_file = _read_file(Path(file), table, known) if file else {}
    values: dict[str, Any] = {}
    for setting in settings:
        flag, variable = _flag(setting.name), _variable(setting.name)
        if flags.get(setting.name) not in (None, ()):
            values[setting.name] = _from_text(setting, flags[setting.name], flag)
        elif environ.get(variable):
            values[setting.name] = _from_text(setting, environ[variable], variable)
        elif setting.name in from_file:
            value, source = from_file[setting.name]
            values[setting.name] = _convert(setting, value, source, strict=True)
        elif setting.required:
            raise ConfigError(
                f"setting {setting.name} is missing: "
                f"give {flag}, {variable} or {setting.name} in the file"
            )
    return config_type(**values)


def _read_file(path: Path, table: str, known: set[str]) -> dict[str, tuple[Any, str]]:
    """Map each setting in the file to its value and the place it stands at."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    own = document.get(table, {})
    if not isinstance(own, dict):
        raise ConfigError(f"{table} in {path} must be a table")
    found: dict[str, tuple[Any, str]] = {}
    for key, value in document.items():
        if key in known:
            found[key] = (value, f"{key} in {path}")
        elif not isinstance(value, dict):
            raise ConfigError(f"unknown setting {key} in {path}")
    for key, value in own.items():
        if key not in known:
            raise ConfigError(f"unknown setting {table}.{key} in {path}")
        found[key] = (value, f"{table}.{key} in {path}")
    return found


def _from_text(setting: FieldInfo, given: Any, source: str) -> Any:
    """Convert what a flag or a variable holds: a string, or several from a repeated flag."""
    shape = _shape(setting)
    if shape is str or isinstance(given, bool):
        return _convert(setting, given, source, strict=False)
    parts = given if isinstance(given, tuple) else tuple(p.strip() for p in given.split(","))
    if shape is tuple:
        return _convert(setting, parts, source, strict=False)
    for part in parts:
        if "=" not in part:
            raise ConfigError(
                f"setting {setting.name} is wrong: {part!r} is not K=V (from {source})"
            )
    return _convert(setting, dict(part.split("=", 1) for part in parts), source, strict=False)


def _convert(setting: FieldInfo, value: Any, source: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, setting.type, strict=strict, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"setting {setting.name} is wrong: {error}, given {value!r} (from {source})"
        ) from error


def _decode_path(kind: type, value: Any) -> Any:
    """msgspec calls this for types that it does not know; Path is the only such setting type."""
    if not issubclass(kind, Path):
        raise NotImplementedError(f"a setting cannot be a {kind.__name__}")
    if not isinstance(value, str) or not value:
        raise ValueError("expected a path")
    return Path(value).expanduser()


def _option(setting: FieldInfo) -> click.Option:
    meta = _meta(setting)
    default = _default_text(setting)
    text = f"{meta.description or ''}  [env: {_variable(setting.name)}{default}]"
    if _plain_type(setting) is bool:
        name = setting.name.replace("_", "-")
        return click.Option([f"--{name}/--no-{name}", setting.name], default=None, help=text)
    extra_flags = (meta.extra or {}).get("flags", ())
    shape = _shape(setting)
    return click.Option(
        [_flag(setting.name), *extra_flags, setting.name],
        type=str,
        multiple=shape is not str,
        default=None,
        metavar="K=V" if shape is dict else "VALUE" if shape is tuple else _metavar(setting),
        help=text,
    )


def _default_text(setting: FieldInfo) -> str:
    if setting.required:
        return "; required"
    factory = setting.default_factory
    value = setting.default if factory is msgspec.NODEFAULT else factory()
    return "" if value is None or value == () or value == {} else f"; default: {value}"


def _metavar(setting: FieldInfo) -> str:
    kind = _plain_type(setting)
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return "N" if kind in (int, float) else "PATH" if kind is Path else "TEXT"


def _shape(setting: FieldInfo) -> type:
    """str for a single value, tuple for several, dict for pairs."""
    origin = get_origin(_plain_type(setting))
    return origin if origin in (tuple, dict) else str


def _plain_type(setting: FieldInfo) -> Any:
    """The type without Annotated and without `| None`."""
    kind = _without_annotation(setting.type)
    others = [arm for arm in get_args(kind) if arm is not type(None)]
    if type(None) in get_args(kind) and len(others) == 1:
        return _without_annotation(others[0])
    return kind


def _without_annotation(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _meta(setting: FieldInfo) -> Meta:
    if get_origin(setting.type) is Annotated:
        for item in setting.type.__metadata__:
            if isinstance(item, Meta):
                return item
    return Meta()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()
