"""How does `penstock run` make a remote job feel like a local command?

Submits one job, streams its output as raw bytes, passes Ctrl-C on as a cancel, and ends as the job
does. It does not know how jobs are placed.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from penstock_client.cli import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED
from penstock_client.commands.access import Access, mesh_options
from penstock_client.commands.asks import asks_of, asks_options
from penstock_client.commands.endings import HELP, exit_code_of, sentence_of
from penstock_client.commands.paying import paying_of, paying_options
from penstock_client.commands.turns import turn_of, turn_options
from penstock_client.commands.work import work_of, work_options

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.commands.output import Output
    from penstock_client.following import JobFollower
    from penstock_client.logs import LogReader
    from penstock_contracts.jobs import JobSpec
    from penstock_contracts.public import JobEvent

EXPLAIN_EVERY_S = 1.0
WAITING = ("submitted", "queued", "placed", "preparing", "preempted", "lost")


@click.command(epilog=HELP, context_settings={"ignore_unknown_options": False})
@click.option("--gpus", type=int, default=0, help="GPUs per rank.  [default: 0]")
@click.option(
    "--gpu-milli",
    type=int,
    metavar="M",
    help="Part of a GPU, in thousandths (1-1000): shared, best effort.",
)
@click.option("--gpu-memory-mib", type=int, metavar="MIB", help="Memory each GPU must have.")
@click.option("--gpu-model", metavar="A,B", multiple=True, help="GPU models that will do.")
@click.option("--ranks", type=int, default=1, help="Processes that start together.  [default: 1]")
@click.option("--cpu-milli", type=int, metavar="M", help="Thousandths of a core per rank.")
@click.option("--memory-mib", type=int, metavar="MIB", help="Memory per rank.")
@click.option("--tenant", default="default", help="Who pays.  [default: default]")
@click.option("--name", default="", help="A name for people.")
@click.option("--env", metavar="K=V", multiple=True, help="Environment of the job; repeatable.")
@click.option("--label", metavar="K=V", multiple=True, help="Label of the job; repeatable.")
@click.option("--time-limit", metavar="D", help="Stop it after so long: 90, 90s, 5m, 1h30m.")
@click.option("--priority", type=int, default=5, help="0 to 9, 9 goes first.  [default: 5]")
@click.option("--retries", type=int, default=0, help="Further attempts after a failure.")
@click.option("--grace", metavar="D", help="From SIGTERM to SIGKILL.  [default: 10s]")
@paying_options
@turn_options
@asks_options
@work_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@mesh_options
def run(access: Access, command: tuple[str, ...], tenant: str, **options: Any) -> int:
    """Run CMD as a job and stream its output. With --image, CMD may be the image's own.

    The job's stdout and stderr become this command's, byte by byte. Ctrl-C cancels the job and
    waits for its end; a second Ctrl-C leaves at once. With --json each fact and each piece of
    output is a JSON line.
    """
    from penstock_client.commands.output import Output

    if not command and options["image"] is None:
        raise click.UsageError("say what to run: -- CMD...")
    spec = _spec(command, **options)
    output = Output(as_json=access.as_json)
    try:
        return access.run(lambda client: _Run(client, output, spec, tenant, access.as_json).go())
    finally:
        output.close()


def _spec(command: tuple[str, ...], **options: Any) -> JobSpec:
    from penstock_client.ulids import new_job_id
    from penstock_contracts.jobs import GPU_MILLI_WHOLE, JobSpec

    models = [m for given in options["gpu_model"] for m in given.split(",") if m]
    grace_s = duration_of(options["grace"], "--grace")
    milli = options["gpu_milli"]
    return JobSpec(
        job_id=new_job_id(),
        command=command,
        name=options["name"],
        env=pairs_of(options["env"], "--env"),
        labels=pairs_of(options["label"], "--label"),
        ranks=options["ranks"],
        gpus=options["gpus"] or (1 if milli is not None else 0),
        gpu_milli=GPU_MILLI_WHOLE if milli is None else milli,
        gpu_memory_mib=options["gpu_memory_mib"],
        gpu_models=tuple(models),
        cpu_milli=options["cpu_milli"],
        memory_mib=options["memory_mib"],
        priority=options["priority"],
        time_limit_s=duration_of(options["time_limit"], "--time-limit"),
        retries=options["retries"],
        grace_s=10 if grace_s is None else grace_s,
        **paying_of(options, duration_of(options["disconnect"], "--disconnect")),
        **turn_of(options, duration_of(options["checkpoint_every"], "--checkpoint-every")),
        **asks_of(options, pairs_of(options["node_label"], "--node-label")),
        **work_of(options),
    )


def pairs_of(given: tuple[str, ...], option: str) -> dict[str, str]:
    """K=V arguments as a mapping."""
    for pair in given:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not K=V", param_hint=option)
    return dict(pair.split("=", 1) for pair in given)


def duration_of(text: str | None, option: str) -> int | None:
    """A length of time from an option, in seconds."""
    from penstock_client.durations import parse_duration_s

    try:
        return None if text is None else parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


class _Run:
    """One job from its submission to its end."""

    def __init__(
        self, client: Client, output: Output, spec: JobSpec, tenant: str, as_json: bool
    ) -> None:
        self._client = client
        self._output = output
        self._spec = spec
        self._tenant = tenant
        self._as_json = as_json
        self._state = "submitting"
        self._cancel = asyncio.Event()
        self._cancels = 0
        self._left = asyncio.Event()
        self._pipe_closed = False

    async def go(self) -> int:
        from penstock_client.submission import check_spec, raise_if_refused

        check_spec(self._spec)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        job_id = self._spec.job_id
        async with AsyncExitStack() as stack:
            follower, reader = await asyncio.gather(
                stack.enter_async_context(self._client.follower(job_id, self._tenant, fresh=True)),
                stack.enter_async_context(self._client.log_reader(job_id, self._tenant)),
            )
            submitting = asyncio.ensure_future(self._client.submit([self._spec], self._tenant))
            tasks = [asyncio.ensure_future(self._pass_on_cancel(submitting))]
            if self._output.shows_status:
                tasks.append(asyncio.ensure_future(self._show_waiting()))
            end = asyncio.ensure_future(self._follow(follower, reader))
            logs = asyncio.ensure_future(self._stream(reader))
            left = asyncio.ensure_future(self._left.wait())
            try:
                first: list[asyncio.Future[Any]] = [submitting, end]
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if submitting.done():
                    raise_if_refused(submitting.result())
                both = asyncio.gather(end, logs)
                last: list[asyncio.Future[Any]] = [both, left]
                await asyncio.wait(last, return_when=asyncio.FIRST_COMPLETED)
                if not both.done():
                    both.cancel()
                    return EXIT_INTERRUPTED
                event, _ = both.result()
                return self._finish(event, reader)
            finally:
                for task in (*tasks, submitting, end, logs, left):
                    task.cancel()
                await asyncio.gather(*tasks, submitting, end, logs, left, return_exceptions=True)

    async def _follow(self, follower: JobFollower, reader: LogReader) -> JobEvent:
        async for event in follower.events():
            self._state = event.fact
            if event.fact == "running":
                self._output.show_status("")
            if self._as_json:
                import msgspec

                await self._output.write_line({"event": msgspec.to_builtins(event)})
        reader.end(event.log_bytes)
        return event

    async def _stream(self, reader: LogReader) -> None:
        async for chunks in reader.follow():
            if not self._pipe_closed:
                try:
                    await self._output.write(chunks)
                except BrokenPipeError:
                    self._pipe_closed = True  # as SIGPIPE would end a local command
                    self._interrupt()

    def _finish(self, end: JobEvent, reader: LogReader) -> int:
        self._output.show_status("")
        for gap in reader.missing:
            click.echo(
                f"penstock: bytes {gap.start} to {gap.end} of {gap.stream} "
                f"(attempt {gap.attempt}, rank {gap.rank}) are missing",
                err=True,
            )
        if sentence := sentence_of(end) or (self._output.shows_status and _ended(end)) or "":
            click.echo(f"penstock: {sentence}", err=True)
        return EXIT_PIPE_CLOSED if self._pipe_closed else exit_code_of(end)

    def _interrupt(self) -> None:
        self._cancels += 1
        if self._cancels > 1:
            self._left.set()
        self._cancel.set()

    async def _pass_on_cancel(self, submitting: asyncio.Future[Any]) -> None:
        """Asks for the job's end until the wish is durable."""
        from penstock_client.failures import Refused, Unavailable

        await self._cancel.wait()
        self._output.show_status("cancelling; Ctrl-C again leaves it")
        await asyncio.wait({submitting}, timeout=EXPLAIN_EVERY_S)
        while True:
            try:
                await self._client.cancel(self._spec.job_id, self._tenant, reason="interrupted")
                return
            except Unavailable:
                await asyncio.sleep(EXPLAIN_EVERY_S)
            except Refused:
                return  # it has ended by itself; its end is on the way

    async def _show_waiting(self) -> None:
        """Says on the terminal why nothing runs yet, as often as that may change."""
        from penstock_client.failures import Refused, Unavailable

        self._output.show_status(f"job {self._spec.job_id} submitted")
        while True:
            await asyncio.sleep(EXPLAIN_EVERY_S)
            if self._state not in WAITING or self._cancels:
                continue
            try:
                why = await self._client.explain(self._spec.job_id)
                text = f"{why.state}: {why.sentence}"
            except Unavailable as error:
                text = f"{self._state}: {error}"
            except Refused:
                continue
            if self._state in WAITING and not self._cancels:
                self._output.show_status(f"job {self._spec.job_id} {text}")


def _ended(end: JobEvent) -> str:
    """For a terminal only: how an end looks that no output explains."""
    if end.fact == "timed_out":
        return "the job reached its time limit"
    return "the job was cancelled" if end.fact == "cancelled" else ""
