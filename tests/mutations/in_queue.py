"""Which bugs can be planted in the queue?

Where it is decided who is next, who has to yield and what is kept, and where that is told to hosts.
It does not know where a job fits.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CORE = "services/penstock_scheduler/core"
_QUEUE = f"{_CORE}/queue"

IN_QUEUE = (
    Mutation(
        name="a maximum counts only what is asked",
        file=f"{_QUEUE}/quotas/accounts.py",
        old=" or self.held_gpu + ask.gpu_milli <= gpu)",
        new=" or ask.gpu_milli <= gpu)",
        breaks="a quota holds more than it may",
    ),
    Mutation(
        name="a policy counts only what is granted under it",
        file=f"{_QUEUE}/folds.py",
        old="        state.count(lease, 1, now_ns)\n",
        new="        state.count(lease, 0, now_ns)\n",
        breaks="a quota holds more than it may",
    ),
    Mutation(
        name="a snapshot forgets what quotas hold",
        file=f"{_CORE}/machine.py",
        old="            state.restore_lease(lease)\n",
        new="            state.restore_lease(lease)\n            state.count(lease, -1, 0)\n",
        breaks="a successor grants beyond a maximum",
    ),
    Mutation(
        name="a snapshot forgets what is kept",
        file=f"{_CORE}/machine.py",
        old="        places.restore(state, snapshot.places)\n",
        new="        places.restore(state, snapshot.places[:0])\n",
        breaks="a successor gives away what others have yielded",
    ),
    Mutation(
        name="a node is in the last pool that could have it",
        file=f"{_QUEUE}/quotas/rules.py",
        old="        for pool in self.pools:\n            if all(labels",
        new="        for pool in reversed(self.pools):\n            if all(labels",
        breaks="jobs run in others' pools",
    ),
    Mutation(
        name="who holds what is guaranteed to him yields too",
        file=f"{_QUEUE}/yielding/victims.py",
        old="            if account.held_gpu - less <= account.guaranteed:\n",
        new="            if account.held_gpu - less < 0:\n",
        breaks="a guarantee is taken away",
    ),
    Mutation(
        name="spot work yields to spot work",
        file=f"{_QUEUE}/quotas/rules.py",
        old="            return CLAIM_NONE\n",
        new="            return 0\n",
        breaks="work is lost for work that is worth no more",
    ),
    Mutation(
        name="what is kept is not kept from others",
        file=f"{_QUEUE}/keeping/places.py",
        old="        node.kept = self.kept_on(node) if beside else None\n",
        new="        node.kept = None if beside else None\n",
        breaks="others have yielded in vain",
    ),
    Mutation(
        name="a guest's grace is not reckoned with",
        file=f"{_QUEUE}/keeping/bounds.py",
        old="    return margin_s + spec.time_limit_s + spec.grace_s + END_MARGIN_S\n",
        new="    return spec.time_limit_s + END_MARGIN_S if margin_s else None\n",
        breaks="who comes later delays who was promised a start",
    ),
    Mutation(
        name="nodes are set aside until the time begins",
        file=f"{_QUEUE}/keeping/reservations.py",
        old="    return closes_ms(one, shape) < at_ms < one.end_ms and",
        new="    return closes_ms(one, shape) < at_ms < one.start_ms and",
        breaks="others begin where it is reserved",
    ),
    Mutation(
        name="a policy made from an old one is set",
        file=f"{_QUEUE}/setting.py",
        old="    if asked.based_on is not None and asked.based_on != state.rules.version:\n",
        new="    if asked.based_on is not None and asked.based_on > state.rules.version:\n",
        breaks="two operators undo each other's work unseen",
    ),
    Mutation(
        name="an order that comes again is obeyed again",
        file=f"{_QUEUE}/setting.py",
        old="    if is_repeated(state, asked) or refusal_of",
        new="    if refusal_of",
        breaks="an old policy comes back",
    ),
    Mutation(
        name="who came last is first",
        file=f"{_QUEUE}/order.py",
        old="    return (urgency_of(job, pool), job.order, job.spec.job_id)\n",
        new="    return (urgency_of(job, pool), -job.order, job.spec.job_id)\n",
        breaks="jobs alike overtake each other",
    ),
    Mutation(
        name="the first in a strict line is passed over",
        file=f"{_QUEUE}/heads.py",
        old='    in_turn = pool.order in ("fifo", "hold") and not job.passed',
        new='    in_turn = pool.order in ("hold",) and not job.passed',
        breaks="a strict order is none",
    ),
    Mutation(
        name="work that yields is told by SIGTERM",
        file=f"{_CORE}/orders/desired.py",
        old='        stop_signal=spec.checkpoint_signal if lease.stop_reason in YIELDS else "",\n',
        new="",
        breaks="work is lost that could have been saved",
    ),
    Mutation(
        name="who had to yield has failed",
        file=f"{_CORE}/conclusions.py",
        old="    if stop_reason in YIELDS and any(",
        new="    if stop_reason in YIELDS and not any(",
        breaks="a job ends that should run again",
    ),
    Mutation(
        name="who waits is forgotten when the policy changes",
        file=f"{_QUEUE}/folds.py",
        old="            state.enqueue(job)\n",
        new="            state.line.remove(job.spec.job_id)\n",
        breaks="jobs wait for ever",
    ),
)
