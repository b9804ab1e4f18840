"""Does everybody get what is guaranteed to them on a day of mixed load, and in time?

The day of `benchmarks/bench_queue_day.py`, shorter and on a smaller mesh.
"""

from __future__ import annotations

from typing import Any

import pytest

from e2e.conftest import MeshFactory
from e2e.mixed_day.plan import TENANTS, Day
from e2e.mixed_day.playing import GUARANTEE_S_MAX, play_day, report

SHORT = Day(seconds=20, gpus=40, median_minutes=40)
LONG = Day(seconds=480, gpus=160)


async def the_day_is_fair(mesh_factory: MeshFactory, day: Day, off_percent: float) -> None:
    mesh = mesh_factory("--simulate", f"{day.gpus // 8}x8xH100", "--no-local-node").start()
    policy = mesh.home / "policy.toml"
    policy.write_text(day.policy(), "utf-8")
    mesh.cli("apply", str(policy), "--yes")
    admin = mesh.data / "creds" / "admin.creds"
    said = report(await play_day(day, mesh.nats_url, mesh.creds, admin))
    assert said["infeasible"] == {}, said
    assert said["preemptions_that_led_to_a_start"] > 0, said
    for tenant in TENANTS:
        found: dict[str, Any] = said["tenants"][tenant.name]
        assert found["owed_s_max"] <= GUARANTEE_S_MAX, said
        assert abs(found["off_by_percent"]) <= off_percent, said


async def test_a_short_day_is_fair_and_every_guarantee_is_honoured(
    mesh_factory: MeshFactory,
) -> None:
    await the_day_is_fair(mesh_factory, SHORT, off_percent=8)


@pytest.mark.long
async def test_a_day_of_mixed_load_is_fair_to_two_percent(mesh_factory: MeshFactory) -> None:
    await the_day_is_fair(mesh_factory, LONG, off_percent=2)
