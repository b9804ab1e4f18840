"""How does a command change the queue's policy, and how does it say what has changed?

What quota, pool, reserve and apply have in common. It does not know what is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from penstock_client.commands.access import Access

if TYPE_CHECKING:
    from penstock_client.policy_text import Change
    from penstock_contracts.queue_policy import QueuePolicy

ONE_OF = {"pools": "pool", "quotas": "quota", "reservations": "reservation"}
NOTHING = "none"
"""Typed for a bound that is to be none."""
BOUNDS = ("maximum_gpus", "maximum_cores", "queued_max")
COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "moved": "yellow"}


def read_words(part: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """The contract's fields, of those options that were given (None = it was not): as words, or as
    lists and labels. Options are called as the fields of a policy file. Raises click's
    BadParameter."""
    from penstock_client.policy_fields import FIELDS

    found: dict[str, Any] = {}
    for name, word in words.items():
        if word is None:
            continue
        field = FIELDS[part][name]
        try:
            if word == NOTHING and name in BOUNDS:
                found[field.name] = None
            else:
                found[field.name] = field.read_word(word)
        except ValueError as error:
            option = "--" + name.replace("_", "-")
            raise click.BadParameter(str(error), param_hint=option) from error
    return found


def labels_of(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Of `NAME=VALUE`s. Raises click's BadParameter."""
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{pair[:60]!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def put(
    policy: QueuePolicy, part: str, name: str, fields: dict[str, Any], at: int | None = None
) -> QueuePolicy:
    """With these fields of that entry; one that is new is put `at` that place, else at the end."""
    from msgspec.structs import replace

    from penstock_client.policy_fields import PARTS

    entries = list(getattr(policy, part))
    for index, entry in enumerate(entries):
        if entry.name == name:
            entries[index] = replace(entry, **fields)
            break
    else:
        entries.insert(
            len(entries) if at is None else at, PARTS[part][0](**{"name": name, **fields})
        )
    return replace(policy, **{part: tuple(entries)})


def remove(access: Access, part: str, names: tuple[str, ...]) -> int:
    """Without the entries of these names."""
    from msgspec.structs import replace

    def without(policy: QueuePolicy) -> QueuePolicy:
        entries = getattr(policy, part)
        known = {entry.name for entry in entries}
        for name in names:
            if name not in known:
                raise click.UsageError(f"there is no {ONE_OF[part]} {name}")
        left = tuple(entry for entry in entries if entry.name not in names)
        return replace(policy, **{part: left})

    return change(access, without)


def change(access: Access, make: Callable[[QueuePolicy], QueuePolicy]) -> int:
    """Sets what `make` makes of the policy that holds, and says what that has changed."""
    from penstock_client.commands.tables import print_json
    from penstock_client.policy_text import changes
    from penstock_client.queueing import change_policy

    held, now = access.run(lambda client: change_policy(client.bus, make))
    found = changes(held.policy, now.policy)
    if access.as_json:
        print_json({"version": now.version, "changes": found})
        return 0
    for one in found:
        click.echo(line_of(one))
    click.echo(holds(now.version, bool(found)))
    return 0


def holds(version: int, has_changed: bool) -> str:
    return f"version {version} holds" if has_changed else f"as it was: version {version} holds"


def line_of(one: Change) -> str:
    """`~ quota acme: maximum_gpus 64 → 32`, in colour on a terminal."""
    from penstock_client.commands.tables import printable

    sign = {"added": "+", "removed": "-"}.get(one.kind, "~")
    what = f"{ONE_OF[one.part]} {one.name}" if one.name else ""
    turn = f"{one.before or NOTHING} → {one.after or NOTHING}"
    if one.kind == "moved":
        text = f"{one.part} in another order: {turn}"
    elif one.kind == "changed":
        text = f"{what}: {one.field} {turn}" if what else f"{one.field} {turn}"
    else:
        text = f"{what}: {one.after}" if one.after else what
    return click.style(printable(f"{sign} {text}"), fg=COLOURS[one.kind])
