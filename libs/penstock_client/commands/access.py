"""How does a command reach the mesh, and how does it fail?

The options that all commands share, the connection, and the way from a refusal or an outage to a
sentence and an exit code. It does not know any command.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock_client.cli import EXIT_REFUSED, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from penstock_client.client import Client

T = TypeVar("T")


class Access:
    """Where the user wants to go (None = as configured) and how answers are shown."""

    def __init__(self, url: str | None, creds: str | None, as_json: bool) -> None:
        self.url = url
        self.creds = creds
        self.as_json = as_json

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Connects, does `work`, disconnects. Failures become click's, with their exit codes."""
        import asyncio

        from penstock_client.client import Client
        from penstock_client.failures import Refused, Unavailable

        async def connected() -> T:
            async with await Client.connect(self.url, self.creds, name="penstock") as client:
                working = asyncio.ensure_future(work(client))
                closed = asyncio.ensure_future(client.closed.wait())
                waited: list[asyncio.Future[Any]] = [working, closed]
                try:
                    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                    if not working.done():
                        raise Unavailable("the broker has closed the connection for good")
                    return working.result()
                finally:
                    for task in waited:
                        task.cancel()
                    await asyncio.gather(*waited, return_exceptions=True)

        try:
            return asyncio.run(connected())
        except Refused as error:
            refusal = error.refusal
            raise Failure(
                refusal.code, refusal.message, self.as_json, field=refusal.field
            ) from error
        except Unavailable as error:
            sentence = f"{error}\n{_advice(error.service)}"
            raise UnavailableFailure("unavailable", sentence, self.as_json) from error

    def remove_each(
        self, names: tuple[str, ...], remove: Callable[[Client, str], Awaitable[None]]
    ) -> None:
        """One after the other over one connection; with --json they are named."""
        from penstock_client.commands.tables import print_json

        async def work(client: Client) -> None:
            for name in names:
                await remove(client, name)

        self.run(work)
        if self.as_json:
            print_json({"removed": names})


class Failure(click.ClickException):
    """Shown as one sentence on stderr; with --json also as an object on stdout."""

    exit_code = EXIT_REFUSED

    def __init__(self, code: str, sentence: str, as_json: bool = False, *, field: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.field = field
        self.as_json = as_json

    def show(self, file: Any = None) -> None:
        at = f" [{self.field}]" if self.field else ""
        click.echo(f"penstock: {self.code}: {self.message}{at}", err=True)
        if self.as_json:
            import msgspec

            refusal = {"code": self.code, "message": self.message, "field": self.field}
            click.echo(msgspec.json.encode({"refusal": refusal}))


class UnavailableFailure(Failure):
    """The mesh, or a service of it, is not there."""

    exit_code = EXIT_UNAVAILABLE


def mesh_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json, --url and --creds and hands the command an `Access` as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--url", metavar="URL", help="Where NATS listens.  [env: PENSTOCK_NATS_URL]")
    @click.option(
        "--creds", metavar="PATH", help="NATS credentials file.  [env: PENSTOCK_NATS_CREDS]"
    )
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, url: str | None, creds: str | None, **rest: Any) -> Any:
        return command(Access(url, creds, as_json), *args, **rest)

    return wrapped


def _advice(service: str) -> str:
    if service:
        return (
            "Is it running? `penstock up` starts and supervises it; "
            f"`penstock {service}` runs it alone."
        )
    return (
        "Start one on this machine with `penstock up`, or say where it is: "
        "--url nats://HOST:4222 --creds FILE."
    )
