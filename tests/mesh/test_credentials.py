"""Are keys, claims and credential files what NATS and the registry say they are?"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import nkeys  # type: ignore[import-untyped]
import pytest
from nacl.signing import VerifyKey

from penstock_bus.jwt import Scope
from penstock_bus.nkey import InvalidSeed, KeyPair, KeyType
from penstock_contracts.roles import EXPORTS, MESH, NODES, ORDERS_PREFIX, ROLES
from penstock_mesh.credentials import Trust

NOW_S = 1_700_000_000


def claims_of(token: str) -> dict[str, Any]:
    segment = token.split(".")[1]
    decoded: dict[str, Any] = msgspec.json.decode(decode_segment(segment))
    return decoded


def decode_segment(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def token_of(creds: str) -> str:
    return creds.splitlines()[1]


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust.load_or_create(tmp_path / "keys.json")


def account_claims(trust: Trust, name: str) -> dict[str, Any]:
    tokens = trust.account_jwts(NOW_S).values()
    return next(c for c in map(claims_of, tokens) if c["name"] == name)


@pytest.mark.parametrize("key_type", KeyType)
def test_a_key_reads_the_same_in_the_nkeys_package(key_type: KeyType) -> None:
    key = KeyPair.generate(key_type)
    theirs = nkeys.from_seed(key.seed.encode())
    assert theirs.public_key.decode().rstrip("=") == key.public
    assert theirs.sign(b"text") == key.sign(b"text")
    assert key.public[0] == {"OPERATOR": "O", "ACCOUNT": "A", "USER": "U"}[key_type.name]


def test_a_seed_gives_the_same_key_again() -> None:
    key = KeyPair.generate(KeyType.ACCOUNT)
    again = KeyPair.from_seed(key.seed)
    assert (again.public, again.key_type) == (key.public, KeyType.ACCOUNT)


def test_a_damaged_seed_is_refused() -> None:
    seed = KeyPair.generate(KeyType.USER).seed
    changed = seed[:-1] + ("A" if seed[-1] != "A" else "Q")  # B would differ in spare bits only
    for damaged in ("", "SU", changed, seed[:-8], KeyPair.generate(KeyType.USER).public):
        with pytest.raises(InvalidSeed):
            KeyPair.from_seed(damaged)


def test_a_key_does_not_show_its_seed_when_printed() -> None:
    key = KeyPair.generate(KeyType.USER)
    assert key.seed not in repr(key)


def test_claims_are_signed_by_the_operator(trust: Trust) -> None:
    operator = claims_of(trust.operator_jwt(NOW_S))
    for token in (trust.operator_jwt(NOW_S), *trust.account_jwts(NOW_S).values()):
        signed, _, signature = token.rpartition(".")
        assert claims_of(token)["iss"] == operator["sub"]
        verify_key(operator["sub"]).verify(signed.encode(), decode_segment(signature))


def verify_key(public: str) -> VerifyKey:
    return VerifyKey(base64.b32decode(public + "=" * (-len(public) % 8))[1:-2])


def test_each_role_is_a_scope_with_the_rights_of_the_registry(trust: Trust) -> None:
    for name, role in ROLES.items():
        scopes = account_claims(trust, role.account)["nats"]["signing_keys"]
        (scope,) = (s for s in scopes if s["role"] == name)
        template = scope["template"]
        assert set(role.publish) <= set(template["pub"]["allow"])
        assert template["sub"]["allow"] == list(role.subscribe)
        assert ("resp" in template) == (role.respond and role.account != MESH)


def test_only_the_services_account_has_storage(trust: Trust) -> None:
    for token in trust.account_jwts(NOW_S).values():
        claims = claims_of(token)
        storage = {claims["nats"]["limits"][k] for k in ("mem_storage", "disk_storage", "streams")}
        assert storage == ({-1} if claims["name"] == MESH else {0})


def test_every_export_is_imported_where_the_registry_says(trust: Trust) -> None:
    for export in EXPORTS:
        offered = account_claims(trust, export.account)
        subject = export.hidden_prefix + export.subject
        assert [subject, export.kind] in [
            [e["subject"], e["type"]] for e in offered["nats"]["exports"]
        ]
        for importer in export.importers:
            imports = account_claims(trust, importer)["nats"]["imports"]
            (found,) = (i for i in imports if (i["subject"], i["type"]) == (subject, export.kind))
            assert found["account"] == offered["sub"]


def test_orders_to_nodes_are_hidden_under_a_prefix_no_reply_may_have(trust: Trust) -> None:
    exports = account_claims(trust, NODES)["nats"]["exports"]
    orders = [e["subject"] for e in exports if e["type"] == "service"]
    assert orders
    assert all(subject.startswith(ORDERS_PREFIX) for subject in orders)
    imported = account_claims(trust, MESH)["nats"]["imports"]
    assert {i["local_subject"] for i in imported} == {
        s.removeprefix(ORDERS_PREFIX).replace("*", "$1") for s in orders
    }


def test_a_user_carries_no_rights_of_its_own(trust: Trust) -> None:
    creds = trust.mint("node", "n1", NOW_S, expires_s=NOW_S + 60)
    claims = claims_of(token_of(creds))
    assert claims["nats"].keys() == {"type", "issuer_account", "version"}
    assert (claims["name"], claims["exp"]) == ("n1", NOW_S + 60)


def test_a_scope_that_allows_nothing_denies_everything() -> None:
    scope = Scope(key="A", role="r", publish=(), subscribe=())
    assert scope.claims()["template"]["pub"] == {"deny": [">"]}


def test_keys_stay_the_same_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = Trust.load_or_create(path).account_jwts(NOW_S)
    written = path.read_bytes()
    assert Trust.load_or_create(path).account_jwts(NOW_S) == first
    assert path.read_bytes() == written
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_role_that_is_new_gets_a_key_and_the_others_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    Trust.load_or_create(path)
    stored = msgspec.json.decode(path.read_bytes())
    del stored["roles"]["gateway"]
    path.write_bytes(msgspec.json.encode(stored))
    Trust.load_or_create(path)
    again = msgspec.json.decode(path.read_bytes())
    assert again["roles"].keys() == ROLES.keys()
    assert again["roles"]["client"] == stored["roles"]["client"]


def test_a_good_credential_file_stays_and_a_foreign_one_is_replaced(
    tmp_path: Path, trust: Trust
) -> None:
    path = tmp_path / "client.creds"
    trust.ensure_creds(path, "client", "local", NOW_S)
    written = path.read_bytes()
    trust.ensure_creds(path, "client", "local", NOW_S + 5)
    assert path.read_bytes() == written
    assert path.stat().st_mode & 0o777 == 0o600
    stranger = Trust.load_or_create(tmp_path / "other.json")
    for foreign in (stranger.mint("client", "local", NOW_S), "rubbish", "-\na.%.c\n", "-\na.e30.c"):
        path.write_text(foreign, encoding="ascii")
        trust.ensure_creds(path, "client", "local", NOW_S)
        assert claims_of(token_of(path.read_text("ascii")))["name"] == "local"
        assert path.read_text("ascii") != foreign
