"""Does a person read why a job is where it is, and what is expected of it?"""

from __future__ import annotations

import msgspec
import pytest

from client.builders import (
    a_job_id,
    a_view,
)
from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_contracts.errors import Refusal
from penstock_contracts.explanations import (
    Explanation,
    KeptPlace,
    Obstacles,
    PlaceConsidered,
    StartSaid,
)


async def test_explain_says_why(real_mesh: FakeMesh, penstock: Penstock) -> None:
    sentence = "4 of 8 GPUs are free on one node."
    why = Explanation(
        job_id=a_job_id(), state="queued", code="waiting_for_devices", sentence=sentence, position=2
    )
    await real_mesh.answer("query.scheduler.explain", why)
    done = await penstock("explain", why.job_id)
    assert sentence in done.out.decode()


async def test_explain_says_what_of_the_queue_is_in_the_way_and_when_it_begins(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    mine, other = a_job_id(), a_job_id()
    place = KeptPlace(
        job_id=other, tenant="blue", cause="backfill", at_ms=1_800_000_000_000, nodes=("n1", "n2")
    )
    why = Explanation(
        job_id=mine,
        state="queued",
        code="room_is_kept",
        sentence="room is there",
        pool="h100",
        behind=(other,),
        in_the_way=(place,),
        reservations=("maint",),
        expected_start_ms=1_000,
        said=StartSaid(said_ms=1_000, start_ms=2_000),
    )
    await real_mesh.answer("query.scheduler.explain", why)
    told = " ".join((await penstock("explain", mine)).out.decode().split())
    for said in ("pool h100", f"behind {other}", "set aside maint", "expected now"):
        assert said in told
    assert f"kept for others n1, n2 for {other} of blue, who is first, by 20" in told
    assert "was expected 19" in told and "as was said at 19" in told


@pytest.mark.parametrize("command", ["explain", "job"])
async def test_of_a_job_that_has_ended_it_is_told_how_good_the_estimate_was(
    real_mesh: FakeMesh, penstock: Penstock, command: str
) -> None:
    ended = a_view(
        state="succeeded",
        placed_ms=100_000,
        finished_ms=200_000,
        expected_ms=60_000,
        estimated_ms=20_000,
    )
    for what in ("explain", "job"):
        await real_mesh.answer(f"query.scheduler.{what}", Refusal("job_finished", "it has ended"))
    await real_mesh.answer("query.metering.job", ended)
    told = (await penstock(command, ended.job_id)).out.decode()
    assert "; it came 40.0s later" in told


async def test_explain_shows_the_places_and_the_parts_of_their_scores(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    why = Explanation(
        job_id=a_job_id(),
        state="running",
        code="running",
        sentence="running on n1 as attempt 1",
        policy="penstock",
        as_of="decision",
        considered=7,
        places=(
            PlaceConsidered(
                node="n1", score=-30, devices=("GPU-a",), parts={"loss": -30}, chosen=True
            ),
            PlaceConsidered(node="n2", score=-1_250_000, parts={"fragment": -1_250_000, "loss": 0}),
        ),
    )
    await real_mesh.answer("query.scheduler.explain", why)
    done = await penstock("explain", why.job_id)
    lines = done.out.decode().splitlines()
    assert "7 node(s) by penstock, as it was decided, the best 2 of them below" in done.out.decode()
    assert [line.split() for line in lines[-3:]] == [
        ["NODE", "DEVICES", "SCORE", "LOSS", "FRAGMENT"],
        ["*", "n1", "GPU-a", "-0.0000", "-0.0000"],
        ["n2", "-1.2500", "0", "-1.2500"],
    ]
    done = await penstock("explain", why.job_id, "--json")
    assert msgspec.json.decode(done.out, type=Explanation) == why


async def test_explain_shows_what_is_in_the_way_of_each_choice(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    why = Explanation(
        job_id=a_job_id(),
        state="queued",
        code="waiting_for_devices",
        sentence="waiting",
        obstacles=(
            Obstacles(needed="2 GPU(s) of H100", nodes=9, busy=5, devices=4),
            Obstacles(needed="4 GPU(s)", nodes=9, busy=8, cpu=1),
        ),
    )
    await real_mesh.answer("query.scheduler.explain", why)
    done = await penstock("explain", why.job_id)
    assert done.out.decode().splitlines()[-3:] == [
        "NEEDED            NODES  OTHER DEVICES  BUSY  NO CPU",
        "2 GPU(s) of H100  9      4              5     0",
        "4 GPU(s)          9      0              8     1",
    ]
