"""By what certificate is an embedded broker known to other hosts?

One of its own, made once and kept: hosts that joined know it by its hash, and it names the
addresses under which processes of this machine reach it. It does not know who trusts it.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock_mesh.nats_server import CertificateUnfit
from penstock_mesh.private_file import write_private

YEARS = 10
DAY_S = 86_400
COMMON_NAME = "penstock"
ALWAYS = ("localhost", "127.0.0.1", "::1")


def ensure_certificate(certificate: Path, key: Path, address: str, now_s: int) -> None:
    """Leaves a certificate at `certificate` and its key at `key` (mode 0600); what exists stays.

    Raises CertificateUnfit when that one does not name `address`.
    """
    if certificate.exists() and key.exists():
        _check(certificate, address)
        return
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    since = datetime.datetime.fromtimestamp(now_s - DAY_S, datetime.UTC)
    until = datetime.datetime.fromtimestamp(now_s + YEARS * 365 * DAY_S, datetime.UTC)
    names = dict.fromkeys((*ALWAYS, socket.gethostname(), address))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(made, hashes.SHA256())
    )
    private = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(key, private)
    write_private(certificate, signed.public_bytes(serialization.Encoding.PEM))


def _check(certificate: Path, address: str) -> None:
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    found = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if _general(address) not in found:
        raise CertificateUnfit(
            f"{certificate} does not name {address}. Remove it and its key to have another one "
            "made; hosts that have joined must then join anew. Or give --tls-cert and --tls-key."
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
