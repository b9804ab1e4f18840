"""What does FOCUS 1.4 ask of each column of Cost and Usage?

Taken by hand from the specification's text (FinOps Open Cost and Usage Specification 1.4,
CC-BY-4.0): name, feature level, whether a row may leave it empty, data type, allowed values. Apart
from the product's own table on purpose.
"""

from __future__ import annotations

from typing import NamedTuple

M, C, R = "Mandatory", "Conditional", "Recommended"
TEXT, NUMBER, TIME, OBJECT = "String", "Decimal", "Date/Time", "JSON"


class Asked(NamedTuple):
    name: str
    level: str
    nulls: bool
    type: str
    allowed: tuple[str, ...] = ()


CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
PRICING = ("Standard", "Dynamic", "Committed", "Other")

FOCUS_1_4: tuple[Asked, ...] = (
    Asked("AllocatedMethodDetails", R, True, OBJECT),
    Asked("AllocatedMethodId", C, True, TEXT),
    Asked("AllocatedResourceId", C, True, TEXT),
    Asked("AllocatedResourceName", C, True, TEXT),
    Asked("AllocatedTags", C, True, OBJECT),
    Asked("AvailabilityZone", R, True, TEXT),
    Asked("BilledCost", M, False, NUMBER),
    Asked("BillingAccountId", M, False, TEXT),
    Asked("BillingAccountName", M, True, TEXT),
    Asked("BillingAccountType", C, True, TEXT),
    Asked("BillingCurrency", M, False, TEXT),
    Asked("BillingPeriodEnd", M, False, TIME),
    Asked("BillingPeriodStart", M, False, TIME),
    Asked("CapacityReservationId", C, True, TEXT),
    Asked("CapacityReservationStatus", C, True, TEXT, ("Used", "Unused")),
    Asked("ChargeCategory", M, False, TEXT, CATEGORIES),
    Asked("ChargeClass", M, True, TEXT, ("Correction",)),
    Asked("ChargeDescription", M, True, TEXT),
    Asked("ChargeFrequency", R, False, TEXT, FREQUENCIES),
    Asked("ChargePeriodEnd", M, False, TIME),
    Asked("ChargePeriodStart", M, False, TIME),
    Asked("CommitmentDiscountCategory", C, True, TEXT, ("Spend", "Usage")),
    Asked("CommitmentDiscountId", C, True, TEXT),
    Asked("CommitmentDiscountName", C, True, TEXT),
    Asked("CommitmentDiscountQuantity", C, True, NUMBER),
    Asked("CommitmentDiscountStatus", C, True, TEXT, ("Used", "Unused")),
    Asked("CommitmentDiscountType", C, True, TEXT),
    Asked("CommitmentDiscountUnit", C, True, TEXT),
    Asked("CommitmentProgramEligibilityDetails", C, True, OBJECT),
    Asked("ConsumedQuantity", C, True, NUMBER),
    Asked("ConsumedUnit", C, True, TEXT),
    Asked("ContractApplied", C, True, OBJECT),
    Asked("ContractedCost", M, False, NUMBER),
    Asked("ContractedUnitPrice", C, True, NUMBER),
    Asked("EffectiveCost", M, False, NUMBER),
    Asked("HostProviderName", M, True, TEXT),
    Asked("InvoiceDetailId", C, True, TEXT),
    Asked("InvoiceId", M, True, TEXT),
    Asked("InvoiceIssuerName", M, False, TEXT),
    Asked("ListCost", M, False, NUMBER),
    Asked("ListUnitPrice", C, True, NUMBER),
    Asked("PricingCategory", C, True, TEXT, PRICING),
    Asked("PricingCurrency", C, True, TEXT),
    Asked("PricingCurrencyContractedUnitPrice", C, True, NUMBER),
    Asked("PricingCurrencyEffectiveCost", C, True, NUMBER),
    Asked("PricingCurrencyListUnitPrice", C, True, NUMBER),
    Asked("PricingQuantity", M, True, NUMBER),
    Asked("PricingUnit", M, True, TEXT),
    Asked("RegionId", C, True, TEXT),
    Asked("RegionName", C, True, TEXT),
    Asked("ResourceId", C, True, TEXT),
    Asked("ResourceName", C, True, TEXT),
    Asked("ResourceType", C, True, TEXT),
    Asked("ServiceCategory", M, False, TEXT, ("AI and Machine Learning", "Compute", "Other")),
    Asked("ServiceName", M, False, TEXT),
    Asked("ServiceProviderName", M, False, TEXT),
    Asked("ServiceSubcategory", R, False, TEXT, ("Other (Compute)", "Virtual Machines")),
    Asked("SkuId", C, True, TEXT),
    Asked("SkuMeter", C, True, TEXT),
    Asked("SkuPriceDetails", C, True, OBJECT),
    Asked("SkuPriceId", C, True, TEXT),
    Asked("SubAccountId", C, True, TEXT),
    Asked("SubAccountName", C, True, TEXT),
    Asked("SubAccountType", C, True, TEXT),
    Asked("Tags", C, True, OBJECT),
)
MANDATORY_1_2 = (
    {asked.name for asked in FOCUS_1_4 if asked.level == M}
    - {"HostProviderName", "ServiceProviderName", "InvoiceId"}
) | {"ProviderName", "PublisherName"}
COMPANIONS = (
    ("ConsumedQuantity", "ConsumedUnit"),
    ("PricingQuantity", "PricingUnit"),
    ("RegionId", "RegionName"),
    ("ResourceId", "ResourceType"),
    ("SubAccountId", "SubAccountName"),
    ("SubAccountId", "SubAccountType"),
    ("SkuId", "SkuPriceId"),
)
"""Both are there or neither."""
PRODUCTS = (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost"))
"""The first times PricingQuantity is the second."""
PRICED = ("ListUnitPrice", "ContractedUnitPrice", "PricingQuantity", "PricingCategory", "SkuId")
"""Not empty where use is charged."""
