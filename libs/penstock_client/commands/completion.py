"""How does a shell learn to complete `penstock`?

Prints the script that click generates for the shell. It does not touch any of the user's files.
"""

from __future__ import annotations

import os
from typing import Any

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--url", expose_value=False, hidden=True)
@click.option("--creds", expose_value=False, hidden=True)
def completion(shell: str | None, as_json: bool) -> int:
    """Print the completion script of SHELL (default: your own).

    \b
    bash: source <(penstock completion bash)
    zsh:  source <(penstock completion zsh)
    fish: penstock completion fish | source
    """
    from click.shell_completion import get_completion_class

    from penstock_client.cli import group

    name = shell or os.path.basename(os.environ.get("SHELL", "bash"))
    kind: Any = get_completion_class(name)
    if kind is None:
        raise click.UsageError(f"no completion for {name!r}; choose one of {', '.join(SHELLS)}")
    script = kind(group, {}, "penstock", "_PENSTOCK_COMPLETE").source()
    if as_json:
        import msgspec

        script = msgspec.json.encode({"shell": name, "script": script}).decode()
    click.echo(script)
    return 0
