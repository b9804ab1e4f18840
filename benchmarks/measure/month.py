"""What does a large operator's month look like in the ledger?

Fills an empty ledger with the facts of one month: nodes, prices, leases, one segment for each
device of a lease, counters. Every node is busy most of the time, job after job on each device; on
some all devices go to one job. What follows from the facts is marked, not derived. The same seed
gives the same rows. It does not measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from penstock_contracts.ids import ulid
from penstock_contracts.prices import PriceVersion, Tier
from penstock_metering.core.rows import LeaseRow, NodeChange
from penstock_metering.devices import tables as device_tables
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.records import lease_values
from penstock_metering.rating import tables as rating_tables
from penstock_metering.rating.marks import AGAIN
from penstock_metering.rating.price_book import add_versions

MONTH = "2026-10"
START_MS = 1_790_812_800_000
"""2026-10-01T00:00Z."""
DAYS = 31
DAY_MS = 86_400_000
DEVICES = 8
MODELS = ("H100", "A100", "L40S", "RTX-4090")
TENANTS = 50
PROJECTS = ("", "vision", "speech", "serving")
WHOLE_NODES_PERCENT = 4
"""Of nodes whose devices all go to one job at a time."""
BUSY_PERCENT = 85
ROWS_AT_ONCE = 50_000


class Lease(NamedTuple):
    """Before it has a number."""

    granted_ms: int
    node: int
    devices: tuple[str, ...]
    ran_ms: int
    tenant: int
    project: str
    tier: str


def fill(database: Database, gpus: int, jobs: int, seed: int = 6) -> int:
    """How many leases it became."""
    random = Random(seed)
    nodes = max(1, gpus // DEVICES)
    leases = sorted(_leases(random, nodes, jobs))
    with database.writing.begin() as connection:
        add_versions(connection, list(_prices()), START_MS)
        _fill_nodes(connection, database, nodes, leases)
        numbered = list(enumerate(leases, start=1))
        _put(connection, database, schema.leases, (_lease_row(*one) for one in numbered))
        lines = (line for one in numbered for line in _lines(*one))
        _put(connection, database, schema.ledger_lines, lines)
        marks = ((seq, _job_id(seq, lease), 0, AGAIN) for seq, lease in numbered)
        _put(connection, database, rating_tables.dirty_leases, marks)
    return len(leases)


def _put(
    connection: sa.Connection, database: Database, table: sa.Table, rows: Iterable[Any]
) -> None:
    insert = database.insert(table)
    for some in _in_batches(rows):
        insert.run(connection, some)


def _in_batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(rows)
    while some := list(islice(left, ROWS_AT_ONCE)):
        yield some


def _leases(random: Random, nodes: int, jobs: int) -> Iterator[Lease]:
    whole = max(1, nodes * WHOLE_NODES_PERCENT // 100)
    lanes = [(node, _uuids(node)) for node in range(whole)]
    lanes += [(node, (uuid,)) for node in range(whole, nodes) for uuid in _uuids(node)]
    for index, (node, devices) in enumerate(lanes):
        count = jobs // len(lanes) + (index < jobs % len(lanes))
        lane_ms = DAYS * DAY_MS // max(1, count)
        for number in range(count):
            waits_ms = random.randrange(max(1, lane_ms * (100 - BUSY_PERCENT) // 200))
            ran_ms = random.randrange(
                lane_ms * BUSY_PERCENT * 7 // 800, lane_ms * BUSY_PERCENT // 100
            )
            yield Lease(
                START_MS + number * lane_ms + waits_ms,
                node,
                devices,
                ran_ms,
                min(int(random.expovariate(8 / TENANTS)), TENANTS - 1),
                random.choice(PROJECTS),
                "spot" if random.random() < 0.3 else "",
            )


def _uuids(node: int) -> tuple[str, ...]:
    return tuple(f"GPU-{node:08x}-0000-4000-8000-{index:012x}" for index in range(DEVICES))


def _node_name(node: int) -> str:
    return f"node-{node:05}"


def _job_id(seq: int, lease: Lease) -> str:
    return ulid(lease.granted_ms, seq)


def _lease_row(seq: int, lease: Lease) -> Any:
    started_ms = lease.granted_ms + 900
    exited_ms = started_ms + lease.ran_ms
    return lease_values(
        LeaseRow(
            lease_seq=seq,
            job_id=_job_id(seq, lease),
            rank=0,
            tenant=f"tenant-{lease.tenant:02}",
            attempt=1,
            node=_node_name(lease.node),
            devices=lease.devices,
            gpu_milli=1_000,
            cpu_milli=4_000,
            granted_ms=lease.granted_ms,
            started_ms=started_ms,
            exited_ms=exited_ms,
            exit_code=0,
            reason="exited",
            segments=1,
            released_ms=exited_ms + 400,
            released_seq=seq + 1,
            evidence="release_check",
            project=lease.project,
            tier=lease.tier,
            site=f"site-{lease.node % 3}",
            memory_mib=16_384,
        )
    )


def _lines(seq: int, lease: Lease) -> Iterator[Any]:
    begin_ms = lease.granted_ms + 900
    energy_mj = lease.ran_ms * 350
    for device in lease.devices:
        key = (seq, _job_id(seq, lease), 0, 0, device)
        used = lease.ran_ms * (600 + seq % 400)
        ends_ms = begin_ms + lease.ran_ms
        yield (*key, 1_000, begin_ms, ends_ms, lease.node + 1, energy_mj, used)


def _fill_nodes(
    connection: sa.Connection, database: Database, nodes: int, leases: Iterable[Lease]
) -> None:
    """All of them there from the first of the month, one message of usage each."""
    ran: dict[str, int] = {}
    for lease in leases:
        for device in lease.devices:
            ran[device] = ran.get(device, 0) + lease.ran_ms * 1_000
    changes, counters, models = [], [], []
    for node in range(nodes):
        name, uuids = _node_name(node), _uuids(node)
        change = NodeChange(
            seq=node + 1, node=name, at_ms=START_MS, kind="boot", boot_id="boot-1",
            joined_ms=START_MS, devices=uuids,
        )  # fmt: skip
        changes.append((node + 1, name, msgspec.json.encode(change).decode()))
        end_ms = START_MS + DAYS * DAY_MS
        for uuid in uuids:
            counters.append((name, "boot-1", uuid, 1, START_MS, end_ms, ran.get(uuid, 0)))
            models.append((name, uuid, MODELS[node % len(MODELS)]))
    names = [_node_name(node) for node in range(nodes)]
    batches = [(number, name, "boot-1", 1, number) for number, name in enumerate(names, start=1)]
    _put(connection, database, schema.node_changes, changes)
    _put(connection, database, schema.counters, counters)
    _put(connection, database, schema.device_models, models)
    _put(connection, database, schema.usage_batches, batches)
    _put(connection, database, device_tables.dirty_device_days, ((name,) for name in names))
    _put(connection, database, schema.cursors, [("JOBS", 1 << 40), ("NODES", 1 << 40)])


def _prices() -> Iterator[PriceVersion]:
    """Each model has a price of its own, cheaper as spot; one changes within the month, and some
    tenants have discounts."""
    number = 2
    for index, model in enumerate(MODELS):
        tiers: tuple[tuple[Tier, int], ...] = (("", 100), ("spot", 45))
        for tier, part in tiers:
            number += 1
            yield PriceVersion(
                sku=f"gpu/{model}", version=number, effective_from_ms=0, unit="gpu_hour",
                micro=(2_600_000 - 550_000 * index) * part // 100, tier=tier,
                minimum_ms=60_000 if index == 0 else 0,
            )  # fmt: skip
    yield PriceVersion(
        sku="gpu/H100", version=number + 1, effective_from_ms=START_MS + 15 * DAY_MS + 1_234_567,
        unit="gpu_hour", micro=2_450_000, minimum_ms=60_000,
    )  # fmt: skip
    for tenant in range(0, TENANTS, 7):
        number += 1
        yield PriceVersion(
            sku="gpu/H100", version=number + 1, effective_from_ms=0, unit="gpu_hour",
            micro=2_080_000, tenant=f"tenant-{tenant:02}", discount_ppm=200_000,
            free_quantity=36_000_000_000,
        )  # fmt: skip
