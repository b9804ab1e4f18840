"""Who is this host in the mesh, and what proves it?

The files of a host that has joined: its key, which never leaves it, the claims for it, the broker's
certificate and address. It does not know how they were come by.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock_bus.jwt import render_creds
from penstock_bus.nkey import InvalidSeed, KeyPair, KeyType
from penstock_contracts.joining import Admission
from penstock_node_agent.reaper.disk import Disk

DIRECTORY = "membership"


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """`invite`: the public key of the invitation it came by. `labels`: what the mesh says of it."""

    node: str
    url: str
    invite: str
    labels: dict[str, str] = {}


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was made for an invitation, kept before anybody hears of it: whoever asks again
    asks with the same."""

    invite: str
    seed: str


class MembershipUnreadable(Exception):
    """What is in the directory makes no sense; the sentence says what to do."""


class MembershipFiles:
    """One directory, for its owner only. Everything but the key may be written again."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk = disk
        self._directory = directory
        self.creds = directory / "node.creds"
        self.return_creds = directory / "return.creds"
        self.server = directory / "server.pem"
        self.invite_creds = directory / "invite.creds"
        self._membership = directory / "membership.json"
        self._pending = directory / "pending.json"
        self._seed = directory / "host.seed"

    def load(self) -> Membership | None:
        """None for a host that has not joined. Raises MembershipUnreadable."""
        data = self._disk.read(str(self._membership))
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=Membership)
        except msgspec.DecodeError as error:
            raise MembershipUnreadable(
                f"{self._membership} cannot be read ({error}); remove {self._directory} and join "
                "with a new token"
            ) from error

    def key(self) -> KeyPair:
        """The host's. Raises MembershipUnreadable."""
        data = self._disk.read(str(self._seed))
        try:
            return KeyPair.from_seed((data or b"").decode("ascii", "replace").strip())
        except InvalidSeed as error:
            raise MembershipUnreadable(
                f"{self._seed} is lost or damaged: {error}; join with a new token"
            ) from error

    def certificate(self) -> str:
        return (self._disk.read(str(self.server)) or b"").decode("ascii", "replace")

    def key_for(self, invite: str) -> KeyPair:
        """The key with which this host asks by that invitation: made once, and on the disk before
        anybody hears of it."""
        data = self._disk.read(str(self._pending))
        if data is not None:
            pending = msgspec.json.decode(data, type=_Pending)
            if pending.invite == invite:
                return KeyPair.from_seed(pending.seed)
        made = KeyPair.generate(KeyType.USER)
        pending = _Pending(invite=invite, seed=made.seed)
        self._write(self._pending, msgspec.json.encode(pending))
        return made

    def write_invite(self, claims: str, invitation: KeyPair) -> None:
        self._write(self.invite_creds, render_creds(claims, invitation).encode("ascii"))

    def join(self, membership: Membership, key: KeyPair, given: Admission, server: str) -> None:
        """This host is a node from here on; the last file that is written says so."""
        self._write(self._seed, key.seed.encode("ascii"))
        self._write(self.server, server.encode("ascii"))
        self.renew(key, given)
        self._write(self._membership, msgspec.json.encode(membership))
        self.end_asking()
        self._disk.remove(str(self._pending))

    def renew(self, key: KeyPair, given: Admission) -> None:
        self._write(self.return_creds, render_creds(given.return_claims, key).encode("ascii"))
        self._write(self.creds, render_creds(given.claims, key).encode("ascii"))

    def end_asking(self) -> None:
        self._disk.remove(str(self.invite_creds))

    def _write(self, path: Path, data: bytes) -> None:
        """As a whole or not at all; on the disk when this returns."""
        self._disk.make_directory(str(self._directory))
        fresh = str(path) + ".new"
        file = self._disk.create(fresh)
        try:
            self._disk.append(file, data)
            self._disk.sync(file)
        finally:
            self._disk.close(file)
        self._disk.rename(fresh, str(path))
        self._disk.sync_directory(str(self._directory))
