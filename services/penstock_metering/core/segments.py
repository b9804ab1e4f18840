"""What does one message of usage mean for the ledger?

Checks a node's message and turns each segment into a posting. What cannot be true is rejected with
its reason, never mended. It does not know which segments are known already.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.usage import DeviceCounter, DeviceSlice, Segment, UsageBatch
from penstock_metering.core.accounts import Counter

_encode = msgspec.json.Encoder().encode
_MILLI_MAX = 1_000_000_000
_MS_MAX = 1 << 48
_NUMBER_MAX = 1 << 62
_NAME_LETTERS_MAX = 256
ULID_LETTERS = 26
PAYLOAD_KEPT_MAX = 65_536
"""Letters kept of what was not believed."""


SegmentKey = tuple[int, str, int, int]
"""(lease_seq, job_id, rank, seq): what a segment's derived id is made of."""


class Posting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One segment as the ledger takes it. `milli` is per device, or of the processors when there
    are no devices. What each device drew and did stands in the order of `devices`, or nowhere;
    None = unknown."""

    key: SegmentKey
    devices: tuple[str, ...]
    milli: int
    t0_ms: int
    t1_ms: int
    payload: str
    energy_mj: tuple[int | None, ...] = ()
    used_milli_ms: tuple[int | None, ...] = ()


class Rejected(msgspec.Struct, frozen=True):
    """What was not believed, where it stood, and why."""

    stream: str
    seq: int
    reason: str
    payload: str


class UsageMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a node, stored as `seq` of USAGE."""

    seq: int
    node: str
    boot_id: str
    batch: int
    postings: tuple[Posting, ...]
    counters: tuple[Counter, ...]
    slices: tuple[DeviceSlice, ...] = ()


def read_usage(
    seq: int, node: str, said: UsageBatch
) -> tuple[UsageMessage | None, tuple[Rejected, ...]]:
    """`node` is whose credential wrote it; a message in another's name is rejected whole. Else
    only what is wrong in it is: a counter that cannot be leaves segments what they are."""
    if said.node != node:
        return None, (_reject(seq, f"sent by {node}", said),)
    if not (_is_name(said.boot_id) and 0 <= said.batch <= _NUMBER_MAX):
        return None, (_reject(seq, "boot id or batch out of range", said),)
    postings, rejected = [], []
    counters = [counter for counter in said.counters if _is_sound(counter)]
    if len(counters) != len(said.counters):
        rejected.append(_reject(seq, "counter out of range", said))
    slices = tuple(slice_ for slice_ in said.slices if _is_possible(slice_))
    if len(slices) != len(said.slices):
        rejected.append(_reject(seq, "slice out of range", said))
    for segment in said.segments:
        fault = _fault(segment)
        if fault:
            rejected.append(_reject(seq, fault, segment))
        else:
            postings.append(_post(segment))
    message = UsageMessage(
        seq=seq,
        node=node,
        boot_id=said.boot_id,
        batch=said.batch,
        postings=tuple(postings),
        counters=tuple(
            Counter(
                node=node,
                boot_id=said.boot_id,
                uuid=counter.uuid,
                batch=said.batch,
                since_ms=counter.since_ms,
                upto_ms=counter.upto_ms,
                running_milli_ms=counter.running_milli_ms,
            )
            for counter in counters
        ),
        slices=slices,
    )
    return message, tuple(rejected)


def newest(known: Counter | None, said: Counter) -> Counter:
    """Counters are cumulative: the one of the highest batch holds all before it."""
    if known is None or (said.batch, said.upto_ms) > (known.batch, known.upto_ms):
        return said
    return known


def _fault(segment: Segment) -> str:
    devices = segment.devices
    if not 0 <= segment.t0_ms <= segment.t1_ms < _MS_MAX:
        return "ends before it begins"
    if len(devices) > 1 and len(set(devices)) != len(devices):
        return "names a device twice"
    if "" in devices or not _is_ulid(segment.job_id):
        return "a name is not valid"
    if not (0 < segment.gpu_milli <= GPU_MILLI_WHOLE and 0 <= segment.cpu_milli <= _MILLI_MAX):
        return "capacity out of range"
    if min(segment.seq, segment.lease_seq, segment.rank) < 0:
        return "negative number"
    if max(segment.seq, segment.lease_seq, segment.rank) > _NUMBER_MAX:
        return "number out of range"
    if segment.device_energy_mj or segment.used_milli_ms:
        return _fault_in(segment.device_energy_mj, devices) or _fault_in(
            segment.used_milli_ms, devices
        )
    return ""


def _fault_in(measured: tuple[int | None, ...], devices: tuple[str, ...]) -> str:
    if measured and len(measured) != len(devices):
        return "measures other devices than it names"
    for value in measured:
        if value is not None and value > _NUMBER_MAX:
            return "measured value out of range"
    return ""


def _is_ulid(text: str) -> bool:
    return len(text) == ULID_LETTERS and text.isascii() and text.isalnum()


def _is_sound(counter: DeviceCounter) -> bool:
    in_order = 0 <= counter.since_ms <= counter.upto_ms < _MS_MAX
    return in_order and 0 <= counter.running_milli_ms <= _NUMBER_MAX and _is_name(counter.uuid)


def _is_possible(slice_: DeviceSlice) -> bool:
    in_order = 0 <= slice_.t0_ms < slice_.t1_ms < _MS_MAX
    numbers = (slice_.seq, slice_.energy_mj or 0, slice_.used_milli_ms or 0)
    return in_order and all(0 <= n <= _NUMBER_MAX for n in numbers) and _is_name(slice_.uuid)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _NAME_LETTERS_MAX and text.isprintable()


def _post(segment: Segment) -> Posting:
    return Posting(
        key=(segment.lease_seq, segment.job_id, segment.rank, segment.seq),
        devices=segment.devices,
        milli=segment.gpu_milli if segment.devices else segment.cpu_milli,
        t0_ms=segment.t0_ms,
        t1_ms=segment.t1_ms,
        payload=_encode(segment).decode(),
        energy_mj=segment.device_energy_mj,
        used_milli_ms=segment.used_milli_ms,
    )


def _reject(seq: int, reason: str, content: Segment | UsageBatch) -> Rejected:
    return Rejected("USAGE", seq, reason, _encode(content).decode()[:PAYLOAD_KEPT_MAX])
