"""A client of the outer door for tests: plain sockets, TLS, a WebSocket and the handshake, every step of it to be done
wrongly.

Run as a script it is a program that an agent, or anybody else, starts to see how far it gets. `turn` is an agent that
does it as the worker process itself."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentproc.context import Context
    from gateway.client.device_key import DeviceKey

ME = str(Path(__file__).resolve())
PROGRAM = [sys.executable, "-I", ME]
WORKER: dict[str, Any] = {"runtime": {"type": "python", "entry": "remote:turn", "path": str(Path(ME).parent)}}
SECONDS = 20.0
SCOPES = ["operator.read", "operator.write"]
CLIENT = {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}
MPTCP = 262  # IPPROTO_MPTCP (Linux 5.6): the TCP connection then belongs to a socket of another kind


class Hung(Exception):
    """The other end closed; `code` and `text` are those of its Close frame, if it sent one."""

    def __init__(self, code: int | None = None, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


class Remote:
    """One WebSocket, from the HTTP request on. What it hears is `status` and `body`, then frames."""

    def __init__(self, sock: socket.socket, request: bytes, *, tls: bool = False) -> None:
        sock.settimeout(SECONDS)
        self.sock, self._data, self._last = sock, b"", 1
        try:
            self.sock = secured(sock) if tls else sock
            self.sock.sendall(request)
            self.head = self._head()
            self.status = int(self.head.split()[1])
            self.body = b"" if self.status == 101 else self._body(self.head)
        except BaseException:
            self.sock.close()
            raise

    # --- frames -------------------------------------------------------------------------------------------------------

    def send(self, frame: Any) -> None:
        """A text, masked as a client's has to be."""
        body = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        size = len(body)
        head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
        self.sock.sendall(head + b"\0\0\0\0" + body)

    def hear(self) -> dict[str, Any]:
        """The next text frame. Raises Hung at the end."""
        while True:
            first, second = self._exactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            body = self._exactly(size)
            if first & 0xF == 8:
                raise Hung(int.from_bytes(body[:2], "big"), body[2:].decode())
            if first & 0xF == 1:
                told: dict[str, Any] = json.loads(body)
                return told

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer, whole. Raises Hung."""
        self._last += 1
        self.send({"type": "req", "id": str(self._last), "method": method, "params": params or {}})
        return self.answer(str(self._last))

    def answer(self, id: str) -> dict[str, Any]:
        """The answer to a request that was sent. Raises Hung."""
        while True:
            frame = self.hear()
            if frame["type"] == "res" and frame["id"] == id:
                return frame

    def say_connect(self, order: dict[str, Any]) -> None:
        """Hear the challenge, and say connect as `order` has it."""
        challenge = self.hear()["payload"]
        self.send({"type": "req", "id": "1", "method": "connect", "params": connect_params(order, challenge)})

    def greet(self, order: dict[str, Any]) -> dict[str, Any]:
        """The same, and the answer."""
        self.say_connect(order)
        return self.answer("1")

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def until_closed(self) -> Hung:
        """How it ended; answers that come before that are a failure."""
        try:
            while True:
                frame = self.hear()
                assert frame["type"] == "event", frame
        except Hung as hung:
            return hung

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _body(self, head: str) -> bytes:
        _, _, size = head.lower().partition("content-length:")
        return self._exactly(int(size.split()[0])) if size else b""

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            self._data += self._more()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _head(self) -> str:
        while b"\r\n\r\n" not in self._data:
            self._data += self._more()
        taken, _, self._data = self._data.partition(b"\r\n\r\n")
        return taken.decode("latin-1")

    def _more(self) -> bytes:
        try:
            chunk = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError) as error:
            raise Hung(None, type(error).__name__) from error
        if not chunk:
            raise Hung()
        return chunk


def upgrade(host: str, headers: Sequence[Sequence[str]] = ()) -> bytes:
    """The request that a WebSocket begins with."""
    lines = ["GET / HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode()


def secured(sock: socket.socket) -> ssl.SSLSocket:
    """TLS with whoever is there: this client has nothing to lose."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


def connect_params(order: dict[str, Any], challenge: dict[str, Any]) -> dict[str, Any]:
    """What `connect` says; with a device's proof when `order` names where its key is."""
    auth, role = order.get("auth") or {}, order.get("role", "operator")
    client, scopes = {**CLIENT, **order.get("client", {})}, order.get("scopes", SCOPES)
    told: dict[str, Any] = {"minProtocol": 3, "maxProtocol": 4, "client": client, "role": role, "scopes": scopes}
    told |= {"auth": auth} if auth else {}
    if order.get("key"):
        token = next((auth[name] for name in ("token", "deviceToken", "bootstrapToken") if name in auth), "")
        told["device"] = key_in(order["key"]).proof(
            client=client, role=role, scopes=scopes, token=token, nonce=challenge["nonce"],
            signed_at_ms=challenge["ts"],
        )  # fmt: skip
    return told


def key_in(directory: str) -> DeviceKey:
    """The key of a device. Its code is loaded when it is asked for: a client without a key starts at once."""
    from gateway.client.device_key import device_key

    return device_key(directory)


def dial(order: dict[str, Any]) -> socket.socket:
    """A connection to `host` and `port`; `mapped`, through IPv6's picture of IPv4; `from`, with that address of our
    own; `mptcp`, by that protocol. Raises OSError."""
    host = f"::ffff:{order['host']}" if order.get("mapped") else order["host"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, MPTCP if order.get("mptcp") else 0)
    sock.settimeout(SECONDS)
    try:
        if "from" in order:
            sock.bind((order["from"], 0))
        sock.connect((host, order["port"]))
    except BaseException:
        sock.close()
        raise
    return sock


def named(order: dict[str, Any]) -> str:
    """The Host header: the address, unless `order` says otherwise."""
    host = order["host"]
    return str(order.get("name") or f"{f'[{host}]' if ':' in host else host}:{order['port']}")


def open_remote(order: dict[str, Any], sock: socket.socket | None = None) -> Remote:
    """A WebSocket, or what was answered instead. Raises OSError, Hung."""
    request = upgrade(named(order), order.get("headers", ()))
    return Remote(sock or dial(order), request, tls=bool(order.get("tls")))


def converse(order: dict[str, Any], sock: socket.socket | None = None) -> dict[str, Any]:
    """How far one client comes: {hello, answers}, {refused, close}, {http, body}, {closed} or {unreachable}."""
    if order.get("key"):
        key_in(order["key"])  # before anybody waits for us
    try:
        remote = open_remote(order, sock)
    except OSError as error:
        return {"unreachable": type(error).__name__}
    except Hung as hung:
        return {"closed": [hung.code, hung.text]}
    if remote.status != 101:
        remote.sock.close()
        return {"http": remote.status, "body": remote.body.decode(errors="replace"), "head": remote.head}
    try:
        with remote:
            answer = remote.greet(order)
            if not answer["ok"]:
                end = remote.until_closed()
                return {"refused": answer["error"], "close": [end.code, end.text]}
            return {"hello": answer["payload"], "answers": [remote.call(*one) for one in order.get("calls", ())]}
    except Hung as hung:
        return {"closed": [hung.code, hung.text]}


# --- as an agent, and as a program ------------------------------------------------------------------------------------


async def turn(ctx: Context) -> str:
    """Knock as the worker process itself, as the message says."""
    import trio

    orders = json.loads(ctx.message)
    return json.dumps(await trio.to_thread.run_sync(lambda: [converse(order) for order in orders]))


def knock() -> None:
    """Program: print how far each of the orders comes."""
    print(json.dumps([converse(order) for order in json.loads(sys.stdin.read())]))


def daemon(*arguments: str) -> None:
    """Program: do what `arguments` name as a daemon: twice forked, a session of its own, its parent gone."""
    if os.fork():
        os._exit(0)
    os.setsid()
    middle = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == middle:
        time.sleep(0.001)
    PROGRAMS[arguments[0]](*arguments[1:])
    sys.stdout.flush()


def give(order: str, place: str) -> None:
    """Program: dial, and hand the connection to whoever listens at `place`; let go of it when told to, and wait."""
    with dial(json.loads(order)) as sock, socket.socket(socket.AF_UNIX) as friend:
        friend.connect(place)
        socket.send_fds(friend, [b"x"], [sock.fileno()])
        friend.recv(1)
        sock.close()
        friend.sendall(b"x")
        time.sleep(60)


def hide(order: str) -> None:
    """Program: print the answer to a connection that is in nobody's hands whenever one looks at it."""
    wanted = json.loads(order)
    sock, request = dial(wanted), upgrade(named(wanted))
    sock.sendall(request[:-1])
    time.sleep(0.1)
    sock.sendall(request[-1:])
    remote = Remote(_away(sock), b"")
    remote.say_connect(wanted)
    remote.sock = _away(remote.sock)
    print(json.dumps(remote.answer("1")))


def _away(sock: socket.socket) -> socket.socket:
    """The same connection, after a while in which no process had it."""
    left, right = socket.socketpair()
    with left, right:
        socket.send_fds(left, [b"x"], [sock.fileno()])
        sock.close()
        time.sleep(0.4)
        _, fds, _, _ = socket.recv_fds(right, 1, 1)
    back = socket.socket(fileno=fds[0])
    back.settimeout(SECONDS)
    return back


def take(order: str, place: str) -> None:
    """Program: wait at `place` for somebody's connection, and print how far one comes with that."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        listener.settimeout(SECONDS)
        with listener.accept()[0] as friend:
            _, fds, _, _ = socket.recv_fds(friend, 1, 1)
    print(json.dumps(converse(json.loads(order), socket.socket(fileno=fds[0]))))


PROGRAMS: dict[str, Callable[..., None]] = {one.__name__: one for one in (knock, daemon, give, take, hide)}


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
