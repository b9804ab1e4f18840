"""How is the node agent started from the command line?"""

from __future__ import annotations

from penstock_node_agent.config import Config
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
        from penstock_node_agent.join_command import enter

        enter(config, config.join)
    from penstock_node_agent.service import serve

    return serve(config)


command = command_for(Config, name="agent", help="Run what is assigned to this host.", run=run)
