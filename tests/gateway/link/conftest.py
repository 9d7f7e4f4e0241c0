"""What the tests of links share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from gateway.link.tcp import Tcp
from gateway.link.websocket import WebSocketLink
from tests.gateway.link.ends import OPEN, contexts, linked, sockets


@pytest.fixture(autouse=True)
def closed_in_the_end() -> Iterator[None]:
    """Both ends of every connection a test has made are closed after it."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(params=["plain", "tls"])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Tcp, Tcp]]:
    """A server's and a client's end."""
    ours, theirs = sockets()
    if request.param == "plain":
        server, client = Tcp(ours), Tcp(theirs)
    else:
        mine, your = contexts(tmp_path)
        server = Tcp(ours, mine)
        client = Tcp(theirs, your, server_side=False, server_hostname="gateway.test")
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.handshake)
                nursery.start_soon(client.handshake)
    yield server, client
    server.close()
    client.close()


@pytest.fixture(params=["plain", "tls"])
async def pair(request, nursery, tmp_path) -> AsyncIterator[tuple[WebSocketLink, WebSocketLink]]:
    """A server's link and a client's."""
    server, client = await linked(nursery, tmp_path if request.param == "tls" else None)
    yield server, client
    server.close()
    client.close()
