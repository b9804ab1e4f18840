"""What did a month cost, charge by charge, for a file that other programs read?

The question for one page of an export and its answer. Charges are neutral: which columns they
become is for whoever writes the file. Money is integer micro-currency, quantities are integers of
their SKU's unit. It does not know how they are computed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Name, Number
from penstock_contracts.prices import PriceVersion

Month = Annotated[str, Meta(pattern=r"^(2[0-9]{3}-(0[1-9]|1[0-2]))?$(?!\n)")]
"""`2026-11`; empty = the one we are in."""
ChargeKind = Literal["usage", "free", "credit", "rounding", "idle"]
EXPORT_TIMEOUT_S = 60.0
"""The first page sorts the month."""


class ExportQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.export`. Without `export` a new one begins; later pages name it and count up.
    A page may be asked for again until the next one is. All pages are of one instant.

    `tenant`: only this one's. `provider`: with what it cost the provider, and with what nobody
    bought.
    """

    month: Month = ""
    tenant: Name = ""
    provider: bool = False
    export: Name = ""
    page: Number = 0


class Charge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one tenant pays for one SKU on one device and day, or a line that has no such parts
    (`day` None: of the whole month).

    `free` is use that an allowance covers. `consumed` was used, `priced` is paid for (after
    granularity, minimum and allowance), in the integers of `unit`. `list_version` is the price that
    others pay, `price_version` this tenant's; 0 = none was in force. `corrects` is the closed month
    of use that this adds to or takes from. `costs`: what it cost the provider, in `cost_currency`;
    `idle`: why nobody bought this time.
    """

    kind: ChargeKind
    currency: str = ""
    billed_micro: int = 0
    tenant: str = ""
    project: str = ""
    tier: str = ""
    site: str = ""
    node: str = ""
    device: str = ""
    model: str = ""
    sku: str = ""
    unit: str = ""
    price_version: int = 0
    list_version: int = 0
    day: int | None = None
    consumed: int | None = None
    priced: int | None = None
    corrects: str = ""
    invoice: str = ""
    invoice_line: int | None = None
    text: str = ""
    costs: dict[str, int] = {}
    cost_currency: str = ""
    idle: str = ""


class ExportPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`[start_ms, end_ms)` is the month. `issuer` bills. `prices` are the versions that charges of
    this page name. With `more`, ask for the next page of `export`."""

    export: str
    page: int
    month: str
    start_ms: int
    end_ms: int
    closed: bool
    issuer: str
    charges: tuple[Charge, ...]
    prices: tuple[PriceVersion, ...] = ()
    more: bool = False
