"""What should a node hold now?

Orders for an agent, derived from leases: a single-rank job runs at once; a gang's ranks prepare,
and run when the gang is ready; a lease with a stop reason stops. It does not know what was sent
before.
"""

from __future__ import annotations

from penstock_contracts.ids import lease_key
from penstock_contracts.leases import PREPARE, RUN, STOP, YIELDS, LeaseOrder
from penstock_contracts.work import inputs_of, outputs_of
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.state import Lease


def order_of(lease: Lease, *, begun: bool = False) -> LeaseOrder:
    """The order that stands for a lease now."""
    spec = lease.spec
    if lease.stop_reason:
        phase = STOP
    else:
        phase = RUN if spec.ranks == 1 or lease.ready is not None else PREPARE
    return LeaseOrder(
        lease_seq=lease.lease_seq,
        job_id=lease.job_id,
        tenant=lease.tenant,
        attempt=lease.attempt,
        rank=lease.rank,
        phase=phase,
        granted_ns=lease.granted_ns,
        command=spec.command,
        ranks=spec.ranks,
        local_rank=lease.local_rank,
        name=spec.name,
        env=spec.env,
        devices=lease.uuids,
        gpu_milli=lease.gpu_milli,
        gpu_memory_mib=spec.gpu_memory_mib,
        cpu_milli=lease.cpu_milli,
        memory_mib=lease.memory_mib,
        time_limit_s=spec.time_limit_s,
        grace_s=spec.grace_s,
        disconnect_s=spec.disconnect_s,
        rendezvous=lease.ready,
        stop_reason=lease.stop_reason,
        begun=begun,
        container=spec.container,
        user=spec.user,
        rlimits=spec.rlimits,
        memory_limit_mib=spec.memory_mib,
        pids_max=spec.pids_max,
        private_tmp=spec.private_tmp,
        inputs=inputs_of(spec.inputs, lease.rank),
        outputs=outputs_of(spec.outputs, lease.rank),
        secrets=spec.secrets,
        gpu_enforced=spec.gpu_enforced,
        paid_ms=lease.paid_ms,
        stop_signal=spec.checkpoint_signal if lease.stop_reason in YIELDS else "",
    )


def has_begun(state: State, lease: Lease) -> bool:
    """Whether the node has told that it started, or the attempt is over."""
    job = state.jobs.get(lease.job_id)
    return job is None or job.attempt != lease.attempt or job.ranks[lease.rank].started


def orders_of(state: State, node: str) -> dict[str, LeaseOrder]:
    """Every order of a node, by lease key; empty for an unknown node."""
    row = state.nodes.get(node)
    if row is None:
        return {}
    leases = (state.leases[lease_id] for lease_id in sorted(row.leases))
    orders = (order_of(lease, begun=has_begun(state, lease)) for lease in leases)
    return {order.key: order for order in orders}


def changes_of(
    state: State, node: str, keys: set[str]
) -> tuple[tuple[LeaseOrder, ...], tuple[str, ...]]:
    """Of the given lease keys, the orders that stand and the keys that are over."""
    row = state.nodes.get(node)
    held = {}
    if row is not None:
        for lease_id in row.leases:
            lease = state.leases[lease_id]
            key = lease_key(lease.lease_seq, lease.job_id, lease.rank)
            if key in keys:
                held[key] = lease
    leases = (held[key] for key in sorted(held))
    orders = tuple(order_of(lease, begun=has_begun(state, lease)) for lease in leases)
    return orders, tuple(sorted(keys - held.keys()))
