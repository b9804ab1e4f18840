"""What stands in each FOCUS column of a charge?

From a neutral charge, its prices and the month to named values. A row's unit price times its
quantity is its cost to the last digit, as the specification asks; what is billed is the ledger's
own amount, whose rows sum to the invoice. It does not know files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from penstock_client.focus.columns import SCALES
from penstock_contracts.exports import Charge, ExportPage
from penstock_contracts.prices import GPU_PREFIX, QUANTITY_PER_UNIT, PriceVersion

Row = dict[str, Any]
"""Values by column: str, Decimal, datetime, or None = empty."""

SERVICE_NAME = "Penstock Compute"
SERVICE_CATEGORY = "Compute"
SERVICE_SUBCATEGORY = "Other (Compute)"
SPLIT_METHOD = "device-day-by-time"
"""What a device cost on a day, divided by time: docs/metering.md says how."""
CATEGORIES = {"credit": "Credit", "rounding": "Adjustment"}
PRICING_CATEGORIES = {"spot": "Dynamic"}
UNITS = {
    "gpu_hour": "GPU-Hours",
    "cpu_hour": "Core-Hours",
    "gib_hour": "GiB-Hours",
    "kwh": "Kilowatt-Hours",
    "job": "Jobs",
}
METERS = {
    "gpu_hour": "GPU time",
    "cpu_hour": "Core time",
    "gib_hour": "Memory time",
    "kwh": "Energy",
    "job": "Jobs started",
}
_COSTS = (
    "BilledCost",
    "EffectiveCost",
    "ContractedCost",
    "ListCost",
    "PricingCurrencyEffectiveCost",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO = Decimal(0).scaleb(-SCALES["money"])
"""Nothing; added to what may be nothing below zero, it makes that plain nothing."""
_DETAILS = {
    "gpu_hour": {"GpuCount": 1},
    "cpu_hour": {"CoreCount": 1},
    "gib_hour": {"MemorySize": 1},
}


def rows_of(page: ExportPage) -> Iterator[Row]:
    """One row a charge, with the columns of every version."""
    prices = {price.version: price for price in page.prices}
    month = _Month(page)
    for charge in page.charges:
        row = {**month.columns, **_what(charge), **_where(charge), **_who(charge, page.issuer)}
        row.update(month.charge_period(charge))
        if charge.kind in CATEGORIES:
            row.update(_plain_cost(charge))
        else:
            row.update(_priced_cost(charge, prices))
        row.update(_own(charge))
        if charge.costs or charge.idle:
            row.update(_split(charge))
        yield row


class _Month:
    """What all rows of a page have in common."""

    def __init__(self, page: ExportPage) -> None:
        self._start, self._end = _instant(page.start_ms), _instant(page.end_ms)
        self.columns: Row = {
            "BillingPeriodStart": self._start,
            "BillingPeriodEnd": self._end,
            "InvoiceIssuerName": page.issuer,
            "ServiceProviderName": page.issuer,
            "HostProviderName": page.issuer,
            "ProviderName": page.issuer,
            "PublisherName": page.issuer,
            "ServiceCategory": SERVICE_CATEGORY,
            "ServiceSubcategory": SERVICE_SUBCATEGORY,
            "ServiceName": SERVICE_NAME,
        }

    def charge_period(self, charge: Charge) -> Row:
        start, end = self._start, self._end
        if charge.day is not None:
            start = _EPOCH + timedelta(days=charge.day)
            end = start + timedelta(days=1)
        elif charge.corrects:
            start = datetime.strptime(charge.corrects, "%Y-%m").replace(tzinfo=UTC)
            end = (start + timedelta(days=31)).replace(day=1)
        return {"ChargePeriodStart": start, "ChargePeriodEnd": end}


def _what(charge: Charge) -> Row:
    is_use = charge.kind not in CATEGORIES
    return {
        "ChargeCategory": CATEGORIES.get(charge.kind, "Usage"),
        "ChargeClass": "Correction" if charge.corrects else None,
        "ChargeDescription": _description(charge),
        "ChargeFrequency": "Usage-Based" if is_use else "One-Time",
        "BillingCurrency": charge.currency or charge.cost_currency,
        "PricingCurrency": charge.currency or charge.cost_currency,
        "InvoiceId": charge.invoice or None,
        "InvoiceDetailId": f"{charge.invoice}/{charge.invoice_line}" if charge.invoice else None,
    }


def _description(charge: Charge) -> str:
    if charge.text:
        return charge.text
    if charge.kind == "rounding":
        return "Rounding of the invoice to the smallest unit of its currency"
    what = METERS.get(charge.unit, charge.sku)
    if charge.sku.startswith(GPU_PREFIX):
        what = f"{what}, {charge.sku.removeprefix(GPU_PREFIX)}"
    if charge.kind == "idle":
        return f"{what}, not sold: {charge.idle.replace('_', ' ')}"
    if charge.tier:
        what = f"{what}, {charge.tier.replace('_', ' ')}"
    if charge.kind == "free":
        what = f"{what}, covered by the free allowance"
    return f"Correction of {charge.corrects}: {what}" if charge.corrects else what


def _where(charge: Charge) -> Row:
    resource = name = kind = None
    if charge.device:
        resource = f"node/{charge.node}/{charge.device}"
        name, kind = f"{charge.node} {charge.model or 'GPU'}", "GPU"
    elif charge.node:
        resource, name, kind = f"node/{charge.node}", charge.node, "Host"
    return {
        "RegionId": charge.site or None,
        "RegionName": charge.site or None,
        "ResourceId": resource,
        "ResourceName": name,
        "ResourceType": kind,
    }


def _who(charge: Charge, issuer: str) -> Row:
    """Time that nobody bought is the provider's own."""
    return {
        "BillingAccountId": charge.tenant or issuer,
        "BillingAccountName": charge.tenant or issuer,
        "BillingAccountType": "Tenant" if charge.tenant else "Provider",
        "SubAccountId": charge.tenant or None,
        "SubAccountName": charge.tenant or None,
        "SubAccountType": "Tenant" if charge.tenant else None,
        "Tags": _object({"project": charge.project}) if charge.project else None,
    }


def _plain_cost(charge: Charge) -> Row:
    cost = _money(charge.billed_micro)
    return dict.fromkeys(_COSTS, cost)


def _priced_cost(charge: Charge, prices: Mapping[int, PriceVersion]) -> Row:
    price, listed = prices.get(charge.price_version), prices.get(charge.list_version)
    unit_price = _ZERO if price is None or charge.kind == "free" else _money(price.micro)
    list_price = _money(listed.micro) if listed is not None else unit_price
    priced = _quantity(charge.priced or 0, charge.unit)
    unit = UNITS.get(charge.unit)
    billed = _money(charge.billed_micro)
    version = charge.list_version or "unpriced"
    return {
        "BilledCost": billed,
        "EffectiveCost": billed,
        "PricingCurrencyEffectiveCost": billed,
        "PricingCurrencyContractedUnitPrice": unit_price,
        "PricingCurrencyListUnitPrice": list_price,
        "ContractedUnitPrice": unit_price,
        "ContractedCost": unit_price * priced + _ZERO,
        "ListUnitPrice": list_price,
        "ListCost": list_price * priced + _ZERO,
        "PricingQuantity": priced,
        "PricingUnit": unit,
        "PricingCategory": PRICING_CATEGORIES.get(charge.tier, "Standard"),
        "ConsumedQuantity": _quantity(charge.consumed or 0, charge.unit),
        "ConsumedUnit": unit,
        "SkuId": charge.sku,
        "SkuMeter": METERS.get(charge.unit),
        "SkuPriceId": f"{charge.sku}/{version}",
        "SkuPriceDetails": _price_details(charge, listed),
    }


def _price_details(charge: Charge, listed: PriceVersion | None) -> str | None:
    details: dict[str, Any] = dict(_DETAILS.get(charge.unit, {}))
    if charge.sku.startswith(GPU_PREFIX):
        details["InstanceType"] = charge.sku.removeprefix(GPU_PREFIX)
    if listed is not None and listed.tier:
        details["x_Tier"] = listed.tier
    if listed is not None and listed.site:
        details["x_Site"] = listed.site
    return _object(details) if details else None


def _own(charge: Charge) -> Row:
    return {
        "x_Project": charge.project or None,
        "x_Tier": charge.tier or None,
        "x_Node": charge.node or None,
        "x_DeviceModel": charge.model or None,
        "x_PriceVersion": str(charge.price_version) if charge.price_version else None,
        "x_CorrectedPeriod": charge.corrects or None,
    }


def _split(charge: Charge) -> Row:
    """What the provider pays: a part of what the device cost that day."""
    cost = sum(charge.costs.values())
    row: Row = {
        f"x_{component.title()}Cost": _money(micro) for component, micro in charge.costs.items()
    }
    owner = "/".join(filter(None, (charge.tenant, charge.project)))
    row.update(
        {
            "AllocatedMethodId": SPLIT_METHOD,
            "AllocatedResourceId": owner or None,
            "AllocatedResourceName": owner or None,
            "AllocatedTags": _object({"project": charge.project}) if charge.project else None,
            "x_CostCurrency": charge.cost_currency or None,
            "x_ProviderCost": _money(cost),
            "x_IdleReason": charge.idle or None,
        }
    )
    if charge.cost_currency in ("", charge.currency):
        row["x_Margin"] = _money(charge.billed_micro - cost)
    return row


def _money(micro: int) -> Decimal:
    return Decimal(micro).scaleb(-SCALES["money"])


def _quantity(quantity: int, unit: str) -> Decimal:
    scale = Decimal(1).scaleb(-SCALES["quantity"])
    return (Decimal(quantity) / QUANTITY_PER_UNIT.get(unit, 1)).quantize(scale)


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _object(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
