"""What does a person see who has this host checked?

One line per finding, with what to do about it; or JSON. It does not know what is looked at.
"""

from __future__ import annotations

import asyncio

import click
import msgspec

from penstock_node_agent.checking.findings import FAIL, OK, WARN, Finding, Report, check
from penstock_node_agent.config import Config

EXIT_UNFIT = 1
COLOURS: dict[str, str] = {OK: "green", WARN: "yellow", FAIL: "red"}


def run_check(config: Config) -> int:
    """Exit code 1 where something must be put right first."""
    report = asyncio.run(check(config))
    if click.get_current_context().params.get("json_output"):
        click.echo(msgspec.json.encode(report).decode())
    else:
        _show(report)
    return 0 if report.fit else EXIT_UNFIT


def warn_of(config: Config) -> None:
    """After joining: only what is not as it should be, on stderr."""
    for finding in asyncio.run(check(config)).findings:
        if finding.state != OK:
            click.echo(f"penstock: {finding.state}: {finding.name}: {finding.found}", err=True)
            if finding.fix:
                click.echo(f"penstock:   {finding.fix}", err=True)


def _show(report: Report) -> None:
    width = max(len(finding.name) for finding in report.findings)
    for finding in report.findings:
        click.echo(_line(finding, width))
        if finding.fix and finding.state != OK:
            click.echo(f"{'':{width + 6}}→ {finding.fix}")
    counts = [sum(one.state == state for one in report.findings) for state in (FAIL, WARN)]
    word = "can join" if report.fit else "cannot join yet"
    click.echo(f"{report.node} {word}: {counts[0]} to fix, {counts[1]} to know of")


def _line(finding: Finding, width: int) -> str:
    state = click.style(f"{finding.state:<4}", fg=COLOURS[finding.state])
    return f"{state}  {finding.name:<{width}}  {finding.found}"
