"""How does inventory let a key in, and how does the broker hear that one is nobody any more?

Signs users' claims with scoped keys, and the claims of account NODES with all revoked keys, which a
second connection, in the broker's own account, hands to the broker. Who may come in is decided
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.jwt import sign_account, sign_user
from penstock_bus.nats import NatsBus, connect
from penstock_bus.nkey import InvalidSeed, KeyPair
from penstock_bus.port import BusRefusal
from penstock_contracts.joining import CREDENTIAL_S
from penstock_contracts.roles import NODES

KEYS_FILE = "keys.json"
CREDS_FILE = "registrar.creds"
PUSH_S = 2.0
OK = 200


class AuthorityKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Seeds, and what they sign for. `registrar` may sign any account's claims, but the credential
    beside it can hand the broker those of NODES only; `node` and `joiner` sign users within the
    scopes of these roles. `nodes_body`: what the claims of account NODES say, but for revocations.
    """

    registrar: str
    node: str
    joiner: str
    nodes_account: str
    provision_account: str
    nodes_body: dict[str, Any]


class AuthorityUnusable(ValueError):
    """The directory with the keys cannot be read; the sentence says why."""


class _Updated(msgspec.Struct):
    code: int = 0
    message: str = ""
    description: str = ""


class _Answer(msgspec.Struct):
    data: _Updated | None = None
    error: _Updated | None = None


class NatsAuthority:
    """Over the keys in one directory. `now_s` is the wall clock."""

    def __init__(self, directory: Path, url: str, now_s: Callable[[], int]) -> None:
        """Raises AuthorityUnusable."""
        try:
            keys = msgspec.json.decode((directory / KEYS_FILE).read_bytes(), type=AuthorityKeys)
            self._registrar = KeyPair.from_seed(keys.registrar)
            self._node = KeyPair.from_seed(keys.node)
            self._joiner = KeyPair.from_seed(keys.joiner)
        except (OSError, msgspec.DecodeError, InvalidSeed) as error:
            raise AuthorityUnusable(f"{directory / KEYS_FILE} cannot be used: {error}") from error
        self._keys = keys
        self._creds = directory / CREDS_FILE
        self._url = url
        self._now_s = now_s
        self._bus: NatsBus | None = None
        self._revoked: dict[str, int] | None = None
        self._claims = ""
        self._issued_s = 0

    def invite(self, key: str, expires_s: int) -> str:
        """Claims with which `key` may ask to join, until then."""
        return self._joining(key, expires_s)

    def admit(self, key: str, node: str) -> tuple[str, str, int]:
        """Claims with which `key` is `node`, those with which it may ask for the next ones, and
        until when (Unix time) the first are good."""
        expires_s = self._now_s() + CREDENTIAL_S
        claims = sign_user(
            self._node,
            key,
            name=node,
            account_key=self._keys.nodes_account,
            issued_s=self._now_s(),
            expires_s=expires_s,
        )
        return claims, self._joining(key, None), expires_s

    async def revoke(self, keys: Mapping[str, int]) -> None:
        """Has the broker hold that all of `keys` are nobody, and nobody else is; whoever is
        connected with one is put out. The number is the Unix time up to which claims were signed.
        Saying the same again costs a broker that knows it nothing. Raises Outage, BusRefusal."""
        if self._bus is None:
            self._bus = await connect(
                self._url,
                name="penstock-registrar",
                credentials=str(self._creds),
                connect_timeout_s=PUSH_S,
            )
        if keys != self._revoked:
            self._sign(keys)
        subject = f"$SYS.REQ.ACCOUNT.{self._keys.nodes_account}.CLAIMS.UPDATE"
        reply = await self._bus.request(subject, self._claims.encode("ascii"), timeout_s=PUSH_S)
        answer = msgspec.json.decode(reply.payload, type=_Answer)
        if answer.data is None or answer.data.code != OK:
            said = answer.error or answer.data or _Updated()
            raise BusRefusal(said.code, said.description or said.message)

    def _sign(self, keys: Mapping[str, int]) -> None:
        """Newer by a second at least than what was said before: of two, servers keep the newer."""
        self._issued_s = max(self._now_s(), self._issued_s + 1)
        self._revoked = dict(keys)
        self._claims = sign_account(
            self._registrar,
            self._keys.nodes_account,
            name=NODES,
            issued_s=self._issued_s,
            body=self._keys.nodes_body,
            revoked=keys,
        )

    async def close(self) -> None:
        if self._bus is not None:
            await self._bus.close()
            self._bus = None

    def _joining(self, key: str, expires_s: int | None) -> str:
        return sign_user(
            self._joiner,
            key,
            name=key,
            account_key=self._keys.provision_account,
            issued_s=self._now_s(),
            expires_s=expires_s,
        )
