"""Does that policy hold which was ordered, and does each job get its place in it?

Lays what was ordered and answered beside what the journal says was set; and looks whether each
grant is on nodes of the job's own pool. It does not know who is next.
"""

from __future__ import annotations

from penstock_contracts.journal import LeaseGranted, PlaceKept, PolicySet
from tests.checkers.history import History, Violation
from tests.checkers.leases import facts_of
from tests.checkers.queue_seen import PolicyOrder
from tests.checkers.queueing import Scene, Told, follow_queue


def check_policies(history: History) -> list[Violation]:
    """Every order that was lost, doubled or misunderstood; every job in a pool not its own."""
    found = _orders(history)
    for told, scene in follow_queue(history):
        if isinstance(told.fact, LeaseGranted | PlaceKept):
            found += _elsewhere(told, scene)
    return found


def _orders(history: History) -> list[Violation]:
    orders: dict[str, list[PolicyOrder]] = {}
    for order in history.policy_orders:
        orders.setdefault(order.key, []).append(order)
    found: list[Violation] = []

    def note(code: str, sentence: str, at_ns: int = 0) -> None:
        found.append(Violation(code=code, sentence=sentence, at_ns=at_ns))

    held: dict[str, PolicySet] = {}
    version = 0
    for at_ns, seq, fact in facts_of(history.jobs_entries):
        if not isinstance(fact, PolicySet):
            continue
        if fact.key in held:
            note("policy_set_twice", f"JOBS {seq} sets what {fact.key} had set before", at_ns)
        if fact.version != version + 1:
            note("policy_miscounted", f"JOBS {seq} has version {fact.version} after {version}")
        order = next(iter(orders.get(fact.key, [])), None)
        if order is None:
            note("policy_of_nobody", f"JOBS {seq} sets a policy that nobody ordered", at_ns)
        elif order.policy != fact.policy:
            note("policy_changed", f"JOBS {seq} sets another policy than {fact.key}", at_ns)
        elif order.based_on not in (None, version):
            what = f"which was made from {order.based_on}, over version {version}"
            note("policy_overwritten", f"JOBS {seq} sets {fact.key}, {what}", at_ns)
        held[fact.key], version = fact, fact.version
    for key, said in orders.items():
        answers = {order.told for order in said} - {""}
        if said[0].faulty and (key in held or "done" in answers):
            note("contradiction_taken", f"{key} contradicts itself and was taken", said[0].at_ns)
        elif "done" in answers and key not in held:
            note("policy_lost", f"what was ordered under {key} is not set", said[0].at_ns)
        elif answers and "done" not in answers and key in held:
            note("refused_and_set", f"{key} was refused ({answers}), and is set", said[0].at_ns)
        wrongly = answers - {"done"} and not said[0].faulty and said[0].based_on is None
        if wrongly:
            note("refused_for_nothing", f"{key} was refused: {answers}", said[0].at_ns)
    return found


def _elsewhere(told: Told, scene: Scene) -> list[Violation]:
    wanted = scene.wanted.get(told.fact.job_id)
    if wanted is None:
        return []  # others find that
    pool = scene.policy.pool_of_job(wanted.spec)
    found = []
    for node in sorted({place.node for place in told.fact.ranks}):
        image = scene.images.get(node)
        here = scene.policy.pool_of_node(image.labels) if image is not None else None
        if image is not None and (here is None or here.name != pool.name):
            sentence = f"JOBS {told.seq} has {wanted.spec.job_id}, of pool {pool.name}, on {node}"
            found.append(
                Violation(
                    code="in_other_pool", sentence=sentence, job_id=wanted.spec.job_id,
                    node=node, at_ns=told.at_ns,
                )
            )  # fmt: skip
    return found
