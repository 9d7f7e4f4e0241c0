"""The client's half of the outer door: WebSocket, challenge, the device's proof, hello; and what is remembered of it.

Loaded only for an address over the network. The certificate is remembered once something there has spoken like a
gateway, before a secret is sent; the device's token when it is given."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import trio

from gateway.client import known
from gateway.client.access import DEFAULT_SCOPES, Access, Address, CannotConnect, parse_address, parse_fingerprint
from gateway.client.calls import CallFailed, Client, ConnectionLost, carried
from gateway.client.device_key import DeviceKey, device_key
from gateway.client.dial import Certificate, Heard, dial, speaks_tls
from gateway.client.keep import keep_directory
from gateway.link.base import LinkLost, SlowConsumer
from gateway.link.websocket import WebSocketLink, connect
from gateway.protocol.frames import JSON
from gateway.protocol.limits import OLDEST_PROTOCOL, PROTOCOL_VERSION

CHALLENGE = "connect.challenge"
TAKEN_BACK = "AUTH_DEVICE_TOKEN_MISMATCH"
CLOSE_NORMAL = 1000
MAX_WAIT_SECONDS = 3600.0
_WAITS = {429: 10.0, 503: 1.0}
"""HTTP answers that ask for patience, and how much when they do not say."""


class RemoteClient(Client):
    """A client over the network. `certificate` is what the gateway showed, `address` where it is, `device` who we are
    there."""

    def __init__(self, link: WebSocketLink, address: Address, certificate: Certificate, device: DeviceKey) -> None:
        super().__init__(link, JSON)
        self.address = address
        self.certificate = certificate
        self.device = device
        self._websocket = link

    def hang_up(self) -> None:
        """Say good-bye and close."""
        with contextlib.suppress(LinkLost, SlowConsumer):
            self._websocket.part(CLOSE_NORMAL, "")
        super().hang_up()

    def _last_words(self, reason: str) -> tuple[str, int | None]:
        closed = self._websocket.closed
        if closed is None:
            return reason, None
        code, text = closed
        return f"closed by the gateway: {text or 'without a reason'} ({code})", code


@asynccontextmanager
async def open_remote(
    url: str, access: Access, about: Mapping[str, Any], deadline: float
) -> AsyncIterator[RemoteClient]:
    """A greeted connection to the gateway at `url`, by `deadline` on Trio's clock. Raises as `open_client` does, and
    BadKeep where this device's key cannot be kept."""
    address = parse_address(url)
    named = parse_fingerprint(access.fingerprint) if access.fingerprint else ""
    if named and not address.secure:
        raise ValueError(f"{url} has no certificate to compare with a fingerprint: write wss://")
    directory = access.directory or keep_directory(os.environ)
    key = await trio.to_thread.run_sync(device_key, directory, abandon_on_cancel=True)
    before = await trio.to_thread.run_sync(known.recall, directory, address.name, access.role, abandon_on_cancel=True)
    if before.pin and not address.secure:
        # Whoever can answer in its place would only have to wait for somebody to leave the s out.
        raise CannotConnect("tls-there", f"{address.name} was spoken to over TLS until now, and never without")

    async def make(nursery: trio.Nursery) -> RemoteClient:
        stream, certificate = await dial(address, named or before.pin)
        try:
            link = await _websocket(nursery, stream, address)
        except BaseException:
            stream.close()
            raise
        return RemoteClient(link, address, certificate, key)

    async def greet(client: RemoteClient) -> dict[str, Any]:
        nonce, signed_at_ms = await _challenge(client)
        if (pin := client.certificate.pin) and pin != before.pin:
            if client.certificate.how == "first-use" and access.first_use is not None:
                access.first_use(address.name, pin)
            await trio.to_thread.run_sync(known.remember_pin, directory, address.name, pin)
        try:
            hello = await client.call("connect", _connect(key, before, access, about, nonce, signed_at_ms))
        except CallFailed as failed:
            # It was rotated or revoked, or the device removed: nothing it was for is to be asked for again.
            if failed.details.get("code") == TAKEN_BACK and "deviceToken" in _auth(before, access):
                forget = partial(known.forget_token, directory, address.name, access.role, before.token)
                await trio.to_thread.run_sync(forget)
            raise
        if not isinstance(hello, dict):
            raise CannotConnect("not-a-gateway", f"what answers at {address.name} greets unlike a gateway")
        auth = hello.get("auth")
        if isinstance(auth, dict):
            await trio.to_thread.run_sync(known.remember_tokens, directory, address.name, auth)
        return hello

    async with carried(make, greet, deadline) as made:
        yield made


async def look(url: str, deadline: float) -> Certificate:
    """The certificate at an address, whatever is remembered; nothing is sent there. Raises CannotConnect."""
    with trio.fail_at(deadline):
        stream, certificate = await dial(parse_address(url), "")
    stream.close()
    return certificate


# --- the handshake ----------------------------------------------------------------------------------------------------


async def _websocket(nursery: trio.Nursery, stream: Heard, address: Address) -> WebSocketLink:
    try:
        link = await connect(nursery, stream, host=_host_header(address), path=address.path)
    except LinkLost as error:
        raise await _no_websocket(address, stream.heard, error) from None
    return link.attach(nursery)


def _host_header(address: Address) -> str:
    """As it stands in the request; the port is left out where it is the scheme's own."""
    return address.name.rpartition(":")[0] if address.port == (443 if address.secure else 80) else address.name


async def _no_websocket(address: Address, heard: bytes, error: LinkLost) -> CannotConnect:
    """What is there instead, from the first bytes of its answer."""
    status, headers, said = http_answer(heard)
    if status in (0, 400) and not address.secure and await speaks_tls(address):
        return CannotConnect("tls-there", f"{address.name} speaks TLS, and was spoken to without")
    if not status:
        return CannotConnect("not-a-gateway", f"what answers at {address.name} is no gateway: {said or error}")
    if status in _WAITS:
        wait = headers.get("retry-after", "")
        seconds = min(float(wait), MAX_WAIT_SECONDS) if wait.isascii() and wait.isdigit() else _WAITS[status]
        words = f"the gateway at {address.name} takes nobody now: {said or f'HTTP {status}'}"
        return CannotConnect("busy", words, wait=seconds)
    if status == 421:
        return CannotConnect("refused", f"the gateway at {address.name} does not go by the name {address.host}")
    if said and status in (401, 403):
        return CannotConnect("refused", f"the gateway at {address.name} does not take this connection: {said}")
    return CannotConnect("not-a-gateway", f"what answers at {address.name} is no gateway: HTTP {status}")


def http_answer(heard: bytes) -> tuple[int, dict[str, str], str]:
    """Status (0: it is no HTTP), headers in lower case, and the sentence a gateway puts into the body of a refusal."""
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    first = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: .*)?", lines[0])
    if first is None:
        return 0, {}, f"it says {lines[0][:60]!r}" if heard else "it hangs up"
    pairs = (line.partition(":") for line in lines[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return int(first[1]), headers, _sentence(body)


def _sentence(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:200].decode(errors="replace").strip()
        return text if text.isprintable() and not text.startswith("<") else ""
    error = told.get("error") if isinstance(told, dict) else None
    return str(error.get("message") or "")[:200] if isinstance(error, dict) else ""


async def _challenge(client: RemoteClient) -> tuple[str, int]:
    """The nonce and time to sign. The gateway speaks first."""
    address = client.address.name
    try:
        event = await client.events.receive()
    except trio.EndOfChannel:
        raise ConnectionLost(client.lost or "closed") from None
    told = event.payload
    nonce, ts = (told.get("nonce"), told.get("ts")) if isinstance(told, dict) else (None, None)
    if event.event != CHALLENGE or not isinstance(nonce, str) or not isinstance(ts, int):
        raise CannotConnect("not-a-gateway", f"what answers at {address} does not begin as a gateway does")
    return nonce, ts


def _connect(
    key: DeviceKey, before: known.Known, access: Access, about: Mapping[str, Any], nonce: str, signed_at_ms: int
) -> dict[str, Any]:
    """What `connect` says."""
    client = {
        "id": "gateway-client", "version": importlib.metadata.version("peergate"), "platform": sys.platform,
        "mode": "backend", **about,
    }  # fmt: skip
    scopes = list(access.scopes or before.scopes or DEFAULT_SCOPES)
    auth = _auth(before, access)
    token = auth.get("token") or auth.get("deviceToken") or auth.get("bootstrapToken") or ""
    device = key.proof(
        client=client, role=access.role, scopes=scopes, token=token, nonce=nonce, signed_at_ms=signed_at_ms
    )
    return {
        "minProtocol": OLDEST_PROTOCOL, "maxProtocol": PROTOCOL_VERSION, "client": client, "role": access.role,
        "scopes": scopes, "device": device, **({"auth": auth} if auth else {}),
    }  # fmt: skip


def _auth(before: known.Known, access: Access) -> dict[str, str]:
    """The secrets to show: those that were given, else this device's own token."""
    given = {"token": access.token, "password": access.password, "bootstrapToken": access.setup}
    shown = {name: value for name, value in given.items() if value}
    return shown or ({"deviceToken": before.token} if before.token else {})
