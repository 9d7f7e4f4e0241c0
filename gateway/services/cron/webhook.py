"""One POST to an address outside, over h11 and Trio.

Owns what a webhook may cost: ten seconds, one connection, no redirects, an answer nobody reads beyond its first line.
Addresses are judged in `addresses`; what was judged is what is connected to."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from functools import cache

import h11
import msgspec
import trio

from gateway.services.cron.addresses import Forbidden, Target, judge

SECONDS = 10.0
MAX_ADDRESSES = 4
"""Of a host, tried one after the other."""
READ_BYTES = 16_384


class Post(msgspec.Struct, frozen=True):
    """What is sent. `key` tells the receiver that a second call is the first one again."""

    url: str
    body: bytes
    key: str
    token: str | None = None


class Fate(msgspec.Struct, frozen=True):
    """What became of a call. `again`: trying it later may help."""

    ok: bool
    error: str = ""
    again: bool = False


class Reach(msgspec.Struct, frozen=True):
    """Where webhooks may lead: `cron.webhookSsrfPolicy`."""

    private: bool = False
    names: Collection[str] = ()


async def post(call: Post, reach: Reach) -> Fate:
    """Make a call. Never raises for what goes wrong outside."""
    fate = Fate(False, f"no answer within {SECONDS:g} s", again=True)
    with trio.move_on_after(SECONDS):
        try:
            target = Target(call.url)
            status = await _exchange(call, target, await _look_up(target, reach))
        except Forbidden as no:
            return Fate(False, str(no))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError, UnicodeError) as error:
            return Fate(False, f"{type(error).__name__}: {error.__cause__ or error}", again=True)
        fate = _judged(status)
    return fate


def _judged(status: int) -> Fate:
    if 200 <= status < 300:
        return Fate(True)
    return Fate(False, f"HTTP {status}", again=status in (408, 425, 429) or status >= 500)


async def _look_up(target: Target, reach: Reach) -> list[tuple[int, str]]:
    """(family, address) of a host, each of them judged: one that is refused refuses all. Raises Forbidden, OSError."""
    found = await trio.socket.getaddrinfo(target.host, target.port, type=trio.socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((int(family), str(place[0])) for family, _, _, _, place in found))
    for _, address in addresses:
        if why := judge(target.host, address, private=reach.private, names=reach.names):
            raise Forbidden(why)
    return addresses[:MAX_ADDRESSES]


async def _connect(target: Target, addresses: list[tuple[int, str]]) -> trio.abc.Stream:
    last: OSError = OSError(f"{target.host} has no address")
    for family, address in addresses:
        sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
        try:
            await sock.connect((address, target.port))
        except OSError as error:
            sock.close()
            last = error
            continue
        except BaseException:
            sock.close()
            raise
        stream: trio.abc.Stream = trio.SocketStream(sock)
        if target.secure:
            stream = trio.SSLStream(stream, _trust(), server_hostname=target.host, https_compatible=True)
        return stream
    raise last


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _exchange(call: Post, target: Target, addresses: list[tuple[int, str]]) -> int:
    """The status of the answer."""
    stream = await _connect(target, addresses)
    try:
        return await _talk(stream, call, target)
    finally:
        await trio.aclose_forcefully(stream)


async def _talk(stream: trio.abc.Stream, call: Post, target: Target) -> int:
    talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=READ_BYTES)
    headers = [
        ("Host", target.authority), ("Content-Type", "application/json"), ("Content-Length", str(len(call.body))),
        ("User-Agent", "peergate"), ("Idempotency-Key", call.key), ("Connection", "close"),
    ]  # fmt: skip
    if call.token:
        headers.append(("Authorization", f"Bearer {call.token}"))
    request = h11.Request(method="POST", target=target.path, headers=headers)
    parts = [talk.send(request), talk.send(h11.Data(data=call.body)), talk.send(h11.EndOfMessage())]
    await stream.send_all(b"".join(part for part in parts if part))
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(bytes(await stream.receive_some(READ_BYTES)))
        elif isinstance(event, h11.Response):
            return int(event.status_code)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection was closed without an answer")
