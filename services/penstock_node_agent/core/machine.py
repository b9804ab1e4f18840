"""What follows from an event?

`handle` is the only thing that changes a State, the same live and when the journal is replayed; it
returns what the shell should do, which a replay ignores. `judge` says beforehand whether a desired
state may be taken. It does not know the clock, the disk, the bus or the reaper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock_contracts.leases import Described, DesiredAck, NodeDesired
from penstock_contracts.nodes import NodeDescription
from penstock_node_agent.core import attempts, drawn, endings, events, spools
from penstock_node_agent.core.description import closed, describe_anew, facts_of, offers_of
from penstock_node_agent.core.instructions import (
    Forget,
    Instruction,
    Stop,
)
from penstock_node_agent.core.recall import recall
from penstock_node_agent.core.state import (
    ENDED,
    FINISHING,
    HELD,
    READYING,
    RUNNING,
    SPAWNING,
    State,
)
from penstock_node_agent.core.stock import take_stock
from penstock_node_agent.core.telling import tell_again
from penstock_node_agent.core.usage import count_device, cut_all, retire_boot

Instructions = list[Instruction]


def judge(state: State, desired: NodeDesired) -> DesiredAck:
    """Whether the agent takes this desired state: not before it knows its own node, never an older
    one nor one for another boot, a delta only over what it holds. The delta it took last is
    acknowledged again.
    """
    ours = DesiredAck(state.as_of, ok=False)
    if not state.ready or desired.as_of < state.as_of:
        return ours
    if desired.boot_id and desired.boot_id != state.boot_id:
        return ours
    repeated = desired.as_of == state.as_of
    if not desired.full and desired.base != state.as_of and not repeated:
        return ours
    return DesiredAck(desired.as_of)


def changes(state: State, desired: NodeDesired) -> bool:
    """Whether a desired state that was accepted has to be handled: a repeated delta has been."""
    return desired.full or desired.base == state.as_of


def handle(state: State, event: events.AnyEvent) -> Instructions:
    """Change the state by one event and return what to do."""
    todo: Instructions = []
    _HANDLERS[type(event)](state, event, todo)
    return todo


def _started(state: State, event: events.AgentStarted, todo: Instructions) -> None:
    state.ready = False
    state.strays.clear()
    state.starts += 1
    if event.boot_id != state.boot_id:
        _boot(state, event, todo)
    state.advertise_address, state.checks = event.advertise_address, event.checks
    state.own_offers, state.own_facts = event.offers, event.facts
    state.closed.clear()
    state.devices = {device.uuid: device for device in event.devices}
    for uuid in state.devices:
        count_device(state, uuid, state.axis_ms(event.at_ns))
    state.reports = [item for item in state.reports if not isinstance(item, Described)]
    description = NodeDescription(
        node=state.node,
        boot_id=state.boot_id,
        joined_ms=state.joined_ms,
        cpu_milli=event.cpu_milli,
        memory_mib=event.memory_mib,
        devices=event.devices,
        labels=event.labels,
        advertise_address=event.advertise_address,
        driver=event.driver,
        version=event.version,
        offers=offers_of(state),
        facts=facts_of(state),
    )
    state.described = description
    state.reports.insert(0, Described(description))
    attempts.leave_bad_devices(state, event.at_ns, todo)


def _devices_seen(state: State, event: events.DevicesSeen, todo: Instructions) -> None:
    state.devices = {device.uuid: device for device in event.devices}
    for uuid in state.devices:
        count_device(state, uuid, state.axis_ms(event.at_ns))
    if event.checks is not None:
        state.checks = event.checks
    if state.described is not None:
        driver = event.driver or state.described.driver
        state.described = msgspec.structs.replace(
            state.described, devices=event.devices, driver=driver
        )
        state.reports.append(Described(state.described))
    attempts.leave_bad_devices(state, event.at_ns, todo)


def _devices_read(state: State, event: events.DevicesRead, todo: Instructions) -> None:
    drawn.read(state, event)


def _abilities_changed(state: State, event: events.AbilitiesChanged, todo: Instructions) -> None:
    kept = {*state.own_offers, *event.gained} - {*event.lost}
    state.own_offers, state.own_facts = tuple(sorted(kept)), {**state.own_facts, **event.facts}
    describe_anew(state)


def _device_erred(state: State, event: events.DeviceErred, todo: Instructions) -> None:
    attempts.note_error(state, event.uuid, event.said)


def _boot(state: State, event: events.AgentStarted, todo: Instructions) -> None:
    """A new boot: nothing of before runs, and what was open is not guessed."""
    for recalled in event.recalled:
        recall(state, recalled, todo)
    for lease in list(state.leases.values()):
        endings.lose_with_boot(state, lease, todo, event.spool_bytes.get(lease.key))
    _distrust_slots(state, event.slots)
    retire_boot(state)
    state.boot_id, state.anchor_ns, state.joined_ms = event.boot_id, event.at_ns, event.wall_ms
    state.counted_ms = state.joined_ms


def _distrust_slots(state: State, found: tuple[int, ...]) -> None:
    """What was emptied or taken just before a power loss may be otherwise on the disk: only those
    slots are trusted that a spool names, and no number is given again."""
    used = {spool.slot for spool in state.spools.values()}
    doubtful = [slot for slot in (*state.slots_free, *found) if slot not in used]
    state.slots_dirty.update(dict.fromkeys(doubtful, False))
    state.slots_free.clear()
    state.slots = max(state.slots, *(slot + 1 for slot in (-1, *found)))


def _reconnected(state: State, event: events.Reconnected, todo: Instructions) -> None:
    pending = any(isinstance(item, Described) for item in state.reports)
    if state.described is not None and not pending:
        state.reports.append(Described(state.described))


def _ordered(state: State, event: events.Ordered, todo: Instructions) -> None:
    desired = event.desired
    known = set(state.leases)
    contact_ns = min(desired.heard_boot_ns, event.at_ns)
    for order in desired.leases:
        attempts.take(state, order, event.at_ns, contact_ns, todo)
    for key in desired.dropped:
        attempts.drop(state, key, todo)
    if desired.full:
        wanted = {order.key for order in desired.leases}
        for key in list(state.leases):
            if key not in wanted:
                attempts.drop(state, key, todo)
            elif key in known:
                tell_again(state, key)
    state.as_of = desired.as_of


def _port_found(state: State, event: events.PortFound, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is None or lease.stage not in (HELD, READYING) or lease.unready:
        return
    if event.port is None:
        message = "no port of the agent's range is free"
        attempts.decline(state, lease, "no_port", message, event.at_ns, todo)
    else:
        attempts.prepared(state, lease, event.at_ns, event.port)


def _readied(state: State, event: events.Readied, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is not None:
        attempts.readied(state, lease, event, todo)


def _began(state: State, event: events.Began, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is None:
        state.strays.append(event.key)
        todo.append(Stop(event.key, "cancelled", 0))
    elif lease.stage == SPAWNING:
        attempts.began(state, lease, event.at_ns)


def _ended(state: State, event: events.Ended, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is not None and lease.stage in (SPAWNING, RUNNING):
        endings.ended(state, lease, event)
        endings.finish(state, lease, todo)
    if event.gone_ns is not None:
        _gone(state, events.Gone(at_ns=event.gone_ns, key=event.key), todo)


def _gone(state: State, event: events.Gone, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is not None and lease.stage in (ENDED, FINISHING):
        endings.gone(state, lease, event.at_ns, todo)
        attempts.begin_waiting(state, event.at_ns, todo)
    if event.key in state.strays:
        state.strays.remove(event.key)
    todo.append(Forget(event.key))


def _finished(state: State, event: events.Finished, todo: Instructions) -> None:
    lease = state.leases.get(event.key)
    if lease is not None:
        endings.finished(state, lease, event, todo)
        attempts.begin_waiting(state, event.at_ns, todo)


def _cut(state: State, event: events.SegmentsCut, todo: Instructions) -> None:
    cut_all(state, event.at_ns, audit=event.audit)


def _stopping(state: State, event: events.NodeStopping, todo: Instructions) -> None:
    state.ready = False
    attempts.end_held(state, event.at_ns, todo)


def _reports_delivered(state: State, event: events.ReportsDelivered, todo: Instructions) -> None:
    del state.reports[: event.count]


def _batch_numbered(state: State, event: events.BatchNumbered, todo: Instructions) -> None:
    state.batch = event.batch


def _usage_delivered(state: State, event: events.UsageDelivered, todo: Instructions) -> None:
    if event.former:
        del state.former[:1]
    else:
        del state.usage[: event.count]
        del state.slices[: event.slices]


def _slot_cleared(state: State, event: events.SlotCleared, todo: Instructions) -> None:
    if state.slots_dirty.pop(event.slot, False):
        state.slots_free.append(event.slot)


_HANDLERS: dict[type, Callable[[State, Any, Instructions], None]] = {
    events.AgentStarted: _started,
    events.DevicesSeen: _devices_seen,
    events.DevicesRead: _devices_read,
    events.AbilitiesChanged: _abilities_changed,
    events.DeviceErred: _device_erred,
    events.Reconnected: _reconnected,
    events.Ordered: _ordered,
    events.PortFound: _port_found,
    events.Readied: _readied,
    events.Began: _began,
    events.Ended: _ended,
    events.Gone: _gone,
    events.Finished: _finished,
    events.ReaperReady: take_stock,
    events.SegmentsCut: _cut,
    events.NodeStopping: _stopping,
    events.ReportsDelivered: _reports_delivered,
    events.BatchNumbered: _batch_numbered,
    events.UsageDelivered: _usage_delivered,
    events.LogsDelivered: spools.delivered,
    events.LogsDropped: spools.dropped,
    events.LogsCut: spools.cut_off,
    events.Closed: closed,
    events.SlotCleared: _slot_cleared,
}
