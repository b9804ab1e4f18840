"""How is the node agent started from the command line?"""

from __future__ import annotations

from typing import Any

import click

from penstock_node_agent.config import Config
from penstock_node_agent.devices.trust import TrustConfig, trust
from penstock_node_agent.drivers import check_setting
from penstock_node_agent.ports import parse_port_range
from penstock_runtime.config import ConfigError, command_for


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    try:
        parse_port_range(config.port_range)
        check_setting(config.driver)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if config.join is not None:
        from penstock_node_agent.joining.command import enter

        enter(config, config.join)
    from penstock_node_agent.service import serve

    return serve(config)


def check(config: Config) -> int:
    from penstock_node_agent.checking.command import run_check

    return run_check(config)


def _agent(**given: Any) -> None:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        context.invoke(_running, **given)
    elif any(value not in (None, (), False) for value in given.values()):
        raise click.UsageError(f"options stand behind the word: {context.invoked_subcommand} …")


_running = command_for(Config, name="agent", help="Run what is assigned to this host.", run=run)
_check = command_for(
    Config,
    name="check",
    table="agent",
    help="Test this host, and say what to put right; exit code 1 where something must be.",
    run=check,
)
_trust = command_for(
    TrustConfig,
    name="trust",
    table="agent",
    help="Vouch for devices of this host that have been reset or repaired in this boot.",
    run=trust,
)
command = click.Group(
    "agent",
    commands=[_check, _trust],
    params=_running.params,
    callback=_agent,
    invoke_without_command=True,
    help=_running.help,
)
