"""Which promises does a history break?

Runs every checker. After a broker has lost data that it had acknowledged, only the promises that do
not rest on it are checked. It does not know any promise itself.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.checkers.budgets import check_budgets
from tests.checkers.charges import check_charges
from tests.checkers.choices import check_choices
from tests.checkers.containers import check_containers
from tests.checkers.cursors import check_cursors
from tests.checkers.demands import check_demands
from tests.checkers.devices import check_devices
from tests.checkers.fencing import check_fencing
from tests.checkers.gangs import check_gangs
from tests.checkers.history import History, Violation
from tests.checkers.holders import check_holders
from tests.checkers.ledger import check_ledger
from tests.checkers.logs import check_logs
from tests.checkers.losses import check_losses
from tests.checkers.members import check_members
from tests.checkers.money import check_money
from tests.checkers.once import check_once
from tests.checkers.outlooks import check_outlooks
from tests.checkers.places import check_places
from tests.checkers.policies import check_policies
from tests.checkers.progress import check_progress
from tests.checkers.public import check_public
from tests.checkers.quotas import check_quotas
from tests.checkers.rejections import check_rejections
from tests.checkers.saving import check_saving
from tests.checkers.turns import check_turns
from tests.checkers.windows import check_windows
from tests.checkers.yielding import check_yielding

CHECKERS: dict[str, Callable[[History], list[Violation]]] = {
    "holders": check_holders,
    "once": check_once,
    "fencing": check_fencing,
    "losses": check_losses,
    "devices": check_devices,
    "containers": check_containers,
    "members": check_members,
    "gangs": check_gangs,
    "demands": check_demands,
    "choices": check_choices,
    "rejections": check_rejections,
    "policies": check_policies,
    "quotas": check_quotas,
    "turns": check_turns,
    "places": check_places,
    "yielding": check_yielding,
    "saving": check_saving,
    "windows": check_windows,
    "cursors": check_cursors,
    "ledger": check_ledger,
    "budgets": check_budgets,
    "charges": check_charges,
    "money": check_money,
    "logs": check_logs,
    "public": check_public,
    "progress": check_progress,
    "outlooks": check_outlooks,
}
WITHOUT_THE_BROKER = (
    "holders",
    "fencing",
    "devices",
    "containers",
    "members",
    "cursors",
    "progress",
    "outlooks",
)
"""What must hold even when the broker has lost what it had acknowledged."""


def judge(history: History) -> dict[str, list[Violation]]:
    """Violations by checker; empty when every promise was kept."""
    names = WITHOUT_THE_BROKER if history.lossy_broker else tuple(CHECKERS)
    found = {
        name: [msgspec.structs.replace(broken, checker=name) for broken in CHECKERS[name](history)]
        for name in names
    }
    return {name: violations for name, violations in found.items() if violations}
