"""What do `penstock price` and `penstock usage` send and show?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_contracts.price_book import PricesQuery, PricesView, SetPrice
from penstock_contracts.prices import PriceVersion
from penstock_contracts.queries import UsageLine, UsageQuery, UsageView

NOW_MS = 1_800_000_000_000
SET, LIST = "command.metering.set_price", "query.metering.prices"
HOUR = 3_600_000_000


def a_version(number: int = 3, **fields: Any) -> PriceVersion:
    plain = PriceVersion(
        sku="gpu/H100", version=number, effective_from_ms=NOW_MS, unit="gpu_hour", micro=2_490_000
    )
    return msgspec.structs.replace(plain, **fields)


def wishes(mesh: FakeMesh) -> list[SetPrice]:
    return [
        msgspec.json.decode(payload, type=SetPrice)
        for subject, payload in mesh.asked
        if subject == SET
    ]


async def test_a_price_is_set_with_its_terms(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer(SET, PricesView((a_version(minimum_ms=60_000),), NOW_MS))
    done = await penstock(
        "price", "set", "gpu/H100", "2.49", "--tier", "spot", "--site", "oslo", "--minimum", "60s",
        "--granularity", "100ms", "--billable", "preparing", "--billable", "running",
        "--free", "1.5", "--from", "2030-01-01",
    )  # fmt: skip
    assert done.code == 0, done.err
    (wish,) = wishes(real_mesh)
    assert (wish.sku, wish.micro, wish.tier, wish.site) == ("gpu/H100", 2_490_000, "spot", "oslo")
    assert (wish.minimum_ms, wish.granularity_ms) == (60_000, 100)
    assert (wish.billable, wish.free_quantity) == (("preparing", "running"), 3 * HOUR // 2)
    assert wish.effective_from_ms == 1_893_456_000_000
    assert b"2.490000 USD" in done.out
    assert b"1m 00s at least" in done.out


async def test_a_discount_is_set_for_a_tenant(real_mesh: FakeMesh, penstock: Penstock) -> None:
    version = a_version(tenant="lab", discount_ppm=200_000)
    await real_mesh.answer(SET, PricesView((version,), NOW_MS))
    done = await penstock("price", "set", "gpu", "--tenant", "lab", "--discount", "20%")
    assert done.code == 0, done.err
    (wish,) = wishes(real_mesh)
    assert (wish.micro, wish.discount_ppm, wish.tenant) == (None, 200_000, "lab")
    assert wish.effective_from_ms is None
    assert b"tenant lab" in done.out
    assert b"20 % off the list" in done.out


@pytest.mark.parametrize(
    "words",
    [
        ("gpu",),
        ("gpu", "1", "--discount", "5%"),
        ("tpu", "1"),
        ("gpu", "1.2345678"),
        ("gpu", "1", "--minimum", "x"),
        ("gpu", "1", "--currency", "euro"),
    ],
    ids=" ".join,
)
async def test_a_price_that_says_nothing_clear_is_wrong_usage(
    real_mesh: FakeMesh, penstock: Penstock, words: tuple[str, ...]
) -> None:
    assert (await penstock("price", "set", *words)).code == 2
    assert wishes(real_mesh) == []


async def test_prices_are_listed_with_those_to_come(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    later = a_version(4, sku="energy", unit="kwh", effective_from_ms=NOW_MS + 1, micro=350_000)
    always = a_version(1, sku="gpu", effective_from_ms=0)
    await real_mesh.answer(LIST, PricesView((always, later), NOW_MS))
    done = await penstock("price", "list")
    assert done.code == 0, done.err
    assert b"always" in done.out
    assert b"to come" in done.out
    done = await penstock("price", "history", "energy", "--json")
    asked = [msgspec.json.decode(p, type=PricesQuery) for s, p in real_mesh.asked if s == LIST]
    assert (asked[-1].history, asked[-1].sku) == (True, "energy")
    assert msgspec.json.decode(done.out, type=PricesView).versions == (always, later)


async def test_usage_is_shown_for_each_project(real_mesh: FakeMesh, penstock: Penstock) -> None:
    line = UsageLine(
        tenant="acme", sku="memory", unit="memory_mib_ms", per="gib_hour", project="vision",
        quantity=1_024 * 3_600_000, billed_quantity=2 * 1_024 * 3_600_000, price_version=7,
        price_micro_per_hour=10_000, cost_micro=20_000, currency="EUR",
    )  # fmt: skip
    await real_mesh.answer("query.metering.usage", UsageView((line,), None, None))
    done = await penstock("usage", "--by-project", "--project", "vision")
    assert done.code == 0, done.err
    text = done.out.decode()
    assert "1.000000 GiB h" in text
    assert text.splitlines()[-1].split() == ["total", "0.020000", "EUR"]
    ((_, payload),) = [said for said in real_mesh.asked if said[0] == "query.metering.usage"]
    query = msgspec.json.decode(payload, type=UsageQuery)
    assert (query.project, query.by_project) == ("vision", True)
