"""Is an embedded broker's certificate made once, private, and fit for its address?"""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from penstock_mesh.certificates import ensure_certificate
from penstock_mesh.data_directory import DataDirectory
from penstock_mesh.nats_server import CertificateUnfit
from penstock_mesh.preparation import MeshOptions, choose_addresses, write_files

NOW_S = int(time.time())


def made(directory: Path, address: str = "10.0.0.1") -> tuple[Path, Path]:
    certificate, key = directory / "tls/cert.pem", directory / "tls/key.pem"
    ensure_certificate(certificate, key, address, NOW_S)
    return certificate, key


def test_a_server_can_use_it_and_a_client_that_knows_it_trusts_it(tmp_path: Path) -> None:
    certificate, key = made(tmp_path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    trusted = ssl.create_default_context(cafile=str(certificate)).get_ca_certs()
    names = [name for _, name in trusted[-1]["subjectAltName"]]  # type: ignore[misc]
    assert {"localhost", "127.0.0.1", "10.0.0.1"} <= set(names)
    assert key.stat().st_mode & 0o777 == 0o600


def test_it_stays_as_it_is_and_is_refused_for_an_address_that_it_does_not_name(
    tmp_path: Path,
) -> None:
    certificate, _ = made(tmp_path)
    before = certificate.read_bytes()
    made(tmp_path)
    assert certificate.read_bytes() == before
    with pytest.raises(CertificateUnfit, match=r"10\.0\.0\.2.*must then join anew"):
        made(tmp_path, "10.0.0.2")


def test_only_the_broker_listens_elsewhere_and_only_over_tls(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    options = MeshOptions(data=tmp_path, listen="0.0.0.0", port=0, http_port=0)
    addresses = choose_addresses(options, directory)
    assert (addresses.bind, addresses.nats_bind) == ("127.0.0.1", "0.0.0.0")
    assert addresses.nats_url.startswith("tls://localhost:")
    assert addresses.http_url.startswith("http://127.0.0.1:")
    write_files(options, addresses, directory, ())
    config = directory.nats_config.read_text("utf-8")
    assert f'listen: "0.0.0.0:{addresses.nats_port}"' in config
    assert str(directory.certificate) in config and str(directory.accounts) in config


def test_a_backup_holds_what_lets_members_back_in(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    options = MeshOptions(data=tmp_path, listen="127.0.0.1", port=0, http_port=0)
    write_files(options, choose_addresses(options, directory), directory, ())
    directory.accounts.mkdir()
    (directory.accounts / "A.jwt").write_text("claims", encoding="ascii")
    held = {str(path.relative_to(tmp_path)) for path in directory.secrets()}
    assert {
        *("keys.json", "authority/keys.json", "authority/registrar.creds"),
        *("accounts/A.jwt", "tls/cert.pem", "tls/key.pem"),
    } <= held
