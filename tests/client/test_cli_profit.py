"""What do `penstock pnl` and `penstock cost` send and show?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_client.amounts import format_cents, format_share, parse_micro, parse_ppm
from penstock_contracts.costs import CostsView, CostVersion, SetCost, TariffBand
from penstock_contracts.profits import IdleTime, Payout, ProfitLine, ProfitQuery, ProfitView

USD = 1_000_000
HOUR = 3_600_000_000


def a_line(key: str, **fields: Any) -> ProfitLine:
    known: dict[str, Any] = {
        "currency": "USD",
        "revenue_micro": 300 * USD,
        "energy_micro": 40 * USD,
        "rent_micro": 100 * USD,
        "cost_micro": 140 * USD,
        "profit_micro": 160 * USD,
        "idle_micro": 25 * USD,
        "capacity_milli_ms": 744 * HOUR,
        "sold_milli_ms": 186 * HOUR,
        "break_even_micro": 752_688,
        "break_even_ppm": 113_000,
        **fields,
    }
    return ProfitLine(key=key, **known)


def a_view(**fields: Any) -> ProfitView:
    known: dict[str, Any] = {
        "month": "2026-10",
        "closed": False,
        "by": "node",
        "lines": (a_line("n7"),),
        "others": (a_line("3 others"),),
        "totals": (a_line("total", profit_micro=-1_234_560_000),),
        "models": (a_line("H100"),),
        "worst": (a_line("n7/GPU-3", why="broken for 60.0 % of the time"),),
        "idle": (IdleTime("free_fragmented", 12 * HOUR, 3 * USD, "USD"),),
        "payouts": (Payout("Ada", 7_500_000, "USD"),),
        "energy_known_ppm": 987_000,
        **fields,
    }
    return ProfitView(**known)


async def test_pnl_shows_lines_models_idle_time_payouts_and_the_worst_devices(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("query.metering.profit", a_view())
    done = await penstock("pnl", "--by", "node", "--month", "2026-10", "--limit", "5")
    assert done.code == 0, done.err
    asked = msgspec.json.decode(real_mesh.asked[0][1], type=ProfitQuery)
    assert asked == ProfitQuery(by="node", month="2026-10", limit=5)
    text = done.out.decode()
    for shown in (
        "2026-10 (open)", "n7", "25.0 %", "300.00", "0.75", "11.3 %", "3 others", "-1,234.56",
        "H100", "free, no shape that fits", "to pay out to Ada: 7.50 USD",
        "n7/GPU-3: 160.00 USD; broken for 60.0 % of the time", "98.7 %",
    ):  # fmt: skip
        assert shown in text, shown


async def test_pnl_as_json_is_the_contract(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("query.metering.profit", a_view())
    done = await penstock("pnl", "--json")
    assert msgspec.json.decode(done.out, type=ProfitView) == a_view()


async def test_pnl_draws_a_picture(real_mesh: FakeMesh, penstock: Penstock, tmp_path: Path) -> None:
    await real_mesh.answer("query.metering.profit", a_view())
    picture = tmp_path / "pnl.png"
    done = await penstock("pnl", "--plot", str(picture))
    assert done.code == 0, done.err
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        (
            ("purchase", "28000", "--model", "H100", "--life", "4y", "--residual", "4000"),
            {
                "micro": 28_000 * USD, "model": "H100", "life_days": 1_460,
                "residual_micro": 4_000 * USD,
            },
        ),
        (
            ("energy", "--site", "oslo", "--band", "00:00=0.06", "--band", "06:00=0.14",
             "--utc-offset", "+01:00", "--overhead", "1.25"),
            {
                "site": "oslo", "utc_offset_minutes": 60, "overhead_milli": 1_250,
                "bands": (TariffBand(0, 60_000), TariffBand(360, 140_000)),
            },
        ),
        (("rent", "1.20", "--every", "hour", "--node", "n7"),
         {"micro": 1_200_000, "every": "hour", "node": "n7"}),
        (("hosting", "900", "--per", "node"), {"micro": 900 * USD, "per": "node"}),
        (("payout", "--share", "70%", "--owner", "Ada", "--node", "n9"),
         {"share_ppm": 700_000, "owner": "Ada", "node": "n9"}),
    ],
)  # fmt: skip
async def test_a_cost_is_set_as_it_is_written(
    real_mesh: FakeMesh, penstock: Penstock, arguments: tuple[str, ...], cost: dict[str, Any]
) -> None:
    def accept(payload: bytes) -> CostsView:
        return CostsView((msgspec.json.decode(payload, type=SetCost).cost,))

    await real_mesh.answer("command.metering.set_cost", accept)
    done = await penstock("cost", "set", *arguments, "--from", "2026-11-03T15:00")
    assert done.code == 0, done.err
    sent = msgspec.json.decode(real_mesh.asked[0][1], type=SetCost)
    expected = CostVersion(kind=arguments[0], effective_from_ms=1_793_664_000_000, **cost)
    assert sent.cost == expected
    assert len(sent.key) == 26


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("purchase", "28000"), "life_days"),
        (("purchase", "2,5", "--life", "4y"), "is not an amount"),
        (("purchase", "1", "--life", "four"), "is not a life"),
        (("energy", "--band", "06:00=0.1"), "begin at minute 0"),
        (("energy", "--band", "soon"), "is not a band"),
        (("payout", "--share", "170%"), "is not a share"),
        (("rent", "5", "--share", "5%"), "does not belong to rent"),
    ],
)
async def test_a_cost_that_cannot_be_meant_is_not_sent(
    real_mesh: FakeMesh, penstock: Penstock, arguments: tuple[str, ...], sentence: str
) -> None:
    done = await penstock("cost", "set", *arguments)
    assert done.code == 2
    assert sentence in done.err.decode()


async def test_costs_are_listed_in_words(real_mesh: FakeMesh, penstock: Penstock) -> None:
    costs = (
        CostVersion(
            number=1, kind="purchase", effective_from_ms=0, micro=28_000 * USD, model="H100",
            life_days=1_460,
        ),
        CostVersion(
            number=2, kind="payout", effective_from_ms=0, share_ppm=655_000, node="n9", owner="Ada"
        ),
    )  # fmt: skip
    await real_mesh.answer("query.metering.costs", CostsView(costs))
    text = (await penstock("cost", "list")).out.decode()
    assert "model H100" in text and "28000.000000 USD a device, written off in 1460 days" in text
    assert "65.5 % of revenue to Ada" in text


def test_amounts_and_shares_are_read_and_written_exactly() -> None:
    assert [parse_micro(text) for text in ("0.000001", "28000", "1.5")] == [
        1, 28_000_000_000, 1_500_000,
    ]  # fmt: skip
    assert parse_ppm("12.5 %") == 125_000
    assert [format_cents(micro) for micro in (1_234_565_000, -5_000, -15_000, None)] == [
        "1,234.56", "0.00", "-0.02", "-",
    ]  # fmt: skip
    assert (format_share(1, 8), format_share(None), format_share(1, 0)) == ("12.5 %", "-", "-")
