"""Whose certificate it is, and what else may be at an address: nothing is said before that is settled."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from gateway.client import CannotConnect, open_client
from gateway.client.remote import RemoteClient, look
from tests.support.outer_door import fingerprint_of, make_certificate, open_listener, open_outer_door
from tests.support.visitor import pair, remembered, shown


async def test_the_first_certificate_is_remembered_and_another_is_refused_before_a_secret_is_sent(
    front, door, keep, tmp_path
):
    await pair(front, door, keep)
    first = fingerprint_of(door.certificate)
    assert remembered(keep, door)["pin"] == first
    door.certificate = make_certificate(tmp_path, "another")
    seen = len(door.connections)
    with pytest.raises(CannotConnect) as refused:
        async with open_client(door.url, access=shown(keep)):
            pass
    second = fingerprint_of(door.certificate)
    assert (refused.value.kind, refused.value.expected, refused.value.found) == ("certificate-changed", first, second)
    assert len(door.connections) == seen
    async with open_client(door.url, access=shown(keep, fingerprint=second)) as client:
        assert isinstance(client, RemoteClient)
        assert client.certificate.how == "pinned"
    assert remembered(keep, door)["pin"] == second


async def test_a_named_fingerprint_has_to_be_there(front, door, keep):
    for fingerprint in ("0" * 64, "SHA256:" + "00:" * 31 + "00"):
        with pytest.raises(CannotConnect) as refused:
            async with open_client(door.url, access=shown(keep, fingerprint=fingerprint)):
                pass
        assert refused.value.kind == "certificate-changed"
    assert not (keep / "known.json").exists()


async def test_a_certificate_that_an_authority_vouches_for_is_not_pinned_but_must_go_on_to_be(
    front, door, keep, monkeypatch, tmp_path
):
    monkeypatch.setenv("SSL_CERT_FILE", str(door.certificate))
    await pair(front, door, keep)
    assert remembered(keep, door)["pin"] == "authorities"
    async with open_client(door.url, access=shown(keep)) as client:
        assert isinstance(client, RemoteClient)
        assert client.certificate.how == "authorities"
    door.certificate = make_certificate(tmp_path, "another")
    with pytest.raises(CannotConnect) as refused:
        async with open_client(door.url, access=shown(keep)):
            pass
    assert (refused.value.kind, refused.value.expected) == ("certificate-changed", "authorities")
    assert refused.value.found == fingerprint_of(door.certificate)


async def test_who_spoke_tls_is_never_spoken_to_without(front, door, keep):
    await pair(front, door, keep)
    before, secure = len(door.connections), door.url
    door.certificate = None  # as somebody in its place would have it, who only has to wait for a missing s
    with pytest.raises(CannotConnect) as refused:
        async with open_client(secure.replace("wss:", "ws:"), access=shown(keep)):
            pass
    assert refused.value.kind == "tls-there"
    assert len(door.connections) == before


async def test_looking_at_a_certificate_sends_and_remembers_nothing(door, keep):
    certificate = await look(door.url, trio.current_time() + 5)
    assert (certificate.how, certificate.fingerprint) == ("first-use", fingerprint_of(door.certificate))
    assert "self-signed" in certificate.why
    assert door.connections == []
    assert not keep.exists()


# --- what is there instead --------------------------------------------------------------------------------------------


async def kind_of(url: str, keep: Path) -> tuple[str, str]:
    with pytest.raises(CannotConnect) as refused:
        async with open_client(url, access=shown(keep), connect_timeout=5.0):
            pass
    assert not (keep / "known.json").exists()
    return refused.value.kind, refused.value.message


async def test_each_thing_that_is_no_gateway_is_called_by_its_name(front, door, keep):
    async with open_outer_door(front) as plain:
        assert (await kind_of(plain.url.replace("ws:", "wss:"), keep))[0] in ("no-tls", "tls")
    assert (await kind_of(door.url.replace("wss:", "ws:"), keep))[0] == "tls-there"
    assert (await kind_of("ws://no-such-host.invalid:1", keep))[0] in ("unknown-host", "unreachable")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await kind_of(f"ws://127.0.0.1:{port}", keep) == (
        "unreachable", f"nobody listens at 127.0.0.1:{port}: the connection was refused",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not-a-gateway", "is no gateway: HTTP 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "not-a-gateway", "is no gateway"),
        (b"SSH-2.0-OpenSSH_10\r\n", "not-a-gateway", "is no gateway"),
        (b"", "not-a-gateway", "is no gateway"),
        (b"HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n", "refused", "does not go by the name 127.0.0.1"),
        (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 30\r\n\r\nToo many unauthenticated socke",
            "busy", "takes nobody now: Too many unauthenticated socke",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 61\r\n\r\n"
            b'{"error":{"message":"proxy attribution required","type":"p"}}',
            "refused", "does not take this connection: proxy attribution required",
        ),
    ],
    ids=["404", "200", "ssh", "hangs up", "421", "503", "403"],
)  # fmt: skip
async def test_an_answer_that_is_no_websocket_says_what_is_there(keep, answer, kind, words):
    async with open_listener(answer) as port:
        found, message = await kind_of(f"ws://127.0.0.1:{port}", keep)
    assert found == kind
    assert words in message


async def test_a_gateway_that_asks_for_patience_says_how_long(keep):
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"
    async with open_listener(answer) as port:
        with pytest.raises(CannotConnect) as refused:
            async with open_client(f"ws://127.0.0.1:{port}", access=shown(keep)):
                pass
    assert (refused.value.kind, refused.value.wait) == ("busy", 17.0)


async def test_who_never_answers_is_given_up(keep):
    async with open_listener(b"", hold=True) as port:
        with pytest.raises(trio.TooSlowError):
            async with open_client(f"ws://127.0.0.1:{port}", access=shown(keep), connect_timeout=0.2):
                pass


async def test_an_address_that_is_none_is_refused_without_repeating_a_secret(keep):
    for address in ("ws://", "wss://a:b@host", "wss://host:99999", "wss://host:0", "wss://host/?token=x"):
        with pytest.raises(ValueError, match=r"address|port|secret"):
            async with open_client(address, access=shown(keep)):
                pass
    with pytest.raises(ValueError, match="fingerprint"):
        async with open_client("ws://host", access=shown(keep, fingerprint="0" * 64)):
            pass
