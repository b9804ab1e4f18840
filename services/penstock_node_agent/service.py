"""How does a node agent live?

Wiring: state directory, driver, journal, reaper, bus, health; how it starts and how it ends. It
decides nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from penstock_bus.nats import connect
from penstock_bus.port import Bus, Outage
from penstock_contracts.roles import NODE_INBOX_PREFIX, ORDERS_PREFIX
from penstock_node_agent.agent import Agent
from penstock_node_agent.condition import metrics, why_not_ready
from penstock_node_agent.config import Config
from penstock_node_agent.core.events import AgentStarted, NodeStopping, Reconnected
from penstock_node_agent.devices.care import DeviceCare
from penstock_node_agent.devices.readings import Sampler, in_use, work_of
from penstock_node_agent.draining import drain
from penstock_node_agent.drivers import driver_for
from penstock_node_agent.drivers.simulated import SimulatedDriver
from penstock_node_agent.effects import Effects
from penstock_node_agent.host import Host, this_host
from penstock_node_agent.joining.standing import PUT_OUT, standing_of
from penstock_node_agent.journal import Journal
from penstock_node_agent.reaper_link import ReaperLink
from penstock_node_agent.recollection import recollect
from penstock_node_agent.supervision import Supervisor
from penstock_node_agent.workplace.slots import Slots
from penstock_runtime.health import Health
from penstock_runtime.logs import configure_logging
from penstock_runtime.process import (
    DRAIN_S_MAX,
    EXIT_CRASHED,
    EXIT_OK,
    EXIT_STEPPED_DOWN,
    StopSignal,
    run_service,
)

CONNECT_S = 2.0
CONNECT_RETRY_S = 0.5
LEAVE_S_MAX = 6.5
"""The reaper gives work 5 s between SIGTERM and SIGKILL when the node stops."""
STOP_S_MAX = 9.0

Connect = Callable[[], Awaitable[Bus]]
"""Raises Outage while there is no broker."""

log = logging.getLogger(__name__)


class StateDirectoryTaken(Exception):
    """Another agent uses this state directory."""


def serve(given: Config) -> int:
    """The agent's process."""
    configure_logging("agent", given.log_level)

    async def main(stop: StopSignal) -> int:
        standing = standing_of(given)
        config = given if standing is None else standing.config
        directory = config.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = take_lock(directory)
        except StateDirectoryTaken as error:
            log.error("%s", error)
            return EXIT_STEPPED_DOWN
        driver = await asyncio.to_thread(driver_for, config.driver, node=config.node)
        host = this_host(config, driver)
        supervisor = Supervisor(os.environ)
        telling = asyncio.ensure_future(
            supervisor.accompany(stop, config.drain_on_stop_s + DRAIN_S_MAX)
        )
        try:
            if standing is None:
                return await live(config, host, partial(_dial, config), stop)
            return await standing.live(partial(live, config, host), host.reaper, stop)
        finally:
            telling.cancel()
            driver.close()
            os.close(lock)

    return run_service(main, "agent", drain_s=given.drain_on_stop_s)


async def live(config: Config, host: Host, dial: Connect, stop: StopSignal) -> int:
    """Be the agent of a node, from before there is a broker until stopped; returns the exit code.
    The host may be a simulated one."""
    bus = await _connect(dial, stop)
    if bus is None:
        if config.stop_work_on_exit:
            await host.reaper.end(LEAVE_S_MAX)
        return EXIT_OK
    try:
        return await _live_connected(config, host, bus, stop)
    finally:
        await bus.close()


async def _live_connected(config: Config, host: Host, bus: Bus, stop: StopSignal) -> int:
    directory = str(config.directory)
    journal = Journal(host.disk, directory, config.node)
    slots = Slots(host.disk, directory)
    broken: list[str] = []

    def break_off(reason: str) -> None:
        broken.append(reason)
        stop.request(reason)

    link = ReaperLink(host.reaper, host.clock)
    first = await asyncio.to_thread(host.driver.discover)
    if host.podman is not None:
        await host.podman.open()
    care = DeviceCare(config, host, journal.state, first)
    await care.open()
    effects = Effects(bus, journal.state, host, slots=slots, link=link)
    effects.tools.checks, effects.tools.limits = care.checks, care.limits
    agent = Agent(
        bus,
        journal,
        effects,
        clock=host.clock,
        heartbeat_s=config.heartbeat_s,
        on_broken=break_off,
        on_failure=care.watch.look_soon,
    )
    watch = host.watch(slots.spool_dir, effects.shipper.grown)
    health = Health(why_not_ready=lambda: why_not_ready(bus, agent))
    health.metrics.add(lambda: metrics(agent))
    if isinstance(host.driver, SimulatedDriver):
        host.driver.pretend(host.clock.boottime_ns, partial(in_use, journal.state))
    work = partial(work_of, journal.state)
    sampler = Sampler(bus, host, config.node, config.sample_s, work, agent.take)
    health.metrics.add(sampler.metrics)
    await health.start(
        config.http_host, config.http_port, tls_cert=config.tls_cert, tls_key=config.tls_key
    )
    agent.take(_start(config, host, agent, slots, care))
    effects.workbench.sweep()
    keepers = (link.keep(), _work(agent), sampler.keep(), care.keep(agent.take))
    tasks = [asyncio.ensure_future(keeper) for keeper in keepers]
    bus.on_reconnect(lambda: _resend(agent))
    try:
        await _until_stopped(tasks, stop)
        if config.drain_on_stop_s and not broken and stop.reason != PUT_OUT:
            await drain(agent, host.clock, tasks, config.drain_on_stop_s)
        if (config.stop_work_on_exit or stop.reason == PUT_OUT) and not broken:
            await _stop_work(agent, host)
            await care.end()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        watch.close()
        agent.close()
        await health.stop()
    return EXIT_CRASHED if broken else EXIT_OK


def take_lock(directory: Path) -> int:
    """One agent per state directory; the lock ends with the descriptor. Raises
    StateDirectoryTaken."""
    lock = os.open(directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StateDirectoryTaken(f"{directory} is in use by another agent") from error
    return lock


async def _connect(dial: Connect, stop: StopSignal) -> Bus | None:
    """The bus, as soon as a broker answers; None when stopped before."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not stop.requested:
            attempt = asyncio.ensure_future(dial())
            await asyncio.wait((attempt, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                attempt.cancel()
                return None
            try:
                return attempt.result()
            except Outage as error:
                log.warning("no broker yet: %s", error)
                await asyncio.wait((stopped,), timeout=CONNECT_RETRY_S)
        return None
    finally:
        stopped.cancel()


async def _dial(config: Config) -> Bus:
    operator = config.nats_creds is not None
    return await connect(
        config.nats_url,
        name=f"penstock-node-{config.node}",
        credentials=str(config.nats_creds) if operator else None,
        inbox_prefix=f"{NODE_INBOX_PREFIX}{config.node}" if operator else None,
        subscribe_prefix=ORDERS_PREFIX if operator else "",
        connect_timeout_s=CONNECT_S,
    )


def _start(
    config: Config, host: Host, agent: Agent, slots: Slots, care: DeviceCare
) -> AgentStarted:
    capacity = host.driver.capacity()
    state = agent.state
    new_boot = state.boot_id != host.boot_id
    return AgentStarted(
        at_ns=host.clock.boottime_ns(),
        wall_ms=host.clock.now_ns() // 1_000_000,
        boot_id=host.boot_id,
        spool_bytes={
            key: (slots.size(spool.slot, "stdout"), slots.size(spool.slot, "stderr"))
            for key, spool in state.spools.items()
        },
        slots=slots.found(),
        recalled=recollect(host.disk, str(config.directory), state.boot_id) if new_boot else (),
        cpu_milli=capacity.cpu_milli,
        memory_mib=capacity.memory_mib,
        devices=care.devices,
        checks=care.wanted,
        labels=config.labels,
        advertise_address=config.advertise_address,
        driver=host.driver.name,
        version=version("penstock"),
        offers=(*care.offers, *(host.podman.offers if host.podman is not None else ())),
        facts=care.facts | (host.podman.facts if host.podman is not None else {}),
    )


async def _work(agent: Agent) -> None:
    """Orders are taken once the reaper has told what runs."""
    await agent.became_ready.wait()
    await agent.listen()
    log.info("taking orders", extra={"node": agent.state.node})
    await agent.beat()


async def _until_stopped(tasks: list[asyncio.Task[None]], stop: StopSignal) -> None:
    """Returns when asked to stop; raises what ended one of the tasks."""
    waiting = asyncio.ensure_future(stop.wait())
    done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done:
        task.result()


async def _stop_work(agent: Agent, host: Host) -> None:
    """Stop everything, tell it, and end the reaper; bounded, since what is owed is in the
    journal."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STOP_S_MAX
    agent.take(NodeStopping(at_ns=host.clock.boottime_ns()))
    await agent.effects.link.leave(LEAVE_S_MAX)
    agent.hurry()
    if agent.owes_nothing():
        return
    try:
        await asyncio.wait_for(agent.delivered_all.wait(), deadline - loop.time())
    except TimeoutError:
        log.warning("ends before all is told", extra=agent.counts())


async def _resend(agent: Agent) -> None:
    agent.take(Reconnected())
    agent.reports.retry()
    agent.usage.retry()
