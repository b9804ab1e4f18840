"""How is an embedded mesh asked for on the command line?

The options of `penstock up`, what it prints, and how signals end it. It does not know how a mesh
comes up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock_contracts.policies import POLICY_NAMES

if TYPE_CHECKING:
    import asyncio

    from penstock_mesh.preparation import MeshOptions

READY = "ready"
"""Whoever waits for the mesh waits for this word: nothing printed before may contain it."""


def default_data_directory() -> Path:
    """By the XDG base directory specification."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "penstock"


@click.command("up")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="PENSTOCK_DATA_DIR",
    help="Directory that holds everything; a later start on it continues.  "
    "[default: ~/.local/share/penstock]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="NATS port, 0 = a free one.  [default: 4222, or a free one if that is taken]",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65_535),
    help="HTTP API port, 0 = a free one.  [default: 8470, or a free one if that is taken]",
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but a loopback one needs --tls-cert and --tls-key.",
)
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Address on which the broker alone listens, over TLS, so that other hosts can join; makes "
    "a certificate unless --tls-cert is given. Everything else stays on --bind.",
)
@click.option(
    "--tls-cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate (PEM) that names the address clients use.",
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its private key (PEM).",
)
@click.option(
    "--simulate",
    multiple=True,
    metavar="NxGxMODEL[:K=V,...]",
    help="Add N nodes with G simulated devices, for example 4x8xH100; may be repeated. "
    "Their jobs are real processes. K=V are labels of the nodes, like site=a; racks=2 puts them in "
    "two racks, links=4 links four devices each, link=NAME those of all of them.",
)
@click.option("--no-local-node", is_flag=True, help="Run no node for this host itself.")
@click.option(
    "--sync-interval",
    default="10s",
    show_default=True,
    help="How long the broker may keep what it acknowledged from the disk; always = not at all. "
    "Matters when the machine loses power.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICY_NAMES),
    help="By which policy the scheduler chooses places.  [default: penstock]",
)
@click.option(
    "--workload",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV file of the jobs to expect, in the columns of OpenB.  [default: what is expected is "
    "learned from the jobs seen]",
)
@click.option("--json", "json_output", is_flag=True, help="Print the addresses as one JSON object.")
def command(
    data: Path | None,
    port: int | None,
    http_port: int | None,
    bind: str,
    listen: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    simulate: tuple[str, ...],
    no_local_node: bool,
    sync_interval: str,
    policy: str | None,
    workload: Path | None,
    json_output: bool,
) -> None:
    """Run a whole mesh on this machine, until SIGINT or SIGTERM."""
    from penstock_mesh.fleet import FleetError, parse_simulate
    from penstock_mesh.nats_server import is_loopback
    from penstock_mesh.preparation import MeshOptions

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if tls_cert is None and not is_loopback(bind):
        raise click.UsageError(
            f"--bind {bind} is open to the network and needs TLS: add --tls-cert and --tls-key. "
            "To make a certificate of your own: openssl req -x509 -newkey rsa:3072 -nodes "
            f"-days 365 -keyout key.pem -out cert.pem -subj /CN={bind} "
            f"-addext subjectAltName=IP:{bind},IP:127.0.0.1,DNS:localhost"
        )
    try:
        groups = tuple(parse_simulate(text) for text in simulate)
    except FleetError as error:
        raise click.UsageError(str(error)) from error
    options = MeshOptions(
        data=data or default_data_directory(),
        bind=bind,
        listen=listen,
        port=port,
        http_port=http_port,
        tls_certificate=None if tls_cert is None else tls_cert.absolute(),
        tls_key=None if tls_key is None else tls_key.absolute(),
        simulate=groups,
        local_node=not no_local_node,
        sync_interval=sync_interval,
        policy=policy,
        workload=None if workload is None else workload.absolute(),
    )
    _run(options, json_output)


def _run(options: MeshOptions, json_output: bool) -> None:
    import asyncio

    from penstock_mesh.data_directory import DirectoryInUse
    from penstock_mesh.embedded import StartFailed
    from penstock_mesh.fleet import FleetError
    from penstock_mesh.nats_server import CertificateUnfit, ServerNotFound
    from penstock_mesh.ports import PortsError

    try:
        asyncio.run(_serve(options, json_output))
    except (
        CertificateUnfit,
        DirectoryInUse,
        StartFailed,
        FleetError,
        ServerNotFound,
        PortsError,
    ) as error:
        raise click.ClickException(str(error)) from error


async def _serve(options: MeshOptions, json_output: bool) -> None:
    """Runs the mesh until a signal asks it to stop, also while it is still starting."""
    import asyncio

    import msgspec

    from penstock_mesh.embedded import EmbeddedMesh
    from penstock_mesh.preparation import Context, write_context

    stop = _stop_signal()
    mesh = EmbeddedMesh(options, lambda sentence: click.echo(sentence, err=True))
    starting = asyncio.ensure_future(mesh.start())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            running = starting.result()
            write_context(
                Context(
                    nats_url=running.nats_url,
                    creds=running.creds,
                    http_url=running.http_url,
                    http_token_file=running.http_token_file,
                    ca=running.certificate,
                )
            )
            if json_output:
                click.echo(msgspec.json.encode({READY: True} | msgspec.to_builtins(running)))
            else:
                click.echo(f"{READY} {running.sentence}")
            await stopping
            click.echo("stopping", err=True)
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait({starting, stopping})
        await mesh.stop()


def _stop_signal() -> asyncio.Event:
    """Set by SIGINT or SIGTERM, also where a shell started this process with SIGINT ignored, and
    by a terminal that goes away unless nohup has said to ignore that.
    """
    import asyncio
    import signal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    return stop
