"""Which columns has a FOCUS file, in which order, of which type?

The Cost and Usage dataset of version 1.4 with all its columns, the projection on 1.2, and our own
behind them, from the FinOps Open Cost and Usage Specification (FOCUS, CC-BY-4.0). Columns that have
no meaning here stand empty, so that a reader finds what the version promises. It does not know what
goes into them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Version = Literal["1.4", "1.2"]
VERSIONS: tuple[Version, ...] = ("1.4", "1.2")
Kind = Literal["text", "money", "product", "price", "quantity", "instant"]
"""`money` has 6 decimals, `price` too, `quantity` 9, and `product` (of both) 15."""

SCALES: dict[Kind, int] = {"money": 6, "price": 6, "quantity": 9, "product": 15}
"""Digits behind the point, always written out."""


class Column(NamedTuple):
    name: str
    kind: Kind = "text"
    since: str = "1.2"
    until: str = "1.4"


COLUMNS: tuple[Column, ...] = (
    Column("AllocatedMethodDetails", since="1.4"),
    Column("AllocatedMethodId", since="1.4"),
    Column("AllocatedResourceId", since="1.4"),
    Column("AllocatedResourceName", since="1.4"),
    Column("AllocatedTags", since="1.4"),
    Column("AvailabilityZone"),
    Column("BilledCost", "money"),
    Column("BillingAccountId"),
    Column("BillingAccountName"),
    Column("BillingAccountType"),
    Column("BillingCurrency"),
    Column("BillingPeriodEnd", "instant"),
    Column("BillingPeriodStart", "instant"),
    Column("CapacityReservationId"),
    Column("CapacityReservationStatus"),
    Column("ChargeCategory"),
    Column("ChargeClass"),
    Column("ChargeDescription"),
    Column("ChargeFrequency"),
    Column("ChargePeriodEnd", "instant"),
    Column("ChargePeriodStart", "instant"),
    Column("CommitmentDiscountCategory"),
    Column("CommitmentDiscountId"),
    Column("CommitmentDiscountName"),
    Column("CommitmentDiscountQuantity", "quantity"),
    Column("CommitmentDiscountStatus"),
    Column("CommitmentDiscountType"),
    Column("CommitmentDiscountUnit"),
    Column("CommitmentProgramEligibilityDetails", since="1.4"),
    Column("ConsumedQuantity", "quantity"),
    Column("ConsumedUnit"),
    Column("ContractApplied", since="1.4"),
    Column("ContractedCost", "product"),
    Column("ContractedUnitPrice", "price"),
    Column("EffectiveCost", "money"),
    Column("HostProviderName", since="1.4"),
    Column("InvoiceDetailId", since="1.4"),
    Column("InvoiceId"),
    Column("InvoiceIssuerName"),
    Column("ListCost", "product"),
    Column("ListUnitPrice", "price"),
    Column("PricingCategory"),
    Column("PricingCurrency"),
    Column("PricingCurrencyContractedUnitPrice", "price"),
    Column("PricingCurrencyEffectiveCost", "money"),
    Column("PricingCurrencyListUnitPrice", "price"),
    Column("PricingQuantity", "quantity"),
    Column("PricingUnit"),
    Column("ProviderName", until="1.2"),
    Column("PublisherName", until="1.2"),
    Column("RegionId"),
    Column("RegionName"),
    Column("ResourceId"),
    Column("ResourceName"),
    Column("ResourceType"),
    Column("ServiceCategory"),
    Column("ServiceName"),
    Column("ServiceProviderName", since="1.4"),
    Column("ServiceSubcategory"),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceDetails"),
    Column("SkuPriceId"),
    Column("SubAccountId"),
    Column("SubAccountName"),
    Column("SubAccountType"),
    Column("Tags"),
)

OWN_COLUMNS: tuple[Column, ...] = (
    Column("x_Project"),
    Column("x_Tier"),
    Column("x_Node"),
    Column("x_DeviceModel"),
    Column("x_PriceVersion"),
    Column("x_CorrectedPeriod"),
)
"""Behind the specification's columns, as it asks."""

PROVIDER_COLUMNS: tuple[Column, ...] = (
    Column("x_CostCurrency"),
    Column("x_DepreciationCost", "money"),
    Column("x_EnergyCost", "money"),
    Column("x_HostingCost", "money"),
    Column("x_RentCost", "money"),
    Column("x_PayoutCost", "money"),
    Column("x_ProviderCost", "money"),
    Column("x_Margin", "money"),
    Column("x_IdleReason"),
)
"""For the provider alone: what it cost, and what nobody bought."""


def columns_of(version: Version, *, provider: bool = False) -> tuple[Column, ...]:
    """The columns of a file, in order."""
    own = tuple(column for column in COLUMNS if column.since <= version <= column.until)
    return own + OWN_COLUMNS + (PROVIDER_COLUMNS if provider else ())
