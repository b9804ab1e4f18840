"""Which messages have a golden wire sample?

One example of every type that goes over the wire or into a journal. Examples may be added; a
changed one is a broken promise. Run as a module it writes the files that are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from penstock_contracts import budgets, expectations, joining, journal, leases, nodes, public, usage
from penstock_contracts import samples as readings
from penstock_contracts.asks import Alternative
from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import CancelJob, JobSpec
from tests.contracts import money_samples, queue_samples

GOLDEN = Path(__file__).parent / "golden"
JOB = "01MCC5RM000000000000000001"
KEY, OTHER_KEY = "U" + "A" * 55, "U" + "B" * 55


def samples() -> dict[str, tuple[Any, Any]]:
    """Name → (type to decode as, value)."""
    found: dict[str, tuple[Any, Any]] = {}
    for value in _wire():
        found[type(value).__name__] = (type(value), value)
    for fact in _job_facts():
        found[f"jobs-{type(fact).__name__}"] = (journal.JobFact, fact)
    for node_fact in _node_facts():
        found[f"nodes-{type(node_fact).__name__}"] = (nodes.NodeFact, node_fact)
    for item in _report_items():
        report = leases.NodeReport("n1", "boot", (item,))
        found[f"report-{type(item).__name__}"] = (leases.NodeReport, report)
    found["JobSpec-asks"] = (JobSpec, _asking_spec())
    found["JobSpec-turn"] = (JobSpec, queue_samples.spec())
    for value in queue_samples.wire():
        found[type(value).__name__] = (type(value), value)
    for fact in queue_samples.job_facts():
        found[f"jobs-{type(fact).__name__}"] = (journal.JobFact, fact)
    for fact in _asked_facts():
        found[f"jobs-{type(fact).__name__}-asks"] = (journal.JobFact, fact)
    for fact in money_samples.paid_facts():
        found[f"jobs-{type(fact).__name__}-paid"] = (journal.JobFact, fact)
    use = money_samples.metered_use()
    found["MeteredUse"] = (type(use), use)
    for fact in (money_samples.rates(), money_samples.budget()):
        found[f"budget-{type(fact).__name__}"] = (budgets.BudgetFact, fact)
    return found


def _spec() -> JobSpec:
    return JobSpec(
        job_id=JOB,
        command=("python", "train.py"),
        name="train",
        env={"A": "b"},
        ranks=2,
        gpus=1,
        gpu_milli=500,
        gpu_memory_mib=4096,
        gpu_models=("H100",),
        cpu_milli=4000,
        memory_mib=8192,
        priority=9,
        time_limit_s=60,
        retries=1,
        grace_s=5,
        disconnect_s=30,
        labels={"team": "x"},
    )


def _asking_spec() -> JobSpec:
    """With all that a job can ask of its places."""
    return JobSpec(
        job_id=JOB,
        command=("python", "train.py"),
        ranks=4,
        gpus=2,
        gpu_models=("H100",),
        alternatives=(
            Alternative(gpus=4, gpu_models=("A100",), speed_milli=800),
            Alternative(
                gpus=1, gpu_milli=500, gpu_memory_mib=20_000, cpu_milli=1000, memory_mib=1024
            ),
        ),
        near="rack",
        near_required=True,
        spread="node",
        spread_ranks=2,
        node_labels={"zone": "a"},
        apart="database",
    )


def _asked_facts() -> tuple[Any, ...]:
    return (
        journal.LeaseGranted(JOB, 1, (journal.RankPlacement(0, "n1"),), alternative=2),
        journal.NodeImaged(
            node="n1",
            boot_id="b",
            cpu_milli=1,
            memory_mib=1,
            devices=(("GPU-1", "H100", 81_559), ("GPU-2", "H100", None)),
            links=("n1-0", ""),
        ),
    )


def _description() -> nodes.NodeDescription:
    device = nodes.Device(uuid="GPU-1", index=0, model="H100", memory_mib=81_559)
    return nodes.NodeDescription(
        node="n1",
        boot_id="boot",
        joined_ms=5,
        cpu_milli=16_000,
        memory_mib=131_072,
        devices=(device,),
        labels={"rack": "r1"},
        driver="nvml",
        version="0.1.0",
    )


def _segment() -> usage.Segment:
    return usage.Segment(
        lease_seq=7,
        job_id=JOB,
        tenant="acme",
        attempt=1,
        rank=0,
        seq=0,
        t0_ms=10,
        t1_ms=20,
        devices=("GPU-1",),
        gpu_milli=500,
        cpu_milli=4000,
        energy_mj=12,
        last=True,
    )


def _wire() -> list[Any]:
    order = leases.LeaseOrder(
        lease_seq=7,
        job_id=JOB,
        tenant="acme",
        attempt=1,
        rank=0,
        phase="run",
        granted_ns=9,
        command=("true",),
        devices=("GPU-1",),
        rendezvous=leases.Rendezvous("10.0.0.1", 20_000),
    )
    counter = usage.DeviceCounter("GPU-1", 5, 20, 5000)
    event = public.JobEvent(
        seq=7,
        index=1,
        job_id=JOB,
        tenant="acme",
        fact="failed",
        attempt=1,
        at_ms=20,
        exit_code=3,
        reason="exited",
        nodes=("n1",),
        log_bytes={"1.0.stdout": 4},
    )
    item = journal.RefusedItem(0, Refusal("invalid_field", "too big", "gpus"), JOB)
    return [
        _spec(),
        CancelJob(JOB, "enough"),
        leases.NodeDesired(as_of=9, base=7, leases=(order,), dropped=("3/x/0",)),
        leases.DesiredAck(9, False),
        leases.LeaseRenewal(11),
        nodes.Heartbeat(node="n1", boot_id="boot", sent_boot_ns=3, as_of=9, digest="ab", running=1),
        nodes.NodeCommand("disk swap", 60),
        usage.UsageBatch("n1", "boot", 4, (_segment(),), (counter,)),
        usage.AuditReply("n1", "boot", 12),
        event,
        public.RequestRefusal(seq=8, index=0, tenant="acme", request_seq=5, refused=(item,)),
        _node_sample(),
    ]


def _node_sample() -> readings.NodeSample:
    work = readings.WorkSample(job_id=JOB, lease_seq=7, rank=1, processes=2, memory_mib=900)
    device = readings.DeviceSample(
        uuid="GPU-1",
        index=0,
        model="H100",
        utilisation_percent=0,
        power_mw=71_500,
        throttled=("power",),
        work=(work,),
    )
    return readings.NodeSample(node="n1", at_ms=20, every_ms=10_000, devices=(device,))


def _job_facts() -> list[Any]:
    where = leases.Rendezvous("10.0.0.1", 20_000)
    refusal = Refusal("impossible", "too large")
    placement = journal.RankPlacement(0, "n1", ("GPU-1",), 0)
    return [
        journal.RequestRefused("acme", 5, (journal.RefusedItem(-1, refusal),)),
        journal.JobSubmitted("acme", 5, "digest", _spec()),
        journal.JobRejected(JOB, refusal, "acme"),
        journal.LeaseGranted(JOB, 1, (placement,), 500, 4000, 8192, "acme"),
        journal.AttemptPreparing(JOB, 1, 10, "acme"),
        journal.RankPrepared(JOB, 1, 0, where),
        journal.GangReady(JOB, 1, where),
        journal.RankStarted(JOB, 1, 0, 11),
        journal.AttemptRunning(JOB, 1, 11, "acme"),
        journal.RankExited(
            job_id=JOB, attempt=1, rank=0, reason="exited", at_ms=20, exit_code=3, segments=1
        ),
        journal.RankReleased(JOB, 1, 0, 20, "release_check"),
        journal.StopRequested(JOB, 1, "gang_failed"),
        journal.CancelRequested(JOB, 6, "enough"),
        journal.AttemptEnded(JOB, 1, "lost", "lost", "acme"),
        journal.JobFinished(
            job_id=JOB, attempt=1, state="failed", exit_code=3, reason="exited", tenant="acme"
        ),
        journal.NodeImaged(
            node="n1",
            boot_id="boot",
            cpu_milli=16_000,
            memory_mib=131_072,
            devices=(("GPU-1", "H100", 81_559),),
        ),
        journal.NodeForgotten("n1"),
        journal.JobIdsForgotten(5),
        journal.WorkloadExpected(
            (expectations.ExpectedShape(4_000, 1, 470, 0, ("A100",), 64),),
            (0, 200_000, 1_000_000),
            {"A100": 310},
            10_000,
            {"A100": 8},
            given=True,
        ),
        journal.StartsExpected((journal.StartExpected(JOB, 1, 99), journal.StartExpected(JOB, 2))),
    ]


def _node_facts() -> list[Any]:
    return [
        nodes.NodeRegistered(_description()),
        nodes.NodeLivenessChanged("n1", "lost", "silent for 10 s"),
        nodes.NodeCordoned("n1", True, 99, "disk swap"),
        nodes.NodeUncordoned("n1"),
        nodes.NodeFenced("n1", "boot", "pulled"),
        nodes.NodeRemoved("n1"),
        joining.NodeInvited(
            invite=KEY, expires_ns=99, node="n1", site="a", pool="p", approved=False
        ),
        joining.NodeAsked("n1", OTHER_KEY, KEY),
        joining.NodeAdmitted("n1", OTHER_KEY, KEY, {"site": "a"}),
        joining.NodeRevoked("n1", OTHER_KEY),
    ]


def _report_items() -> list[Any]:
    step = {"job_id": JOB, "attempt": 1, "rank": 0, "lease_seq": 7, "at_ms": 20}
    return [
        leases.Preparing(**step),
        leases.Prepared(**step, rendezvous=leases.Rendezvous("10.0.0.1", 20_000)),
        leases.Started(**step),
        leases.Exited(**step, reason="signalled", signal=9, log_bytes={"stdout": 4}, segments=1),
        leases.Released(**step),
        leases.Declined(**step, code="device_gone", message="GPU-1 is gone"),
        leases.Described(_description()),
    ]


if __name__ == "__main__":
    for name, (_, value) in samples().items():
        path = GOLDEN / f"{name}.json"
        if not path.exists():
            path.write_bytes(msgspec.json.encode(value))
