"""The outer door of a real system: who comes in, what survives a gateway, and that nothing out there hurts a Unix
door."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.client import Access, CallFailed, Client, ConnectionLost, open_client
from gateway.listen.certificate import make_pair, utc_now
from tests.support.system import System, alive, eventually, running

SECURE = {"gateway": {"bind": "lan", "auth": {"token": "the shared token"}}}


def port_of(system: System) -> int:
    told = json.loads((system.runtime / "status.json").read_text())
    return int(str(told["addresses"][0]).rpartition(":")[2])


def address_of(system: System) -> str:
    return f"wss://127.0.0.1:{port_of(system)}"


def probe(port: int, path: str = "/readyz", *, tls: bool = True) -> tuple[str, dict[str, Any], str]:
    """Status line, body, and the certificate's fingerprint."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        stream: socket.socket = sock
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            stream = context.wrap_socket(sock)
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        with stream, stream.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
            leaf = stream.getpeercert(binary_form=True) if isinstance(stream, ssl.SSLSocket) else b""
    return head.split(b"\r\n")[0].decode(), json.loads(body), hashlib.sha256(leaf or b"").hexdigest()


def wait_open(system: System, *, tls: bool = True) -> str:
    """Until it is ready out there as well; the certificate's fingerprint."""

    def ready() -> str | None:
        try:
            line, body, fingerprint = probe(port_of(system), tls=tls)
        except OSError:
            return None
        return (fingerprint or "plain") if "200" in line and body == {"ready": True} else None

    found: str = eventually(ready, 20, every=0.05)
    return found


def is_served(port: int) -> bool:
    """Whether anybody gets through TLS."""
    try:
        return bool(probe(port))
    except OSError:
        return False


@contextmanager
def secured(config: dict[str, Any] | None = None) -> Iterator[System]:
    """A system with its door open on every address, over TLS."""
    with running(config or SECURE) as system:
        wait_open(system)
        yield system


async def pair(system: System, access: Access) -> None:
    """Ask, and be approved by a person at the operator's door."""
    with pytest.raises(CallFailed) as refused:
        async with open_client(address_of(system), access=access):
            raise AssertionError("nobody is let in by a token alone")
    assert refused.value.code == "NOT_PAIRED"
    system.call("device.pair.approve", {"requestId": refused.value.details["requestId"]})


async def wait_lost(client: Client) -> str:
    with trio.fail_after(20):
        return await client.wait_closed()


async def test_a_device_pairs_once_and_comes_back_through_any_gateway(tmp_path):
    access = Access(token="the shared token", directory=str(tmp_path))
    with secured() as system:
        fingerprint = wait_open(system)
        await pair(system, access)
        async with open_client(address_of(system), access=access) as client:
            assert (await client.call("health"))["ok"]
            os.kill(system.gateway_pid(), signal.SIGKILL)
            await wait_lost(client)
        async with open_client(address_of(system), access=Access(directory=str(tmp_path))) as client:
            assert (await client.call("health"))["generation"] == 2
        assert wait_open(system) == fingerprint


async def test_a_gateway_that_retires_says_so_and_when_to_come_back(tmp_path):
    access = Access(token="the shared token", directory=str(tmp_path))
    with secured() as system:
        await pair(system, access)
        async with open_client(address_of(system), access=access) as client:
            os.kill(system.gateway_pid(), signal.SIGTERM)
            events = [event.event async for event in client.events]
            assert events[-1] == "shutdown"
            with pytest.raises(ConnectionLost, match="service restart") as lost:
                await client.call("health")
            assert lost.value.code == 1012


def test_of_a_pair_only_both_halves_start(tmp_path):
    cert, key = tmp_path / "a.crt", tmp_path / "a.key"
    cert.write_bytes(make_pair(["localhost"], utc_now())[0])
    system = System({"gateway": {"bind": "lan", "tls": {"certPath": str(cert), "keyPath": str(key)}}})
    try:
        with pytest.raises(AssertionError, match=r"exit (78|None)"):
            system.start()
        assert system.process is not None
        assert system.process.wait(20) == 78
        assert str(cert) in system.log()
        assert str(key) in system.log()
    finally:
        system.remove()


async def test_a_new_certificate_is_served_at_once_and_a_bad_one_never(tmp_path):
    cert, key = tmp_path / "a.crt", tmp_path / "a.key"

    def put(pair: tuple[bytes, bytes]) -> str:
        for path, data in zip((cert, key), pair, strict=True):
            beside = path.with_suffix(".new")
            beside.write_bytes(data)
            beside.replace(path)
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair[0].decode())).hexdigest()

    first = put(make_pair(["localhost"], utc_now()))
    tls = {"certPath": str(cert), "keyPath": str(key)}
    with secured({"gateway": {**SECURE["gateway"], "tls": tls}}) as system:
        port = port_of(system)
        assert wait_open(system) == first
        access = Access(token="the shared token", directory=str(tmp_path))
        await pair(system, access)
        async with open_client(address_of(system), access=access) as client:
            second = put(make_pair(["localhost"], utc_now()))
            eventually(lambda: probe(port)[2] == second, 20, every=0.1)
            key.write_bytes(make_pair(["localhost"], utc_now())[1])
            eventually(lambda: "no new certificate" in system.log(), 20, every=0.1)
            assert probe(port)[2] == second
            os.kill(system.gateway_pid(), signal.SIGKILL)  # the next one finds a pair it cannot use
            await wait_lost(client)
        assert system.call("health")["generation"] == 2
        eventually(lambda: "nobody is let in at the outer door" in system.log(), 20, every=0.1)
        assert not is_served(port)
        third = put(make_pair(["localhost"], utc_now()))
        assert wait_open(system) == third


def test_a_crowd_of_half_open_handshakes_keeps_nobody_waiting_at_a_unix_door():
    with secured() as system, system.wire() as wire:
        port, crowd = port_of(system), list[socket.socket]()
        times = []
        try:
            for number in range(1000):
                sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                sock.sendall((b"\x16\x03\x01\x02\x00\x01", b"GET / HT", b"")[number % 3])
                crowd.append(sock)
                if number % 20 == 0:
                    begun = time.monotonic()
                    wire.call("health")
                    times.append(time.monotonic() - begun)
            begun = time.monotonic()
            assert system.cli("health").returncode == 0
            took = time.monotonic() - begun
        finally:
            for sock in crowd:
                sock.close()
        assert sorted(times)[len(times) // 2] < 0.1, times
        assert took < 5
        wait_open(system)
        descriptors = Path(f"/proc/{system.gateway_pid()}/fd")
        eventually(lambda: len(list(descriptors.iterdir())) < 60, 20, every=0.1)


def test_on_loopback_it_speaks_plainly_and_says_no_more_than_that_it_lives():
    with running({"gateway": {"bind": "loopback"}}) as system:
        wait_open(system, tls=False)
        port = port_of(system)
        assert probe(port, "/healthz", tls=False)[1] == {"ok": True, "status": "live"}
        assert probe(port, "/startupz", tls=False)[1] == {"ok": True, "status": "started"}
        assert "404" in probe(port, "/status", tls=False)[0]
        token = system.state / "gateway-token"
        assert (token.stat().st_mode & 0o777, len(token.read_text()) > 40) == (0o600, True)
        gateway = system.gateway_pid()
    assert not alive(gateway)
