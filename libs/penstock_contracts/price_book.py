"""How is a price set, and what does the price book say?

Asked of metering, which alone keeps the book. It does not know what was used.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Instant, Name, Number
from penstock_contracts.jobs import Project
from penstock_contracts.prices import (
    GRANULARITY_MS_MAX,
    MICRO_MAX,
    PPM,
    PriceVersion,
    State,
    Tier,
)

Token = Project
"""A tenant or a site; empty = all."""


class SetPrice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new version of one price. `key`: a ULID drawn by the asker, so that a repeat changes
    nothing. Either `micro` or, for a tenant, `discount_ppm` off the list price. In force from
    `effective_from_ms` (None = now) on, never from before now. What is None stays as it is in the
    version that is followed, or as a new price has it."""

    key: Name
    sku: Name
    micro: Annotated[int, Meta(ge=0, le=MICRO_MAX)] | None = None
    discount_ppm: Annotated[int, Meta(ge=1, le=PPM)] | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] | None = None
    tenant: Token = ""
    site: Token = ""
    tier: Tier = ""
    effective_from_ms: Instant | None = None
    granularity_ms: Annotated[int, Meta(ge=1, le=GRANULARITY_MS_MAX)] | None = None
    minimum_ms: Annotated[int, Meta(ge=0, le=GRANULARITY_MS_MAX)] | None = None
    billable: Annotated[tuple[State, ...], Meta(max_length=3)] | None = None
    free_quantity: Number | None = None


class PricesQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.prices`: those in force at `at_ms` (None = now) or to come, of the book or of
    one tenant; with `history` all there ever were. Those numbered behind `after`."""

    history: bool = False
    sku: Name = ""
    tenant: Name = ""
    at_ms: Instant | None = None
    after: Number = 0


class PricesView(msgspec.Struct, frozen=True, omit_defaults=True):
    """By number. With `more`, ask again after the last one."""

    versions: tuple[PriceVersion, ...]
    now_ms: Instant
    more: bool = False
