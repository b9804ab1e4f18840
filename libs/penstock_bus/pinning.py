"""How is a broker known by its certificate alone?

Fetches the certificate that a broker shows, before anything is said to it, and makes a TLS context
that takes no other one, whatever names stand in it. It does not know where the hash came from.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from urllib.parse import urlsplit

from penstock_bus.nats import server_urls
from penstock_bus.port import Outage

FETCH_S = 10.0
GREETING_BYTES_MAX = 64 * 1024
PORT = 4222


class WrongCertificate(Exception):
    """The broker is another one than it should be; the sentence says which."""


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER form, as hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest()


def trusting(certificates: str) -> ssl.SSLContext:
    """A context that takes exactly these certificates (PEM, one or several) and what they have
    signed. Names do not count: the certificate itself is the identity."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificates)
    return context


async def fetch_verified(url: str, expected: str) -> str:
    """The certificate (PEM) of the broker at `url`, whose fingerprint must be `expected`.

    Nothing is sent but a TLS greeting. Raises Outage, WrongCertificate.
    """
    found = await _fetch(url)
    if fingerprint(found) != expected:
        raise WrongCertificate(
            f"the server at {url} has another certificate ({fingerprint(found)[:16]}…) than the "
            f"token says ({expected[:16]}…): it is not the mesh that invites, or its certificate "
            "has changed since"
        )
    return ssl.DER_cert_to_PEM_cert(found)


async def _fetch(url: str) -> bytes:
    failed: Exception = Outage(f"no address in {url!r}")
    for one in server_urls(url):
        try:
            async with asyncio.timeout(FETCH_S):
                return await _certificate_of(one)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            failed = Outage(f"no broker that speaks TLS at {one}: {error!r}")
    raise failed


async def _certificate_of(url: str) -> bytes:
    """A broker says INFO in plain, then both sides go over to TLS."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        place.hostname, place.port or PORT, limit=GREETING_BYTES_MAX
    )
    try:
        await reader.readuntil(b"\r\n")
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        await writer.start_tls(blind, server_hostname=place.hostname)
        shown: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        certificate = None if shown is None else shown.getpeercert(binary_form=True)
        if certificate is None:
            raise OSError("it shows no certificate")
        return certificate
    finally:
        writer.transport.abort()
