"""Do ranks that start together find each other and end together?

Gangs of real processes that meet through the rendezvous variables alone.
"""

from __future__ import annotations

import sys

from e2e.mesh import Mesh
from e2e.raw import RawClient, a_job

MEET = """
import os, socket
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(world - 1)]
        names = sorted(int(peer.recv(16)) for peer in peers)
        for peer in peers:
            peer.sendall(b"met"); peer.close()
    print("met", names, flush=True)
else:
    import time
    deadline = time.monotonic() + 20
    while True:
        try:
            peer = socket.create_connection(address, 5); break
        except ConnectionRefusedError:
            if time.monotonic() > deadline: raise
            time.sleep(0.01)
    peer.sendall(str(rank).encode()); assert peer.recv(16) == b"met"
    print("rank", rank, "local", os.environ["LOCAL_RANK"], flush=True)
"""


def test_four_ranks_on_two_nodes_find_each_other_through_the_rendezvous_variables(
    mesh: Mesh,
) -> None:
    done = mesh.cli(
        "run", "--ranks", "4", "--gpus", "4", "--name", "quartet", "--", sys.executable, "-c", MEET
    )
    lines = sorted(done.stdout.splitlines())
    assert lines[0] == "met [1, 2, 3]"
    assert {tuple(line.split()[:2]) for line in lines[1:]} == {
        ("rank", "1"), ("rank", "2"), ("rank", "3"),
    }  # fmt: skip
    (job,) = mesh.jobs("quartet")
    assert len({rank["node"] for rank in job["ranks"]}) == 2


async def test_the_first_rank_to_fail_stops_the_rest_and_gives_the_exit_code(
    client: RawClient,
) -> None:
    await client.follow("gangs")
    job = a_job("sh", "-c", '[ "$RANK" = 2 ] && exit 5; exec sleep 60', ranks=3, gpus=1, grace_s=1)
    await client.submit("gangs", job)
    ended = await client.until_ended(job["job_id"])
    assert (ended["fact"], ended["exit_code"]) == ("failed", 5)


async def test_a_gang_larger_than_the_fleet_is_rejected_not_queued_for_ever(
    client: RawClient,
) -> None:
    await client.follow("gangs")
    job = a_job(ranks=17, gpus=1)
    await client.submit("gangs", job)
    ended = await client.until_ended(job["job_id"])
    assert (ended["fact"], ended["reason"]) == ("rejected", "impossible")
    assert ended["message"]


async def test_the_facts_of_a_gang_tell_its_whole_life_in_order(client: RawClient) -> None:
    await client.follow("gangs")
    job = a_job("true", ranks=2, gpus=1)
    await client.submit("gangs", job)
    await client.until_ended(job["job_id"])
    facts = [event["fact"] for event in client.facts[job["job_id"]]]
    assert facts == ["submitted", "queued", "placed", "preparing", "running", "succeeded"]
    places = [(event["seq"], event["index"]) for event in client.facts[job["job_id"]]]
    assert places == sorted(set(places))
