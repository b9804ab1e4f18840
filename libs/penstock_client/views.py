"""What do the services say about jobs, nodes, use and their own books?

One method per question, the scheduler's and metering's views of jobs joined into one. It changes
nothing but nodes, by command.
"""

from __future__ import annotations

import asyncio

from penstock_bus.port import Bus
from penstock_client.checking import Report, check
from penstock_client.failures import NotFound, Refused, Unavailable, refuse
from penstock_client.questions import QUERY_TIMEOUT_S, ask, ask_on
from penstock_client.subjects import check_job_id, subject_of
from penstock_contracts.explanations import Explanation, StartSaid
from penstock_contracts.jobs import TERMINAL
from penstock_contracts.nodes import NodeCommand, NodeView
from penstock_contracts.queries import (
    JobQuery,
    JobsQuery,
    JobsView,
    JobView,
    NodeQuery,
    NodesQuery,
    NodesUseView,
    NodesView,
    UsageQuery,
    UsageView,
)

HANDOVER_S = 5.0
"""A job that has just ended has left the scheduler and may not be in metering's history yet."""
HANDOVER_PAUSE_S = 0.05
JOB_FINISHED = "job_finished"
NODE_VERBS = ("cordon", "uncordon", "drain", "fence", "remove")


class Views:
    """Questions to the services over one bus. All raise Refused and Unavailable."""

    bus: Bus

    async def job(self, job_id: str) -> JobView:
        """The scheduler's view of a job while it lives, then metering's. Raises NotFound."""
        query = JobQuery(check_job_id(job_id))
        deadline = asyncio.get_running_loop().time() + HANDOVER_S
        while True:
            outage: Unavailable | None = None
            ended = False
            try:
                return await ask(self.bus, "scheduler", "job", query, JobView)
            except Unavailable as error:
                outage = error
            except Refused as error:
                ended = _must_have_ended(error)
            try:
                return await ask(self.bus, "metering", "job", query, JobView)
            except NotFound:
                if outage is not None:
                    raise outage from None
                if not ended or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(HANDOVER_PAUSE_S)

    async def jobs(self, query: JobsQuery) -> tuple[JobsView, list[str]]:
        """Live and finished jobs, newest first, and the services that did not answer. None is told
        that is older than where some service's page ends: the next page has it in its place.

        Raises Unavailable when none did.
        """
        services = ("scheduler", "metering")
        answers = await asyncio.gather(
            *(ask(self.bus, service, "jobs", query, JobsView) for service in services),
            return_exceptions=True,
        )
        found: dict[str, JobView] = {}
        silent: list[str] = []
        more, told_from = False, ""
        for service, answer in zip(services, answers, strict=True):
            if isinstance(answer, Unavailable) and len(silent) < len(services) - 1:
                silent.append(service)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                if answer.more and answer.jobs:
                    more, told_from = True, max(told_from, answer.jobs[-1].job_id)
                for job in answer.jobs:
                    if job.job_id not in found or job.state in TERMINAL:
                        found[job.job_id] = job
        known = [job for job in found.values() if job.job_id >= told_from]
        newest = sorted(known, key=lambda job: job.job_id, reverse=True)
        more = more or len(newest) > query.limit
        return JobsView(tuple(newest[: query.limit]), more), silent

    async def explain(self, job_id: str) -> Explanation:
        """Why the job is where it is; for one that has ended, how it did. Raises NotFound."""
        query = JobQuery(check_job_id(job_id))
        try:
            return await ask(self.bus, "scheduler", "explain", query, Explanation)
        except Refused as error:
            _must_have_ended(error)
            job = await self.job(job_id)
            sentence = _story_of(job)
            return Explanation(
                job_id=job_id,
                state=job.state,
                code="finished",
                sentence=sentence,
                said=_said_of(job),
            )

    async def nodes(self) -> NodesView:
        """Every node, page by page."""
        page = await ask(self.bus, "inventory", "nodes", NodesQuery(), NodesView)
        nodes = page.nodes
        while page.more and page.nodes:
            query = NodesQuery(after=page.nodes[-1].description.node)
            page = await ask(self.bus, "inventory", "nodes", query, NodesView)
            nodes += page.nodes
        return NodesView(page.seq, nodes)

    async def nodes_use(self) -> NodesUseView:
        """What is free on every node, page by page."""
        page = await ask(self.bus, "scheduler", "nodes", NodesQuery(), NodesUseView)
        nodes = page.nodes
        while page.more and page.nodes:
            query = NodesQuery(after=page.nodes[-1].node)
            page = await ask(self.bus, "scheduler", "nodes", query, NodesUseView)
            nodes += page.nodes
        return NodesUseView(page.seq, nodes)

    async def node(self, name: str) -> NodeView:
        """One node. Raises NotFound."""
        try:
            return await ask(self.bus, "inventory", "node", NodeQuery(name), NodeView)
        except Refused as error:
            raise NotFound(error.refusal) from error

    async def command_node(self, name: str, verb: str, command: NodeCommand) -> NodeView:
        """cordon, uncordon, drain, fence or remove; returns the node once that is committed."""
        if verb not in NODE_VERBS:
            known = ", ".join(NODE_VERBS)
            raise refuse("unknown_verb", f"{verb[:40]!r} is not one of {known}", "verb")
        subject = subject_of("node_command", node=name, verb=verb)
        return await ask_on(self.bus, subject, "inventory", command, NodeView, QUERY_TIMEOUT_S)

    async def usage(self, query: UsageQuery) -> UsageView:
        """Use and cost per tenant."""
        return await ask(self.bus, "metering", "usage", query, UsageView)

    async def check(self) -> Report:
        """Every service's audit at one watermark, compared."""
        return await check(self.bus)


def _must_have_ended(error: Refused) -> bool:
    """Whether the scheduler remembers the job as ended; other refusals but "unknown" are raised."""
    if error.refusal.code == JOB_FINISHED:
        return True
    if isinstance(error, NotFound):
        return False
    raise error


def _story_of(job: JobView) -> str:
    """One sentence about a job that has ended."""
    how = f"exit code {job.exit_code}" if job.exit_code is not None else ""
    how = f"signal {job.signal}" if job.signal is not None else how
    parts = "; ".join(part for part in (how, job.reason, job.message) if part)
    return f"The job has {job.state.replace('_', ' ')}" + (f" ({parts})." if parts else ".")


def _said_of(job: JobView) -> StartSaid | None:
    """What was said of the start of its last attempt, if anything."""
    if job.estimated_ms is None:
        return None
    return StartSaid(said_ms=job.estimated_ms, start_ms=job.expected_ms, placed_ms=job.placed_ms)
