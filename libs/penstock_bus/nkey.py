"""How is a NATS key pair made, written down and used to sign?

Ed25519 keys in NATS' text form: a type prefix, the key, CRC-16/XMODEM, base32 without padding
(nats-io/nkeys). It does not know what is signed.
"""

from __future__ import annotations

import base64
import binascii
import enum

from nacl.signing import SigningKey

SEED_PREFIX = 18 << 3
RAW_KEY_BYTES = 32


class KeyType(enum.IntEnum):
    """What a key stands for; the value is the prefix that makes its text begin with O, A or U."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


class InvalidSeed(ValueError):
    """A seed's text is damaged or of an unknown type."""


class KeyPair:
    """A private key of one type. `seed` is the secret text, `public` the name everybody may
    know.
    """

    def __init__(self, key_type: KeyType, raw_seed: bytes) -> None:
        self.key_type = key_type
        self._raw_seed = raw_seed
        self._signing_key = SigningKey(raw_seed)

    @classmethod
    def generate(cls, key_type: KeyType) -> KeyPair:
        return cls(key_type, bytes(SigningKey.generate()))

    @classmethod
    def from_seed(cls, seed: str) -> KeyPair:
        """Raises InvalidSeed."""
        try:
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except binascii.Error as error:
            raise InvalidSeed("the seed is not base32") from error
        body, checksum = raw[:-2], raw[-2:]
        if len(body) != RAW_KEY_BYTES + 2 or _checksum(body) != checksum:
            raise InvalidSeed("the seed is damaged (length or checksum)")
        if body[0] & 0xF8 != SEED_PREFIX:
            raise InvalidSeed("the text is not a seed")
        try:
            key_type = KeyType(((body[0] & 0x07) << 5) | ((body[1] & 0xF8) >> 3))
        except ValueError as error:
            raise InvalidSeed("the seed's type is neither operator, account nor user") from error
        return cls(key_type, body[2:])

    @property
    def public(self) -> str:
        return _encode(bytes([self.key_type]) + bytes(self._signing_key.verify_key))

    @property
    def seed(self) -> str:
        prefix = bytes([SEED_PREFIX | self.key_type >> 5, (self.key_type & 0x1F) << 3])
        return _encode(prefix + self._raw_seed)

    def sign(self, data: bytes) -> bytes:
        return self._signing_key.sign(data).signature

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")


def _encode(data: bytes) -> str:
    return base64.b32encode(data + _checksum(data)).rstrip(b"=").decode("ascii")
