"""What a WebSocket and a TCP connection cost with nothing of ours in the way: two echoes on Trio, in a process of their
own. Started with the name of the one that is wanted; says its port, and lives until it is killed."""

from __future__ import annotations

import socket
import sys

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream


async def websocket(sock: socket.socket) -> None:
    """Each message back, by trio-websocket alone."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, stream, receive_buffer_size=65536, message_queue_size=16)
        peer = await request.accept()
        try:
            while True:
                await peer.send_message(await peer.get_message())
        except ConnectionClosed:
            nursery.cancel_scope.cancel()


async def tcp(sock: socket.socket) -> None:
    """Each read back, by bare system calls; what is echoed here always fits into the kernel's buffer."""
    sock.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(sock)
        data = sock.recv(262_144)
        if not data:
            return
        sock.send(data)


async def main() -> None:
    """Listen on any port of 127.0.0.1."""
    serve = {"websocket": websocket, "tcp": tcp}[sys.argv[1]]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                nursery.start_soon(serve, listener.accept()[0])


if __name__ == "__main__":
    trio.run(main)
