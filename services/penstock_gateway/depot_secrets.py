"""How are tenants' secrets kept?

As they came: sealed for a key that this process alone has, in the bucket SECRETS. They are opened
when a node asks for a lease that names them, and sealed again for that node. What is sealed says
whose it is, so that nobody can pass on another's. It does not know who may ask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from penstock_bus.buckets import is_deleted
from penstock_bus.port import Bus, StoredMessage
from penstock_contracts.depot import (
    SECRETS_PER_TENANT_MAX,
    NodeSecrets,
    PutSecret,
    SecretNames,
    SecretText,
    SecretView,
)
from penstock_contracts.errors import MALFORMED
from penstock_contracts.streams import SECRETS
from penstock_gateway.refused import Refused
from penstock_runtime.config import ConfigError

KEY_NAME = "secrets.key"
PAGE = 256


class Kept(msgspec.Struct, frozen=True):
    """A secret as it lies in the bucket."""

    name: str
    sealed: bytes
    stored_ms: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode
_decode_text = msgspec.json.Decoder(SecretText).decode


class SecretKeeper:
    """`now_ns`: server time."""

    def __init__(self, bus: Bus, key: PrivateKey, now_ns: Callable[[], int]) -> None:
        self._bus, self._box, self._now_ns = bus, SealedBox(key), now_ns
        self.public_key = bytes(key.public_key)

    async def put(self, tenant: str, secret: PutSecret) -> None:
        """Raises Refused, Outage, as all of these."""
        text = self._open(secret.sealed)
        if text is None or (text.tenant, text.name) != (tenant, secret.name):
            raise Refused(
                "not_sealed", "it is not sealed for this depot, this tenant and this name"
            )
        known = {each.name for each in await self._all(tenant)}
        if len(known) >= SECRETS_PER_TENANT_MAX and secret.name not in known:
            raise Refused("too_many_secrets", f"a tenant may keep {SECRETS_PER_TENANT_MAX} secrets")
        kept = Kept(secret.name, secret.sealed, self._now_ns() // 1_000_000)
        await self._bus.kv_put(SECRETS, _key(tenant, secret.name), _encode(kept))

    async def names(self, tenant: str) -> SecretNames:
        kept = sorted(await self._all(tenant), key=lambda each: each.name)
        return SecretNames(tuple(SecretView(each.name, each.stored_ms) for each in kept))

    async def remove(self, tenant: str, name: str) -> None:
        await self._find(tenant, name)
        await self._bus.kv_delete(SECRETS, _key(tenant, name))

    async def hand_out(self, tenant: str, names: Sequence[str], key: bytes) -> NodeSecrets:
        """Their texts by name, readable with that key only."""
        texts: dict[str, str] = {}
        for name in names:
            text = self._open((await self._find(tenant, name)).sealed)
            if text is None or (text.tenant, text.name) != (tenant, name):
                sentence = f"secret {name} was set for a depot with another key: set it again"
                raise Refused("no_such_secret", sentence)
            texts[name] = text.text
        return NodeSecrets(SealedBox(PublicKey(key)).encrypt(_encode(texts)))

    async def _find(self, tenant: str, name: str) -> Kept:
        found = await self._bus.kv_get(SECRETS, _key(tenant, name))
        if found is None:
            raise Refused("no_such_secret", f"there is no secret {name}")
        return _decode(found.value)

    async def _all(self, tenant: str) -> list[Kept]:
        newest: dict[str, StoredMessage] = {}
        from_seq, subject = 1, f"$KV.{SECRETS}.{tenant}.>"
        while page := await self._bus.read_many(f"KV_{SECRETS}", from_seq, subject, limit=PAGE):
            newest.update({message.subject: message for message in page})
            from_seq = page[-1].seq + 1
        living = (each for each in newest.values() if not is_deleted(each.headers))
        return [_decode(each.payload) for each in living]

    def _open(self, sealed: bytes) -> SecretText | None:
        """None: it was not sealed for us, or holds no secret. What it says is never in an error."""
        try:
            return _decode_text(self._box.decrypt(sealed))
        except (CryptoError, *MALFORMED):
            return None


def load_key(path: Path) -> PrivateKey:
    """The depot's private key; drawn when there is none yet. Raises ConfigError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.new")
        if not path.exists():
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(file, "wb") as stream:
                stream.write(bytes(PrivateKey.generate()).hex().encode())
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(part, path)  # another gateway may have been first: its key counts
            except FileExistsError:
                pass
            finally:
                os.unlink(part)
        return PrivateKey(bytes.fromhex(path.read_text("ascii").strip()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"the key of secrets, {path}, cannot be used: {error}") from error


def _key(tenant: str, name: str) -> str:
    return f"{tenant}.{name.encode().hex()}"
