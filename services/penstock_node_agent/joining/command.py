"""What does a person see who has this host join?

One sentence per step on stderr, then the agent goes on as the node; or why not, with an exit code.
It does not know how a host joins.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import msgspec

from penstock_bus.port import Outage
from penstock_node_agent.checking.command import warn_of
from penstock_node_agent.config import Config
from penstock_node_agent.joining.admission import NotAdmitted, join
from penstock_node_agent.joining.membership import MembershipFiles, MembershipUnreadable
from penstock_node_agent.reaper.disk import Disk

STANDARD_INPUT = "-"
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 3


class JoinFailed(click.ClickException):
    """Shown as one sentence, with the code of the refusal."""

    exit_code = EXIT_REFUSED

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")

    def show(self, file: Any = None) -> None:
        click.echo(f"penstock: {self.message}", err=True)


class MeshAway(JoinFailed):
    """Trying again helps."""

    exit_code = EXIT_UNAVAILABLE


def enter(config: Config, token: str) -> None:
    """Has this host join, and says what of it is not as it should be. `-` reads the token from
    standard input, where no other user of the host sees it. Raises JoinFailed."""
    if token == STANDARD_INPUT:
        token = sys.stdin.readline()
    files = MembershipFiles(Disk(), config.membership)
    try:
        node = asyncio.run(join(token, config.node, files, _say))
    except NotAdmitted as error:
        raise JoinFailed(error.refusal.code, error.refusal.message) from error
    except Outage as error:
        raise MeshAway("unavailable", str(error)) from error
    except (MembershipUnreadable, OSError) as error:
        raise JoinFailed("invalid_field", str(error)) from error
    _say(f"joined as {node}; the next start needs no token")
    warn_of(msgspec.structs.replace(config, join=None))


def _say(sentence: str) -> None:
    click.echo(f"penstock: {sentence}", err=True)
