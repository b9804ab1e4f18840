"""What really happened, as far as somebody outside the mesh could see it?

The record that a simulation or a run on a real cluster fills in and that the checkers read: what
ran where (seen where the work runs), what was asked, what the journals, the public facts, the
ledger and the logs say, and what was left at the end. It knows no rule and judges nothing.

World time (`at_ns`, `began_ns`) is the observer's own, the same for all nodes and never stepped;
boot time (`*_boot_ns`) is CLOCK_BOOTTIME of the host in question.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_contracts.queries import InventoryAudit, MeteringAudit, SchedulerAudit
from penstock_runtime.entries import Committed
from tests.checkers.books import Books, BudgetSaid, Line, MoneyOrder
from tests.checkers.queue_seen import Lookout, PolicyOrder

__all__ = [
    "AgentEnding",
    "Boot",
    "Cancel",
    "CursorSeen",
    "DeviceFault",
    "Ending",
    "Entry",
    "Fact",
    "Fault",
    "History",
    "Line",
    "LogChunk",
    "LogKey",
    "OrderSeen",
    "Run",
    "Signature",
    "Submission",
    "Violation",
]

LogKey = tuple[str, str, int, int, str]
"""(tenant, job id, attempt, rank, stream)."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was broken. `sentence` says it to a person; the rest finds the story.
    `checker` is filled in by the verdict."""

    code: str
    sentence: str
    checker: str = ""
    job_id: str | None = None
    node: str | None = None
    device: str | None = None
    at_ns: int = 0


class Run(msgspec.Struct, kw_only=True):
    """One rank's program that really ran: `[began_ns, ended_ns)` from its start until nothing of
    it was left; None = it still runs.

    `lease_seq` None = the program could not tell. `models`: what its devices really are, in order;
    empty = nobody looked. `alternative`: which of its job's choices it was told to be. `waited`:
    the reaper that started it saw its end (false: the reaper or the host died first). `ended_by`:
    `itself`, `device` (which failed under it), `reaper`, `leftover` (killed by a later reaper) or
    `host`. `written`: bytes per stream; `output`: those bytes, where they are known.
    `output_lost`: the spool files were lost with their disk, or nobody knows how much the program
    wrote before it was killed. `asked`: signals sent to it, with the host's boot time.
    `contained`: it ran in a container. `survives`: that outlives its reaper, which has noted that
    it began. `out_of_memory`: it was killed over its own limit.
    """

    node: str
    boot_id: str
    tenant: str
    job_id: str
    attempt: int
    rank: int
    began_ns: int
    began_boot_ns: int
    lease_seq: int | None = None
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    alternative: int = 0
    gpu_milli: int = 1000
    ended_ns: int | None = None
    ended_boot_ns: int | None = None
    waited: bool = False
    ended_by: str = ""
    exit_code: int | None = None
    signal: int | None = None
    written: dict[str, int] = {}
    output: dict[str, bytes] = {}
    output_lost: bool = False
    asked: list[tuple[int, int]] = []
    contained: bool = False
    survives: bool = False
    out_of_memory: bool = False

    def ended_with(self, code: int | None, number: int | None) -> bool:
        """Whether it may be told so. Of a container some hosts tell a signal as a shell does."""
        told = (code, number)
        as_code = self.contained and self.signal is not None and told == (128 + self.signal, None)
        return as_code or told == (self.exit_code, self.signal)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One job asked for. `request_seq` None = no acknowledgement came: it may be stored or not.
    `spec` None = rubbish was sent on purpose."""

    at_ns: int
    tenant: str
    job_id: str
    request_seq: int | None
    spec: JobSpec | None


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """One cancel asked for; as a submission."""

    at_ns: int
    tenant: str
    job_id: str
    request_seq: int | None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A journal entry when the broker had stored it, seen before any purge."""

    at_ns: int
    entry: Committed


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One message of FACTS."""

    stream_seq: int
    subject: str
    ce_id: str
    event: JobEvent | RequestRefusal


class CursorSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A reader has published that it needs nothing of the stream up to `seq` any more."""

    at_ns: int
    stream: str
    reader: str
    seq: int


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A desired state that reached an agent; `accepted` None = its answer is not known."""

    at_ns: int
    node: str
    as_of: int
    full: bool
    keys: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    accepted: bool | None = None


class LogChunk(msgspec.Struct, frozen=True):
    """One message of LOGS: bytes, or so many that were dropped in their place."""

    offset: int
    payload: bytes = b""
    dropped: int = 0

    @property
    def end(self) -> int:
        return self.offset + len(self.payload) + self.dropped


class Boot(msgspec.Struct, kw_only=True):
    """One life of a host. `ended_ns` None = it still runs; a host that lost its disk at the end of
    a boot (`destroyed`) can report nothing more of it."""

    node: str
    boot_id: str
    began_ns: int
    ended_ns: int | None = None
    destroyed: bool = False


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to the mesh. `until_ns` None = an instant, or it was never undone. `kind` in
    plain words: `host suspended`, `reaper frozen`, `agent killed`, `host cut off`, …"""

    at_ns: int
    kind: str
    node: str | None = None
    until_ns: int | None = None
    sentence: str = ""


class DeviceFault(msgspec.Struct, kw_only=True):
    """What a device really had, `[began_ns, ended_ns)`; None = it still has it. `kind` in a word:
    `off_bus`, `ecc`, `nvml_error`, `missing`, `unhealthy`; `work_spoilt` for an instant;
    `memory_held` by what `holder`, a rank that has ended there, has left. `told`: its driver told
    somebody of it when it began."""

    node: str
    device: str
    kind: str
    began_ns: int
    ended_ns: int | None = None
    holder: tuple[str, int, int] | None = None
    told: bool = False


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Inventory has signed that `key` is `node`."""

    at_ns: int
    key: str
    node: str


class AgentEnding(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent still holds and owes at the end. `containers`: of its own that are left;
    `others_gone`: of others, that were there."""

    node: str
    held: tuple[str, ...] = ()
    reports_owed: int = 0
    segments_owed: int = 0
    spools: int = 0
    containers: tuple[str, ...] = ()
    others_gone: tuple[str, ...] = ()


class Ending(msgspec.Struct, kw_only=True):
    """What was left once faults had stopped and time had been given to drain. `drained_ns` None =
    it did not drain within the bound. `entries_skipped`: by all recoveries from a journal, as they
    could not be read or did not fit; None = nobody counted. `outlooks`: what each copy of the
    scheduler would do next, line by line, the one that leads first."""

    faults_stopped_ns: int
    drained_ns: int | None = None
    live_jobs: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()
    agents: tuple[AgentEnding, ...] = ()
    scheduler: SchedulerAudit | None = None
    inventory: InventoryAudit | None = None
    metering: MeteringAudit | None = None
    entries_skipped: int | None = None
    outlooks: dict[str, tuple[str, ...]] = {}


class History(msgspec.Struct, kw_only=True):
    """Lists are in the order in which things happened.

    `lossy_broker`: the broker lost acknowledged data (a power loss under the default sync
    interval). `late_ns`: how long after the commit an entry may have been observed, `stamp_ms`: how
    far a host's stamps may lie from what the observer saw; both 0 in a simulation. `spool_bytes`:
    how much output of one attempt, and of one node, may wait there before some is dropped; None =
    that much never waits. `unknown_images`: that no registry has. `undecodable`:
    (stream, sequence) of journal entries that are no entries. `expected_findings`: codes that an
    audit may rightly report after what was done on purpose (`quarantined` after hostile usage).
    """

    lossy_broker: bool = False
    late_ns: int = 0
    stamp_ms: int = 0
    spool_bytes: tuple[int, int] | None = None
    unknown_images: tuple[str, ...] = ()
    runs: list[Run] = []
    boots: list[Boot] = []
    faults: list[Fault] = []
    device_faults: list[DeviceFault] = []
    signatures: list[Signature] = []
    submissions: list[Submission] = []
    cancels: list[Cancel] = []
    jobs_entries: list[Entry] = []
    nodes_entries: list[Entry] = []
    undecodable: set[tuple[str, int]] = set()
    expected_findings: frozenset[str] = frozenset()
    facts: list[Fact] = []
    cursors: list[CursorSeen] = []
    orders: list[OrderSeen] = []
    ledger: list[Line] = []
    logs: dict[LogKey, list[LogChunk]] = {}
    money_orders: list[MoneyOrder] = []
    budgets_said: list[BudgetSaid] = []
    policy_orders: list[PolicyOrder] = []
    lookouts: list[Lookout] = []
    books: Books | None = None
    ending: Ending | None = None
