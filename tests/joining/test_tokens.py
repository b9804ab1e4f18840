"""Does a token let in one host, the right one, at the right broker, in time?"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from joining.conftest import Mesh, files_in, now_s
from penstock_bus import join_token
from penstock_bus.authority import NatsAuthority
from penstock_bus.credentials import expiry_s
from penstock_bus.nkey import KeyPair
from penstock_bus.pinning import fingerprint
from penstock_contracts.joining import CREDENTIAL_S
from penstock_node_agent.joining.admission import NotAdmitted, join
from penstock_node_agent.joining.membership import Membership, MembershipUnreadable


async def refusal(token: str, directory: Path, node: str = "n") -> str:
    """With which code a host is refused."""
    with pytest.raises(NotAdmitted) as refused:
        await join(token, node, files_in(directory), lambda _: None)
    return refused.value.refusal.code


def changed(token: str, **fields: Any) -> str:
    return join_token.encode(msgspec.structs.replace(join_token.decode(token), **fields))


async def test_a_host_gets_a_credential_of_its_own_for_a_day(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "day", site="rome")
    member = files.load()
    assert member is not None
    assert (member.node, member.labels) == ("day", {"site": "rome"})
    assert abs((expiry_s(str(files.creds)) or 0) - now_s() - CREDENTIAL_S) < 60
    assert not files.invite_creds.exists()
    held = (await joined_mesh.operator.node("day")).key
    assert held == files.key().public


async def test_a_token_lets_one_host_in_and_no_other(joined_mesh: Mesh, tmp_path: Path) -> None:
    token = await joined_mesh.invite()
    files = files_in(tmp_path / "a")
    assert await join(token, "once", files, lambda _: None) == "once"
    key = files.key().public
    assert await join(token, "another", files, lambda _: None) == "once", "it has joined already"
    assert await refusal(token, tmp_path / "b", "other") == "invitation_used"
    assert (await joined_mesh.operator.node("once")).key == key == files.key().public


def join_token_key(token: str) -> str:
    return KeyPair.from_seed(join_token.decode(token).seed).public


async def test_a_host_that_was_killed_before_it_kept_its_answer_gets_it_again(
    joined_mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await joined_mesh.invite()
    files = files_in(tmp_path / "a")

    def die(*_: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(files, "join", die)
        with pytest.raises(OSError, match="killed"):
            await join(token, "killed", files, lambda _: None)
    admitted = (await joined_mesh.operator.node("killed")).key
    again = files_in(tmp_path / "a")
    assert await join(token, "killed", again, lambda _: None) == "killed"
    assert again.key().public == admitted
    assert not (tmp_path / "a/pending.json").exists()


async def test_a_token_that_ran_out_is_refused_by_the_broker_already(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    token = await joined_mesh.invite()
    broker = joined_mesh.broker
    authority = NatsAuthority(broker.authority, broker.url, now_s)
    late = authority.invite(join_token_key(token), now_s() - 1)
    assert await refusal(changed(token, claims=late), tmp_path / "a") == "unauthorized"
    assert await join(token, "in-time", files_in(tmp_path / "a"), lambda _: None) == "in-time"


async def test_an_invitation_of_another_mesh_is_refused(joined_mesh: Mesh, tmp_path: Path) -> None:
    token = await joined_mesh.invite()
    creds = joined_mesh.broker.trust.mint("node", "n", now_s())
    assert await refusal(changed(token, claims=creds.splitlines()[1]), tmp_path) == "unauthorized"


@pytest.mark.parametrize("text", ["", "penstock-join-1.", "penstock-join-1.YQ", "x" * 5000])
async def test_what_is_no_token_is_refused_in_words(text: str, tmp_path: Path) -> None:
    assert await refusal(text, tmp_path / "a") == "invalid_field"


async def test_a_token_may_have_been_broken_over_lines(joined_mesh: Mesh) -> None:
    token = await joined_mesh.invite()
    wrapped = "\n".join(token[at : at + 70] for at in range(0, len(token), 70))
    assert join_token.decode(wrapped) == join_token.decode(token)


@pytest.mark.lesson(11)
async def test_names_are_taken_by_keys(joined_mesh: Mesh, tmp_path: Path) -> None:
    await joined_mesh.join(tmp_path / "a", "taken")
    assert await refusal(await joined_mesh.invite(), tmp_path / "b", "taken") == "name_taken"


async def test_a_host_is_told_to_wait_until_it_is_approved_of(
    joined_mesh: Mesh, tmp_path: Path, eventually: Any
) -> None:
    from penstock_client.inviting import approve

    said: list[str] = []
    token = await joined_mesh.invite(approved=False)
    files = files_in(tmp_path / "a")
    joining = asyncio.ensure_future(join(token, "waits", files, said.append))
    await eventually(lambda: said)
    assert not joining.done()
    made = await approve(joined_mesh.operator, "waits")
    assert made.host_key in said[0]
    assert await joining == "waits"


async def test_a_host_says_nothing_to_a_server_with_another_certificate(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    """Such a server sees a TLS greeting and the end of the connection."""
    heard = bytearray()
    ended = asyncio.Event()
    broker = joined_mesh.broker
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(broker.certificate, broker.directory / "key.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"tls_required":true}\r\n')
        try:
            await writer.start_tls(context)
            heard.extend(await reader.read())
        except (OSError, ssl.SSLError) as error:
            heard.extend(b"" if isinstance(error, ConnectionError) else repr(error).encode())
        finally:
            writer.transport.abort()
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    token = changed(await joined_mesh.invite(), url=f"tls://127.0.0.1:{port}", fingerprint="0" * 64)
    assert await refusal(token, tmp_path / "a") == "wrong_certificate"
    await ended.wait()
    assert bytes(heard) == b""
    assert not (tmp_path / "a").exists(), "not even a key was made"
    server.close()


async def test_the_token_names_the_certificate_that_the_operator_sees(joined_mesh: Mesh) -> None:
    token = join_token.decode(await joined_mesh.invite())
    pem = joined_mesh.broker.certificate.read_text("ascii")
    assert token.fingerprint == fingerprint(ssl.PEM_cert_to_DER_cert(pem))
    assert token.seed not in repr(token)


def test_a_membership_that_is_damaged_is_told_in_words(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    assert files.load() is None
    (tmp_path / "membership.json").write_text("{", encoding="ascii")
    with pytest.raises(MembershipUnreadable, match="join with a new token"):
        files.load()
    with pytest.raises(MembershipUnreadable, match=r"host\.seed"):
        files.key()
    kept = Membership(node="n", url="tls://x", invite="U")
    (tmp_path / "membership.json").write_bytes(msgspec.json.encode(kept))
    assert files.load() == kept
