"""Is the command line itself right: help, completion, wrong usage, no mesh, no terminal?"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh

ESCAPE = b"\x1b"
EXEMPT = ("mesh", "reader", "completion", "up", "simulate")
"""What needs no mesh."""
HASTY = """
from functools import partial
from penstock_client.cli import main
from penstock_client.client import Client
Client.connect = partial(Client.connect, timeout_s=0.2)
main()
"""
"""The command line, but it gives up a mesh that is not there sooner."""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--gpus", "-1", "--", "true"),
        ("run", "--gpus", "many", "--", "true"),
        ("run", "--tenant", "a.b", "--", "true"),
        ("run", "--time-limit", "soon", "--", "true"),
        ("run", "--env", "A", "--", "true"),
        ("run", "--", ""),
        ("run",),
        ("rnu",),
        ("jobs", "--limit", "0"),
        ("submit", "/nowhere"),
        ("node", "cordon", "a.b"),
    ],
)
async def test_wrong_usage_exits_with_2_and_a_sentence(
    real_mesh: FakeMesh, penstock: Penstock, arguments: tuple[str, ...]
) -> None:
    done = await penstock(*arguments)
    assert done.code == 2
    assert done.err
    assert b"Traceback" not in done.err
    assert real_mesh.jobs == {}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script(penstock: Penstock, shell: str) -> None:
    done = await penstock("completion", shell)
    assert done.code == 0
    assert b"_PENSTOCK_COMPLETE" in done.out


def penstock_path() -> str:
    return str(Path(sys.executable).parent / "penstock")


def test_completion_offers_commands_without_loading_them() -> None:
    env = {
        **os.environ,
        "_PENSTOCK_COMPLETE": "bash_complete",
        "COMP_WORDS": "penstock no",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([penstock_path()], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,nodes", "plain,node"]


def test_help_loads_no_service_and_nothing_that_is_slow() -> None:
    code = (
        "import sys; from penstock_client.cli import _invoke; _invoke(['--help']);"
        "heavy = {'nats', 'aiohttp', 'rich', 'msgspec', 'asyncio', 'yaml', 'penstock_bus'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gateway" in done.stdout


def test_every_command_has_its_own_help() -> None:
    from click.testing import CliRunner

    from penstock_client.cli import COMMANDS, group

    for name in COMMANDS:
        result = CliRunner().invoke(group, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        is_group = "COMMAND [ARGS]" in result.output  # its commands have them
        for flag in ("--json", "--url", "--creds"):
            assert flag in result.output or is_group or name in EXEMPT, (name, flag)


def test_the_table_holds_every_entry_point() -> None:
    import tomllib

    from penstock_client.cli import COMMANDS, ENTRY_POINTS

    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    for name, target in project["entry-points"][ENTRY_POINTS].items():
        assert COMMANDS[name].target == target


def test_without_a_mesh_commands_say_how_to_start_one(tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PENSTOCK_NATS_URL": "nats://127.0.0.1:9",
    }
    command = [sys.executable, "-c", HASTY, "jobs", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:9" in done.stderr
    assert "penstock up" in done.stderr
    assert json.loads(done.stdout)["refusal"]["code"] == "unavailable"


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [penstock_path(), "completion", "bash"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_colours_appear_on_a_terminal_only() -> None:
    code = (
        "from penstock_client.commands.tables import print_table;"
        "print_table(('STATE',), [('failed',)], '')"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert plain.stdout == b"STATE\nfailed\n"
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", code], stdout=child, env=env, check=True)
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 0)[0]:
        try:
            shown += os.read(parent, 4096)
        except OSError:
            break
    os.close(parent)
    assert ESCAPE in shown
