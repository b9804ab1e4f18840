"""How are NATS' signed claims (JWT v2) written for operators, accounts and users?

The form is nats-io/jwt version 2: `ed25519-nkey` signatures over header and claims. Permissions
live in scopes of signing keys, so that a user's own claims say nothing but a name. It does not
know which accounts or roles the mesh has.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock_bus.nkey import KeyPair

HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
UNLIMITED = -1


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What every user signed by `key` may do. Subjects may hold templates such as `{{name()}}`.

    `responses_max` and `responses_ttl_ns` allow answers to requests received; None allows none
    beyond `publish`. `payload_bytes_max`, `subscriptions_max`: None = unlimited.
    """

    key: str
    role: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responses_max: int | None = None
    responses_ttl_ns: int = 0
    payload_bytes_max: int | None = None
    subscriptions_max: int | None = None

    def claims(self) -> dict[str, Any]:
        template: dict[str, Any] = {
            "pub": _allow_only(self.publish),
            "sub": _allow_only(self.subscribe),
            "subs": UNLIMITED if self.subscriptions_max is None else self.subscriptions_max,
            "data": UNLIMITED,
            "payload": UNLIMITED if self.payload_bytes_max is None else self.payload_bytes_max,
        }
        if self.responses_max is not None:
            template["resp"] = {"max": self.responses_max, "ttl": self.responses_ttl_ns}
        return {
            "kind": "user_scope",
            "key": self.key,
            "role": self.role,
            "template": template,
        }


class AccountExport(msgspec.Struct, frozen=True, kw_only=True):
    """A subject other accounts may import; `kind` is service or stream. `many_answers`: a
    service that answers with several messages.
    """

    subject: str
    kind: str
    many_answers: bool = False

    def claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = {"name": self.subject, "subject": self.subject, "type": self.kind}
        if self.kind == "service":
            claims["response_type"] = "Stream" if self.many_answers else "Singleton"
        return claims


class AccountImport(msgspec.Struct, frozen=True, kw_only=True):
    """A subject of account `account_key` that appears here, under `local_subject` if that is set
    (in it `$1` stands for the first `*` of `subject`).
    """

    subject: str
    kind: str
    account_key: str
    local_subject: str = ""

    def claims(self) -> dict[str, Any]:
        claims = {
            "name": self.subject,
            "subject": self.subject,
            "account": self.account_key,
            "type": self.kind,
        }
        if self.local_subject:
            claims["local_subject"] = self.local_subject
        return claims


def sign_operator(
    operator: KeyPair, *, name: str, system_account: str, issued_s: int, signers: Sequence[str] = ()
) -> str:
    """`signers`: public keys that may sign claims of accounts beside the operator's own."""
    body: dict[str, Any] = {"type": "operator", "system_account": system_account}
    if signers:
        body["signing_keys"] = list(signers)
    return _sign(operator, subject=operator.public, name=name, issued_s=issued_s, body=body)


def account_body(
    *,
    jetstream: bool,
    scopes: Sequence[Scope],
    exports: Sequence[AccountExport],
    imports: Sequence[AccountImport],
) -> dict[str, Any]:
    """What an account's claims say. `jetstream` gives unlimited storage; otherwise it has none."""
    storage = UNLIMITED if jetstream else 0
    limits: dict[str, Any] = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), UNLIMITED
    )
    limits["wildcards"] = True
    limits |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), storage)
    return {
        "type": "account",
        "limits": limits,
        "signing_keys": [scope.claims() for scope in scopes],
        "exports": [export.claims() for export in exports],
        "imports": [imported.claims() for imported in imports],
        "default_permissions": {"pub": {}, "sub": {}},
    }


def sign_account(
    signer: KeyPair,
    account_key: str,
    *,
    name: str,
    issued_s: int,
    body: Mapping[str, Any],
    revoked: Mapping[str, int] | None = None,
) -> str:
    """`signer`: the operator, or one that it lets sign. `revoked`: users whose claims no longer
    hold if they were signed up to that Unix time."""
    said = dict(body) | ({"revocations": dict(revoked)} if revoked else {})
    return _sign(signer, subject=account_key, name=name, issued_s=issued_s, body=said)


def sign_user(
    signer: KeyPair,
    user_key: str,
    *,
    name: str,
    account_key: str,
    issued_s: int,
    expires_s: int | None = None,
) -> str:
    """Signs with a scoped key: the claims carry no permissions, the account's scope holds them
    all.
    """
    return _sign(
        signer,
        subject=user_key,
        name=name,
        issued_s=issued_s,
        expires_s=expires_s,
        body={"type": "user", "issuer_account": account_key},
    )


def render_creds(user_jwt: str, user: KeyPair) -> str:
    """The text of a `.creds` file, as every NATS client reads it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def _allow_only(subjects: tuple[str, ...]) -> dict[str, list[str]]:
    """NATS reads an empty allow list as "everything", so nothing must be said as a denial."""
    return {"allow": list(subjects)} if subjects else {"deny": [">"]}


def _sign(
    signer: KeyPair,
    *,
    subject: str,
    name: str,
    issued_s: int,
    body: dict[str, Any],
    expires_s: int | None = None,
) -> str:
    claims: dict[str, Any] = {
        "iat": issued_s,
        "iss": signer.public,
        "name": name,
        "sub": subject,
        "nats": body | {"version": 2},
    }
    if expires_s is not None:
        claims["exp"] = expires_s
    claims["jti"] = _identifier(claims)
    signed = f"{_segment(msgspec.json.encode(HEADER))}.{_segment(msgspec.json.encode(claims))}"
    return f"{signed}.{_segment(signer.sign(signed.encode('ascii')))}"


def _identifier(claims: dict[str, Any]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    return base64.b32encode(digest).rstrip(b"=").decode("ascii")


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
