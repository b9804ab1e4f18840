"""Who may the mesh's processes be, and what proves it?

The keys of one mesh (operator, accounts, one scoped signing key per role), the account claims
they sign and the credential files of users. What each role may do is data from the registry. It
does not know how the broker is started.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from pathlib import Path
from typing import Any

import msgspec

from penstock_bus.authority import AuthorityKeys
from penstock_bus.jwt import (
    AccountExport,
    AccountImport,
    Scope,
    account_body,
    render_creds,
    sign_account,
    sign_operator,
    sign_user,
)
from penstock_bus.nkey import KeyPair, KeyType
from penstock_contracts.message_type import JOINER, NODE, REGISTRAR
from penstock_contracts.roles import (
    ACCOUNTS,
    EXPORTS,
    MESH,
    NODES,
    PROVISION,
    ROLES,
    SYSTEM,
    Role,
)
from penstock_mesh.private_file import write_private

OPERATOR_NAME = "penstock"
ISSUED_LONG_AGO_S = 1
"""Of claims that inventory signs anew, with the keys that it has revoked: a broker that is started
again keeps those, as they are newer.
"""

RESPONSES_MAX = 1
RESPONSES_TTL_NS = 15_000_000_000
"""An agent may answer a request it received: once, within the longest time a requester waits."""
RESPONSE_SUBJECTS = ("_INBOX.>", "_R_.>")
"""Where services may answer. For them the broker does not track each request: it would remember
every message of every stream they read, which all carry a reply subject.
"""


class SeedFile(msgspec.Struct, frozen=True):
    """The secrets of a mesh as they are stored: the seed of each key by name. `registrar` may sign
    claims of accounts for the operator."""

    operator: str
    accounts: dict[str, str]
    roles: dict[str, str]
    registrar: str = ""


class Trust:
    """The keys of one mesh. Signs account claims and mints users; never changes a key it has."""

    def __init__(
        self,
        operator: KeyPair,
        accounts: dict[str, KeyPair],
        role_keys: dict[str, KeyPair],
        registrar: KeyPair,
    ) -> None:
        self._operator = operator
        self._registrar = registrar
        self._accounts = accounts
        self._role_keys = role_keys

    @classmethod
    def load_or_create(cls, path: Path) -> Trust:
        """Reads the seeds from `path`, draws those that are missing, and writes them back (mode
        0600).
        """
        stored = SeedFile(operator="", accounts={}, roles={})
        if path.exists():
            stored = msgspec.json.decode(path.read_bytes(), type=SeedFile)
        operator = _key(stored.operator, KeyType.OPERATOR)
        accounts = {
            name: _key(stored.accounts.get(name, ""), KeyType.ACCOUNT)
            for name in (SYSTEM, *ACCOUNTS)
        }
        role_keys = {name: _key(stored.roles.get(name, ""), KeyType.ACCOUNT) for name in ROLES}
        registrar = _key(stored.registrar, KeyType.OPERATOR)
        complete = SeedFile(
            operator=operator.seed,
            accounts={name: key.seed for name, key in accounts.items()},
            roles=stored.roles | {name: key.seed for name, key in role_keys.items()},
            registrar=registrar.seed,
        )
        if complete != stored:
            write_private(path, msgspec.json.encode(complete))
        return cls(operator, accounts, role_keys, registrar)

    @property
    def system_account(self) -> str:
        return self._accounts[SYSTEM].public

    def operator_jwt(self, issued_s: int) -> str:
        return sign_operator(
            self._operator,
            name=OPERATOR_NAME,
            system_account=self.system_account,
            issued_s=issued_s,
            signers=(self._registrar.public,),
        )

    def authority_keys(self) -> AuthorityKeys:
        """The part of these secrets that inventory needs to let hosts in and to put them out."""
        return AuthorityKeys(
            registrar=self._registrar.seed,
            node=self._role_keys[NODE].seed,
            joiner=self._role_keys[JOINER].seed,
            nodes_account=self._accounts[NODES].public,
            provision_account=self._accounts[PROVISION].public,
            nodes_body=self._account_body(NODES),
        )

    def ensure_registrar_creds(self, path: Path, issued_s: int) -> None:
        """Leaves at `path` the credential by which inventory tells the broker who is revoked: it
        may speak of account NODES only."""
        self.ensure_creds(path, REGISTRAR, self._accounts[NODES].public, issued_s)

    def account_jwts(self, issued_s: int) -> dict[str, str]:
        """The claims of every account, by its public key."""
        return {
            key.public: self._account_jwt(name, issued_s) for name, key in self._accounts.items()
        }

    def mint(self, role: str, name: str, issued_s: int, *, expires_s: int | None = None) -> str:
        """The text of a credential file for a user of `role`. `name` fills `{{name()}}` in its
        rights.
        """
        user = KeyPair.generate(KeyType.USER)
        account_key = self._accounts[ROLES[role].account].public
        token = sign_user(
            self._role_keys[role],
            user.public,
            name=name,
            account_key=account_key,
            issued_s=issued_s,
            expires_s=expires_s,
        )
        return render_creds(token, user)

    def ensure_creds(self, path: Path, role: str, name: str, issued_s: int) -> None:
        """Leaves at `path` (mode 0600) a credential of `role` and `name`; a good one stays as it
        is.
        """
        if not (path.exists() and self._signed(path.read_text("utf-8"), role, name)):
            write_private(path, self.mint(role, name, issued_s).encode("ascii"))

    def _account_jwt(self, account: str, issued_s: int) -> str:
        return sign_account(
            self._operator,
            self._accounts[account].public,
            name=account,
            issued_s=ISSUED_LONG_AGO_S if account == NODES else issued_s,
            body=self._account_body(account),
        )

    def _account_body(self, account: str) -> dict[str, Any]:
        return account_body(
            jetstream=account == MESH,
            scopes=[
                _scope(name, role, self._role_keys[name].public)
                for name, role in ROLES.items()
                if role.account == account
            ],
            exports=[
                AccountExport(
                    subject=export.hidden_prefix + export.subject,
                    kind=export.kind,
                    many_answers=export.many_answers,
                )
                for export in EXPORTS
                if export.account == account
            ],
            imports=[
                AccountImport(
                    subject=export.hidden_prefix + export.subject,
                    kind=export.kind,
                    account_key=self._accounts[export.account].public,
                    local_subject=_number_wildcards(export.subject) if export.hidden_prefix else "",
                )
                for export in EXPORTS
                if account in export.importers
            ],
        )

    def _signed(self, creds: str, role: str, name: str) -> bool:
        claims = _user_claims(creds)
        return (
            claims is not None
            and claims.iss == self._role_keys[role].public
            and claims.name == name
            and claims.exp is None
        )


class _UserClaims(msgspec.Struct, frozen=True):
    iss: str
    name: str
    exp: int | None = None


def _key(seed: str, key_type: KeyType) -> KeyPair:
    return KeyPair.from_seed(seed) if seed else KeyPair.generate(key_type)


def _scope(name: str, role: Role, key: str) -> Scope:
    if role.respond and role.account == MESH:
        return Scope(
            key=key,
            role=name,
            publish=role.publish + RESPONSE_SUBJECTS,
            subscribe=role.subscribe,
        )
    return Scope(
        key=key,
        role=name,
        publish=role.publish,
        subscribe=role.subscribe,
        responses_max=RESPONSES_MAX if role.respond else None,
        responses_ttl_ns=RESPONSES_TTL_NS if role.respond else 0,
        payload_bytes_max=role.payload_bytes_max,
        subscriptions_max=role.subscriptions_max,
    )


def _number_wildcards(subject: str) -> str:
    """The subject with its n-th `*` as `$n`, as imports name what they map."""
    numbers = itertools.count(1)
    return ".".join(f"${next(numbers)}" if t == "*" else t for t in subject.split("."))


def _user_claims(creds: str) -> _UserClaims | None:
    """What the user claims inside a credential file say; None when it is damaged."""
    lines = creds.splitlines()
    if len(lines) < 2 or lines[1].count(".") != 2:
        return None
    segment = lines[1].split(".")[1]
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        return msgspec.json.decode(text, type=_UserClaims)
    except (binascii.Error, msgspec.DecodeError):
        return None
