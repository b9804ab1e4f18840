"""Which bugs can be planted in the scheduler?

It does not know the journal under it.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SCHEDULER = "services/penstock_scheduler"

IN_SCHEDULER = (
    Mutation(
        name="release on missed heartbeats",
        file=f"{_SCHEDULER}/core/fleet.py",
        old="        return [msgspec.structs.replace(image, liveness=fact.liveness)]\n",
        new="        changed = msgspec.structs.replace(image, liveness=fact.liveness)\n"
        '        if fact.liveness == "lost":\n'
        '            return [*_vacate(state, fact.node, now_ns, "release_check", ""), changed]\n'
        "        return [changed]\n",
        breaks="a device is given away while work runs on it",
    ),
    Mutation(
        name="any new description taken for a new boot",
        file=f"{_SCHEDULER}/core/fleet.py",
        old="    if old is not None and old.image.boot_id != description.boot_id:\n",
        new="    if old is not None and old.image != image_of(description, old.image):\n",
        breaks="devices are freed while work runs on them",
    ),
    Mutation(
        name="report of another node believed",
        file=f"{_SCHEDULER}/core/reports.py",
        old="    if lease.lease_seq != item.lease_seq or lease.node != event.node:\n",
        new="    if lease.lease_seq != item.lease_seq:\n",
        breaks="a node ends another's work",
    ),
    Mutation(
        name="lease_seq check removed",
        file=f"{_SCHEDULER}/core/reports.py",
        old="    lease = state.leases.get((item.job_id, item.attempt, item.rank))\n"
        "    if lease is None:\n"
        "        return _exit_without_lease(state, event.node, item)\n"
        "    if lease.lease_seq != item.lease_seq or lease.node != event.node:\n"
        "        return []\n",
        new="    known = state.jobs.get(item.job_id)\n"
        "    attempt = item.attempt if known is None else known.attempt\n"
        "    lease = state.leases.get((item.job_id, attempt, item.rank))\n"
        "    if lease is None or lease.node != event.node:\n"
        "        return []\n",
        breaks="a report under an old lease counts for the present one",
        fast=True,
    ),
    Mutation(
        name="report of an old attempt counts for the present one",
        file=f"{_SCHEDULER}/core/reports.py",
        old="    if job is not None and job.attempt != item.attempt:\n        job = None\n",
        new="",
        breaks="a zombie ends its successor",
    ),
    Mutation(
        name="gang let go before all are prepared",
        file=f"{_SCHEDULER}/core/reports.py",
        old="    if all(others) and rendezvous is not None:\n",
        new="    if rendezvous is not None:\n",
        breaks="a gang starts although a rank may still refuse",
    ),
    Mutation(
        name="gang placed partly",
        file=f"{_SCHEDULER}/core/placing/gangs.py",
        old="    return tuple(placements)\n",
        new="    return tuple(placements[:-1] or placements)\n",
        breaks="some ranks hold devices and wait for others for ever",
    ),
    Mutation(
        name="two ranks on one device",
        file=f"{_SCHEDULER}/core/placing/gangs.py",
        old="whole[rank * pack.gpus : (rank + 1) * pack.gpus]",
        new="whole[: pack.gpus]",
        breaks="one device is given to two ranks of a gang",
    ),
    Mutation(
        name="a changed image forgets what is leased",
        file=f"{_SCHEDULER}/core/folds/nodes.py",
        old="old.leases if old is not None else state.homeless.pop(fact.node, {})",
        new="state.homeless.pop(fact.node, {})",
        breaks="a device is given away twice after a change of its node",
    ),
    Mutation(
        name="cancel of a waiting job forgotten",
        file=f"{_SCHEDULER}/core/requests.py",
        old="    if job.state == QUEUED:\n        facts.append(_cancelled",
        new="    if job.state == QUEUED and job.attempt > 1:\n        facts.append(_cancelled",
        breaks="a cancelled job runs",
    ),
    Mutation(
        name="retry without a new attempt",
        file=f"{_SCHEDULER}/core/folds/endings.py",
        old="    job.attempt = fact.attempt + 1\n",
        new="    job.attempt = fact.attempt\n",
        breaks="one attempt runs twice",
    ),
    Mutation(
        name="one retry too many",
        file=f"{_SCHEDULER}/core/conclusions.py",
        old="    if spared or job.retries_used < job.spec.retries:\n",
        new="    if spared or job.retries_used <= job.spec.retries:\n",
        breaks="a job runs more often than its tenant allowed",
    ),
    Mutation(
        name="ended jobs not remembered",
        file=f"{_SCHEDULER}/core/fold.py",
        old="        self.remembered[job_id] = job.digest\n",
        new="",
        breaks="a repeated request is another job",
    ),
    Mutation(
        name="lost contact frees devices",
        file=f"{_SCHEDULER}/core/fleet.py",
        old='"contact lost for longer than disconnect_s"\n        )\n',
        new='"contact lost for longer than disconnect_s"\n        )\n'
        "        facts += [\n"
        '            RankReleased(le.job_id, le.attempt, le.rank, None, "release_check")\n'
        "            for le in held\n"
        "        ]\n",
        breaks="time alone frees a device",
    ),
    Mutation(
        name="take-over assumes silence",
        file=f"{_SCHEDULER}/node_links.py",
        old="        self.contact_ns = dict.fromkeys(self._links, self._now_ns())\n",
        new="        self.contact_ns = dict.fromkeys(self._links, 0)\n",
        breaks="a new leader declares healthy attempts lost",
    ),
    Mutation(
        name="sick devices given away",
        file=f"{_SCHEDULER}/core/placing/capacity.py",
        old="None if uuid in image.unhealthy else (model, memory_mib)\n",
        new="(model, memory_mib)\n",
        breaks="work is placed where it cannot run",
    ),
    Mutation(
        name="work for nodes that take none",
        file=f"{_SCHEDULER}/core/placing/capacity.py",
        old="        node.schedulable,\n        node.order_units_free,\n",
        new="        True,\n        node.order_units_free,\n",
        breaks="work is placed on nodes that are lost or cordoned",
    ),
    Mutation(
        name="facts of the last entry told again",
        file=f"{_SCHEDULER}/fact_publisher.py",
        old="        return self._position.index if seq == self._position.seq else -1\n",
        new="        return -1\n",
        breaks="public facts are repeated after a reconnect",
    ),
    Mutation(
        name="facts sent without their fence",
        file=f"{_SCHEDULER}/fact_publisher.py",
        old="            headers[EXPECTED_SEQUENCE] = str(after)\n",
        new="",
        breaks="a public fact that was lost on the way stays missing",
    ),
)
