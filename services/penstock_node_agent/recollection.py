"""What does the reaper's log know of the boot before, that the journal may have lost?

Read once, when the agent starts in another boot than its journal's, before a reaper of this boot
replaces the log. It does not know what follows from it.
"""

from __future__ import annotations

import logging

import msgspec

from penstock_contracts.leases import LeaseOrder
from penstock_node_agent.core.events import Ended, Recalled
from penstock_node_agent.core.state import Lease
from penstock_node_agent.reaper.attempts import Attempt
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.records import read_log

log = logging.getLogger(__name__)


class Memo(msgspec.Struct, frozen=True):
    """What the reaper keeps with an attempt, as text that it does not look into."""

    order: LeaseOrder
    received_ns: int
    slot: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Memo).decode


def memo_of(lease: Lease, slot: int) -> str:
    """All that is needed to tell and to count the attempt; little of what it runs."""
    order = msgspec.structs.replace(
        lease.order, command=lease.order.command[:1], env={}, container=None, inputs=(), secrets=()
    )
    return _encode(Memo(order, lease.received_ns, slot)).decode()


def recollect(disk: Disk, directory: str, boot_id: str) -> tuple[Recalled, ...]:
    """Every attempt whose end the reaper of that boot had on the disk."""
    log_boot_id, attempts = read_log(disk, directory)
    if log_boot_id != boot_id:
        return ()
    recalled = []
    for attempt in attempts.values():
        if attempt.ended is None or not attempt.memo:
            continue
        try:
            recalled.append(_recalled(attempt, attempt.ended))
        except msgspec.DecodeError as error:
            log.error("an end that cannot be read: %s", error, extra={"lease": attempt.key})
    return tuple(recalled)


def _recalled(attempt: Attempt, ended: list[object]) -> Recalled:
    memo = _decode(attempt.memo)
    return Recalled(
        order=memo.order,
        received_ns=memo.received_ns,
        slot=memo.slot,
        began_ns=attempt.began_ns if attempt.pid else None,
        end=_end(attempt, ended),
    )


def _end(attempt: Attempt, line: list[object]) -> Ended:
    _, key, at_ns, code, number, reason, message, out_bytes, err_bytes, gone_ns = line
    return msgspec.convert(
        {
            "event": "ended",
            "key": key,
            "at_ns": at_ns,
            "code": code,
            "signal": number,
            "reason": reason,
            "message": message,
            "out_bytes": out_bytes,
            "err_bytes": err_bytes,
            "gone_ns": gone_ns or (attempt.clear_ns if attempt.gone else None),
        },
        Ended,
    )
