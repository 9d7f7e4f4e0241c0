"""A Trio client of a gateway, for programs: call methods, hear events, over a Unix door or over the network.

    async with open_client("/run/peergate/operator.sock") as client:
        print(await client.call("health"))

    async with open_client("wss://box.local:18789", access=Access(token=…)) as client:
        async for event in client.events: …

Owns one connection and nothing else: it neither reconnects nor repeats a call. `reconnecting` does the first; whoever
needs the second does it with the same idempotency key. What the network needs (TLS, WebSocket, the device's key) is
loaded when an address asks for it: a worker, which has only its Unix door, never pays for it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from gateway.client.access import Access, CannotConnect, is_remote
from gateway.client.again import pause_after, reconnecting
from gateway.client.calls import CLOSED_EVENT, MAX_UNREAD_EVENTS, CallFailed, Client, ConnectionLost, carried
from gateway.link.unix import UnixLink, connect_unix
from gateway.protocol.limits import MAX_PAYLOAD_BYTES

MAX_ANSWER_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024
CONNECT_SECONDS = 15.0


@asynccontextmanager
async def open_client(
    address: str,
    *,
    ticket: str | None = None,
    events: bool = False,
    client: dict[str, Any] | None = None,
    connect_timeout: float = CONNECT_SECONDS,
    access: Access | None = None,
) -> AsyncIterator[Client]:
    """A greeted connection to the gateway at `address`, closed at the end of the block.

    `address` is the path of a Unix door, also as `unix:/path`, or `ws://host:port` or `wss://host:port`. On a Unix door
    the kernel says who we are, `events` asks for broadcasts, and `ticket` is a worker's. Over the network `access` says
    what we show; events come without asking, and `client` describes us to whoever approves the device.

    Raises CallFailed when the gateway refuses us (NOT_PAIRED leaves a request that a person approves; see
    `details["requestId"]`), ConnectionLost when it hangs up, trio.TooSlowError when it has not greeted within
    `connect_timeout` seconds; OSError when nobody listens at a path, CannotConnect when nothing at an address over the
    network may be spoken to, ValueError for one that is none."""
    deadline = trio.current_time() + connect_timeout
    if is_remote(address):
        from gateway.client.remote import open_remote  # TLS, WebSocket and a key: some 15 MB that a worker never needs

        async with open_remote(address, access or Access(), client or {}, deadline) as made:
            yield made
        return
    with trio.fail_at(deadline):
        sock = await connect_unix(address.removeprefix("unix:"))
    hello = {"maxProtocol": 4, "events": events, "client": client or {"id": "peergate"}}
    async with greeted(sock, hello | ({"ticket": ticket} if ticket else {}), deadline) as made:
        yield made


@asynccontextmanager
async def greeted(sock: socket.socket, hello: dict[str, Any], deadline: float) -> AsyncIterator[Client]:
    """The same over a connected Unix socket, which is ours from now on; greeted by `deadline`, on Trio's clock."""

    async def make(nursery: trio.Nursery) -> Client:
        return Client(UnixLink(sock, nursery, limit=MAX_ANSWER_BYTES))

    async def greet(client: Client) -> dict[str, Any]:
        told: dict[str, Any] = await client.call("connect", hello)
        return told

    async with carried(make, greet, deadline) as made:
        yield made


__all__ = [
    "CLOSED_EVENT", "CONNECT_SECONDS", "MAX_UNREAD_EVENTS", "Access", "CallFailed", "CannotConnect", "Client",
    "ConnectionLost", "greeted", "open_client", "pause_after", "reconnecting",
]  # fmt: skip
