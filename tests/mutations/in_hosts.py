"""Which bugs can be planted in what a node does about its devices, containers and full disks?

It does not know how attempts go through their lives.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_AGENT = "services/penstock_node_agent"

IN_HOSTS = (
    Mutation(
        name="a job's error condemns its device",
        file=f"{_AGENT}/core/devices.py",
        old="        if harm is Harm.DEVICE:\n            self._condemned.setdefault",
        new="        if harm is not Harm.NONE:\n            self._condemned.setdefault",
        breaks="whoever writes a bad kernel takes the devices of a host away",
    ),
    Mutation(
        name="a fault of one device is all its neighbours'",
        file=f"{_AGENT}/core/devices.py",
        old="                if uuid in (known.well.uuid, known.well.parent):\n"
        "                    self._sicken(",
        new="                if known.well.uuid:\n                    self._sicken(",
        breaks="one device takes its host along",
    ),
    Mutation(
        name="work goes on on a device that has failed",
        file=f"{_AGENT}/core/attempts.py",
        old="        elif lease.stage in (SPAWNING, RUNNING) and not lease.stopping:\n"
        "            lease.fault",
        new="        elif lease.stage == SPAWNING and not lease.stopping:\n            lease.fault",
        breaks="a job hangs on a device that is gone, and is billed for it",
    ),
    Mutation(
        name="a job fails with its device",
        file="services/penstock_scheduler/core/conclusions.py",
        old="    spared = decisive.reason == DEVICE_FAILED and",
        new='    spared = decisive.reason == "declined" and',
        breaks="a job without retries ends where another device would have done",
    ),
    Mutation(
        name="memory that stays held is not waited for",
        file=f"{_AGENT}/core/endings.py",
        old="    if lease.gone_ns is not None and not event.held:\n",
        new="    if lease.gone_ns is not None:\n",
        breaks="the next job has not the memory that it was promised",
    ),
    Mutation(
        name="a device without an answer is called free",
        file=f"{_AGENT}/devices/checks.py",
        old="        return {uuid: fault.reason for uuid, fault in left.items()}\n",
        new="        return {}\n",
        breaks="a device is used while memory of the last job is held",
    ),
    Mutation(
        name="containers of a reaper that died are given up",
        file=f"{_AGENT}/reaper/contained.py",
        old="            if attempt.pid and attempt.ended is None:\n",
        new="            if not attempt.pid and attempt.ended is None:\n",
        breaks="work that could have gone on is lost",
    ),
    Mutation(
        name="containers of other meshes taken for ours",
        file=f"{_AGENT}/workplace/container_command.py",
        old='            "penstock.mesh": self.mesh,\n',
        new="",
        breaks="another mesh's work on the host is removed",
    ),
    Mutation(
        name="want of memory not told apart",
        file=f"{_AGENT}/reaper/container_life.py",
        old='    reason = OUT_OF_MEMORY if memory and killed else ""\n',
        new='    reason = ""\n',
        breaks="nobody learns why a job was killed",
    ),
    Mutation(
        name="a registry that is away is the job's fault",
        file=f"{_AGENT}/workplace/pulling.py",
        old='        return Unready("registry_unreachable", sentence, NODE)\n',
        new='        return Unready("registry_unreachable", sentence, JOB)\n',
        breaks="a job fails that another node could have run",
    ),
    Mutation(
        name="containers where there are none",
        file="services/penstock_scheduler/core/placing/topology.py",
        old="    return has_labels and all(word in image.offers for word in needs)\n",
        new="    return has_labels\n",
        breaks="a job is sent from node to node that cannot run it",
    ),
    Mutation(
        name="dropped output not said to be",
        file="libs/penstock_contracts/output.py",
        old="    if piece.dropped:\n",
        new="    if piece.dropped and piece.data:\n",
        breaks="readers wait for output that is gone",
    ),
    Mutation(
        name="output dropped while there is room",
        file=f"{_AGENT}/telling/spool_room.py",
        old="            excess = sum(tails.values()) - self._bounds.attempt_bytes\n",
        new="            excess = sum(tails.values())\n",
        breaks="output is lost that could have waited",
    ),
    Mutation(
        name="an invitation lets two in",
        file="services/penstock_inventory/core/members.py",
        old="        if invited.host_key:\n            return Refusal(",
        new="        if invited.host_key and not invited.used:\n            return Refusal(",
        breaks="who has seen a token is a node too",
    ),
    Mutation(
        name="an invitation never runs out",
        file="services/penstock_inventory/core/members.py",
        old="    if now_ns < invited.expires_ns:\n",
        new="    if now_ns < invited.expires_ns or invited.approved:\n",
        breaks="an old token lets somebody in",
    ),
    Mutation(
        name="who was put out comes in again",
        file="services/penstock_inventory/core/members.py",
        old="        if ask.key in self.revoked:\n            return Refusal(",
        new="        if ask.key in self.revoked and invited is None:\n            return Refusal(",
        breaks="a stolen key is a node again",
    ),
    Mutation(
        name="signed before it is committed",
        file="services/penstock_inventory/reception.py",
        old="        self._decide(message, Ask(invite, wish.key, wish.node), granted)\n",
        new="        self._authority.admit(wish.key, wish.node)\n"
        "        self._decide(message, Ask(invite, wish.key, wish.node), granted)\n",
        breaks="a host holds claims that no fact stands for",
    ),
)
