"""What does `penstock` offer on the command line?

The table of commands, their help in one line each, and exit codes. A command's code is loaded when
it is used, so that `penstock --help` stays fast; services add theirs through the entry-point group
`penstock.commands`. It does not know what any command does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
ENTRY_POINTS = "penstock.commands"


class Entry(NamedTuple):
    """One command: where its click command lives, and its line in the help."""

    section: str
    target: str
    help: str


_HERE = "penstock_client.commands"
JOBS, NODES, MESH, SERVICES = "Jobs", "Nodes and use", "The mesh", "One service in the foreground"

COMMANDS: dict[str, Entry] = {
    "run": Entry(JOBS, f"{_HERE}.run:run", "Run a command as a job and stream its output."),
    "submit": Entry(JOBS, f"{_HERE}.submit:submit", "Submit the jobs of a YAML or JSON file."),
    "jobs": Entry(JOBS, f"{_HERE}.jobs:jobs", "List jobs, live and finished."),
    "job": Entry(JOBS, f"{_HERE}.jobs:job", "Show one job."),
    "logs": Entry(JOBS, f"{_HERE}.logs:logs", "Show what a job wrote; -f follows it."),
    "cancel": Entry(JOBS, f"{_HERE}.jobs:cancel", "Cancel jobs."),
    "explain": Entry(JOBS, f"{_HERE}.explain:explain", "Say why a job is where it is."),
    "files": Entry(JOBS, f"{_HERE}.files:files", "Keep files for jobs."),
    "secret": Entry(JOBS, f"{_HERE}.secret:secret", "Keep secrets for jobs."),
    "nodes": Entry(NODES, f"{_HERE}.nodes:nodes", "List nodes and what is free on them."),
    "node": Entry(NODES, f"{_HERE}.nodes:node", "Invite, show, drain, fence or remove a node."),
    "top": Entry(NODES, f"{_HERE}.top:top", "Show hosts, devices and jobs live."),
    "usage": Entry(NODES, f"{_HERE}.usage:usage", "Show GPU time and cost per tenant."),
    "price": Entry(NODES, f"{_HERE}.price:price", "Set what use costs, and list it."),
    "bill": Entry(NODES, f"{_HERE}.bill:bill", "Show, close and correct the bills of a month."),
    "pnl": Entry(NODES, f"{_HERE}.pnl:pnl", "Show profit and loss, and why devices were idle."),
    "cost": Entry(NODES, f"{_HERE}.cost:cost", "Say what nodes and devices cost."),
    "ledger": Entry(NODES, f"{_HERE}.ledger:ledger", "Check, export and explain the ledger."),
    "budget": Entry(NODES, f"{_HERE}.budget:budget", "Bound what tenants may use."),
    "credit": Entry(NODES, f"{_HERE}.budget:credit", "Keep what tenants pay in advance."),
    "queue": Entry(NODES, f"{_HERE}.queue:queue", "Show pools, shares, who is over and under."),
    "quota": Entry(NODES, f"{_HERE}.quota:quota", "Guarantee GPUs to tenants and bound them."),
    "pool": Entry(NODES, f"{_HERE}.pool:pool", "Put nodes into pools, each with its policy."),
    "reserve": Entry(NODES, f"{_HERE}.reserve:reserve", "Set nodes aside for a while."),
    "apply": Entry(NODES, f"{_HERE}.apply:apply", "Set the queue's policy to a file's."),
    "check": Entry(MESH, f"{_HERE}.check:check", "Audit every service and compare their accounts."),
    "up": Entry(MESH, "penstock_mesh.command:command", "Start a whole mesh on this machine."),
    "mesh": Entry(
        MESH, "penstock_mesh.initialisation:command", "Prepare a mesh whose processes run apart."
    ),
    "reader": Entry(
        MESH, "penstock_mesh.reader_command:command", "Show who reads each stream, or drop one."
    ),
    "backup": Entry(MESH, "penstock_mesh.backup_command:backup", "Copy a working mesh."),
    "restore": Entry(
        MESH, "penstock_mesh.backup_command:restore", "Make a mesh of a backup, where none is."
    ),
    "simulate": Entry(
        MESH,
        f"{_HERE}.what_if:simulate",
        "Try placement and the queue on a trace, in virtual time.",
    ),
    "completion": Entry(
        MESH, f"{_HERE}.completion:completion", "Print a shell's completion script."
    ),
    "agent": Entry(SERVICES, "penstock_node_agent.command:command", "Run work on this host."),
    "inventory": Entry(SERVICES, "penstock_inventory.command:command", "Keep the list of nodes."),
    "scheduler": Entry(SERVICES, "penstock_scheduler.command:command", "Decide what runs where."),
    "metering": Entry(SERVICES, "penstock_metering.command:command", "Keep the ledger of use."),
    "gateway": Entry(SERVICES, "penstock_gateway.command:command", "Serve the HTTP API."),
}


class PipeClosed(click.ClickException):
    """Whoever reads our output has left; ends as if SIGPIPE had, without a word."""

    exit_code = EXIT_PIPE_CLOSED

    def show(self, file: Any = None) -> None:
        """The interpreter's own flush at exit must not complain either."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


class LazyGroup(click.Group):
    """Lists commands from the table above and loads one only when it is used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError as error:
            raise PipeClosed("the reader has left") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        target = entry.target if entry is not None else _entry_point(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            extra = "agent" if cmd_name == "agent" else "server"
            raise click.ClickException(
                f"`penstock {cmd_name}` is not installed here ({error}): "
                f"pip install 'penstock[{extra}]'"
            ) from error
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            raise click.UsageError(_unknown_command(name), ctx)
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            rows = [(n, entry.help) for n, entry in COMMANDS.items() if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows, col_max=12)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        return [
            *(
                CompletionItem(n, help=e.help)
                for n, e in COMMANDS.items()
                if n.startswith(incomplete)
            ),
            *options,
        ]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --json, --url and --creds. Exit codes: 0 done, 1 failed, "
    "2 refused or wrong usage, 3 the mesh or a service is not there; `run` exits as its job does.",
)
@click.version_option(package_name="penstock")
def group() -> None:
    """Run work on a metered mesh of GPU hosts.

    `penstock up` starts a mesh on this machine; `penstock run --gpus 1 -- CMD` runs a job on it.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """The `penstock` program. Ends the process with the exit codes above."""
    sys.exit(_invoke(argv))


def _invoke(argv: Sequence[str] | None) -> int:
    try:
        result = group.main(args=argv, prog_name="penstock", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED


def _entry_point(name: str) -> str | None:
    """A command that another distribution has added."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.value
    return None


def _unknown_command(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    return f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


if __name__ == "__main__":
    main()
