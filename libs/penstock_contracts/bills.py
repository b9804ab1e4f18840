"""What is on a bill, and how is a month closed?

Drafts of months that are open, documents of those that are closed, what was posted, and how one
job's use became part of a line. It does not know how amounts are computed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Instant, Label, Name, Number
from penstock_contracts.jobs import Project

Month = Annotated[str, Meta(pattern=r"^([0-9]{4}-(0[1-9]|1[0-2]))?$(?!\n)")]
"""A calendar month in UTC, `2026-11`; empty = the present one."""
Tenant = Project
Lines = Annotated[str, Meta(max_length=1_000)]
"""An address: several lines."""
MICRO_MAX = 1 << 60

DRAFT = "draft"


class BillsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.bills`: of one tenant or all, behind the bill named `after`."""

    month: Month = ""
    tenant: Tenant = ""
    after: Label = ""


class Party(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who stands on a bill."""

    name: str
    address: str = ""
    tax_id: str = ""


class BillLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`kind`: `usage`, `rounding` or `credit_note`. `billed_quantity` less `free_quantity`, at
    `price_micro` for one `unit`, is `amount_micro`, rounded once. `discount_ppm`: what the price
    is less than the list price. `corrects`: the month that the use was in, where that was closed
    before; the line is what it costs more (or less) than was billed. `used_quantity` also counts
    what is not paid. `refers`: line of the invoice taken back.
    """

    number: int
    kind: str
    amount_micro: int
    sku: str = ""
    price_version: int = 0
    tier: str = ""
    site: str = ""
    unit: str = ""
    price_micro: int = 0
    discount_ppm: int = 0
    used_quantity: int = 0
    billed_quantity: int = 0
    free_quantity: int = 0
    corrects: str = ""
    refers: int = 0


class ProjectShare(msgspec.Struct, frozen=True):
    """A project's part of a bill; the parts sum to it, but for the rounding."""

    project: str
    amount_micro: int


class Bill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`number` is empty, and `issued_ms` None, while it is a draft. `kind`: `invoice` or
    `credit_note`. The lines sum to `total_micro`, of which `credit_micro` is paid from prepaid
    credit. `name` pages."""

    name: str
    number: str
    kind: str
    tenant: str
    month: str
    currency: str
    from_ms: int
    to_ms: int
    issued_ms: int | None
    total_micro: int
    credit_micro: int = 0
    lines: tuple[BillLine, ...]
    projects: tuple[ProjectShare, ...] = ()
    refers: str = ""
    reason: str = ""
    issuer: Party
    customer: Party


class BillsView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`closed_ms` None: the month is open, and what is not issued yet is a draft as of `now_ms`.
    With `more`, ask again after the last one."""

    month: str
    now_ms: int
    closed_ms: int | None = None
    bills: tuple[Bill, ...]
    more: bool = False


class ClosePeriod(msgspec.Struct, frozen=True, kw_only=True):
    """`command.metering.close_period`: from then on the month's documents are issued, and nothing
    is added to it. `key`: a ULID drawn by the asker, so that a repeat changes nothing."""

    key: Name
    month: Month


class PeriodClosed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`totals_micro` per currency. `unfinished`: leases that ran on then; what they used before the
    month's end and had not been sent goes to a later one."""

    month: str
    closed_ms: int
    documents: int
    totals_micro: dict[str, int]
    unfinished: int = 0


class CreditInvoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`command.metering.credit_invoice`: a credit note over `amount_micro` (None = all that is
    left) of an invoice, or of one `line` of it."""

    key: Name
    invoice: Label
    line: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    amount_micro: Annotated[int, Meta(ge=1, le=MICRO_MAX)] | None = None
    reason: Annotated[Label, Meta(min_length=1)]


class SetParty(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`command.metering.set_party`: how a tenant, or (empty) whoever sends bills, stands on those
    issued from now on."""

    key: Name
    tenant: Tenant = ""
    name: Annotated[Label, Meta(min_length=1)]
    address: Lines = ""
    tax_id: Label = ""


class AccountsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.accounts`."""

    month: Month = ""


class AccountBalance(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted to an account in the month: debits less credits is `balance_micro`."""

    account: str
    currency: str
    debit_micro: int
    credit_micro: int

    @property
    def balance_micro(self) -> int:
        return self.debit_micro - self.credit_micro


class AccountsView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of an open month, with what its drafts would post. Debits and credits sum to the same in each
    currency."""

    month: str
    closed_ms: int | None = None
    accounts: tuple[AccountBalance, ...]


class JobAccountQuery(msgspec.Struct, frozen=True):
    """`query.metering.job_account`: how a job's use became part of lines."""

    job_id: Label


class SegmentShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One segment as its agent sent it. `counted`: the part of it inside the lease; None = not
    believed, `why` says why."""

    seq: int
    t0_ms: Instant
    t1_ms: Instant
    counted_ms: int | None = None
    devices: tuple[str, ...] = ()
    milli: int = 0
    why: str = ""


class LeaseShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rank of one attempt. `segments_said`: how many its agent says there are; `removed` ones
    were in the ledger, and went when their month had long been closed."""

    lease_seq: Number
    attempt: int
    rank: int
    node: str
    granted_ms: int
    started_ms: int | None = None
    exited_ms: int | None = None
    released_ms: int | None = None
    reason: str = ""
    segments_said: int | None = None
    segments: tuple[SegmentShown, ...] = ()
    removed: bool = False


class RatedShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stretch at one price. `billed_quantity` is more than `quantity` where granularity or
    minimum add to it, 0 in a state that costs nothing, and less than 0 where it takes back."""

    lease_seq: Number
    rank: int
    device: str = ""
    sku: str
    price_version: int
    state: str
    from_ms: int
    to_ms: int
    quantity: int
    billed_quantity: int
    period: str
    corrects: str = ""


class ShareShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The job's part of one line: `billed_quantity` of the line's, hence `amount_micro` of its
    amount. The exact share is `exact_micro` and `exact_rest`/`exact_of`; `rounded_up`: the job got
    one of the units that are left when all shares are rounded down. `document`: empty = a draft.
    """

    period: str
    document: str = ""
    line: BillLine
    currency: str
    granularity_ms: int = 0
    minimum_ms: int = 0
    billed_quantity: int
    amount_micro: int
    exact_micro: int
    exact_rest: int = 0
    exact_of: int = 1
    rounded_up: bool = False


class JobAccount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """With `cut`, there was more than fits an answer: the oldest segments and stretches are left
    out."""

    job_id: str
    tenant: str
    project: str = ""
    state: str
    leases: tuple[LeaseShown, ...]
    rated: tuple[RatedShown, ...]
    shares: tuple[ShareShown, ...]
    cut: bool = False
