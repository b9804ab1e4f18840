"""Why is a job where it is?

A typed answer for every state, from committed state: what it needs, what is free, who is ahead. It
does not know when that will change.
"""

from __future__ import annotations

from penstock_contracts.jobs import PLACED, PREPARING, QUEUED
from penstock_contracts.queries import Explanation
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.placement import fits_elsewhere, ranks_on, usable_devices
from penstock_scheduler.core.state import Job, Node, Shape


def explain(state: State, job: Job) -> Explanation:
    """The explanation of a live job."""
    if job.state == QUEUED:
        return _waiting(state, job)
    nodes = ", ".join(sorted({rank.node for rank in job.ranks}))
    if job.stop_reason:
        ended = sum(rank.exited is not None for rank in job.ranks)
        progress = f"{ended} of {len(job.ranks)} rank(s) have ended on {nodes}"
        sentence = f"stopping ({job.stop_reason}): {progress}"
        return _explanation(job, "stopping", sentence)
    if job.state in (PLACED, PREPARING):
        ready = sum(rank.prepared or rank.started for rank in job.ranks)
        sentence = f"starting on {nodes}: {ready} of {len(job.ranks)} rank(s) prepared"
        return _explanation(job, "preparing", sentence)
    return _explanation(job, "running", f"running on {nodes} as attempt {job.attempt}")


def _explanation(
    job: Job,
    code: str,
    sentence: str,
    needed: str = "",
    free: str = "",
    position: int | None = None,
) -> Explanation:
    return Explanation(
        job_id=job.spec.job_id,
        state=job.state,
        code=code,
        sentence=sentence,
        needed=needed,
        free=free,
        position=position,
    )


def needs_of(shape: Shape) -> str:
    """What a shape asks for, in words: `4 ranks x 2 GPU(s) of H100`."""
    if shape.gpus == 0:
        each = f"{shape.cpu_milli} milli-CPU"
    elif shape.gpu_milli < 1000:
        each = f"{shape.gpu_milli}/1000 of a GPU"
    else:
        each = f"{shape.gpus} GPU(s)"
    if shape.gpu_models and shape.gpus:
        each += f" of {' or '.join(shape.gpu_models)}"
    return each if shape.ranks == 1 else f"{shape.ranks} ranks x {each}"


def _waiting(state: State, job: Job) -> Explanation:
    shape = job.shape
    needed = needs_of(shape)
    position = state.line.position(job.spec.job_id)
    if not state.nodes:
        return _explanation(
            job, "no_nodes", "no node has joined the mesh yet", needed, "", position
        )
    open_nodes = [n for n in state.nodes.values() if n.schedulable]
    if not open_nodes:
        states = sorted({_closed_because(n.image) for n in state.nodes.values()})
        sentence = f"no node takes work now: all {len(state.nodes)} are {' or '.join(states)}"
        return _explanation(job, "no_schedulable_node", sentence, needed, "", position)
    elsewhere = shape.avoid and fits_elsewhere(shape, state.nodes, state.capacity)
    left_out = shape.avoid if elsewhere else ()
    asked = [node for node in open_nodes if node.image.node not in left_out]
    fit = sum(len(ranks_on(shape, node, shape.ranks)) for node in asked)
    free = _free(shape, asked)
    if left_out:
        free += f"; not asked while others could hold it: {', '.join(left_out)} (refused it)"
    ahead = f"; {position} job(s) ahead in line" if position else ""
    if fit >= shape.ranks:
        sentence = f"room is there ({free}); it is granted in the next round{ahead}"
        return _explanation(job, "waiting_behind", sentence, needed, free, position)
    ranks = f"{fit} of {shape.ranks} rank(s) would fit now; " if shape.ranks > 1 else ""
    sentence = f"waiting for {needed}: {ranks}{free}{ahead}"
    return _explanation(job, "waiting_for_devices", sentence, needed, free, position)


def _closed_because(image: object) -> str:
    if getattr(image, "draining", False):
        return "draining"
    if getattr(image, "cordoned", False):
        return "cordoned"
    if getattr(image, "refusals", 0):
        return "resting after it refused work"
    return str(getattr(image, "liveness", "unknown"))


def _free(shape: Shape, nodes: list[Node]) -> str:
    """What is free of what the shape could use on these nodes, in words."""
    if shape.gpus == 0:
        return f"{sum(n.cpu_free for n in nodes)} milli-CPU free on {len(nodes)} node(s)"
    most = whole = total = 0
    for node in nodes:
        usable = usable_devices(shape, node.image)
        here = sum(node.free[i] >= shape.gpu_milli for i in usable)
        total += len(usable)
        whole += here
        most = max(most, here)
    return f"{whole} of {total} usable GPU(s) free, at most {most} on one node"
