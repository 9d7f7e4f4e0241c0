"""One blocking connection to a Unix door: what a one-shot command needs and nothing else (no Trio, no msgspec).

Owns: the checks before a byte is sent, the frames, the time limits. `connect` and the first call leave in one write,
so a command costs one round trip. The kernel says who we are; nothing here claims an identity."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgpack

from gateway.protocol.limits import MAX_PAYLOAD_BYTES
from supervisor.cli.errors import (
    CallRefused,
    CliError,
    ConnectionLost,
    HelloRefused,
    NotAllowed,
    NotRunning,
    UidRefused,
    Unanswered,
    Usage,
)

HELLO_SECONDS = 2.0
"""How long a door may take to say hello. The supervisor holds the backlog, so a connection succeeds while no gateway
lives."""
CONNECT_SECONDS = 2.0
MAX_FRAME_BYTES = 26 * 1024 * 1024
MAX_EVENTS = 10_000
"""Events kept while a call is being answered; the oldest go first."""
_READ = 64 * 1024
_UCRED = struct.Struct("iII")  # struct ucred: pid is signed, uid and gid are not
_O_PATH = getattr(os, "O_PATH", os.O_RDONLY)


def dial(path: str) -> socket.socket:
    """A connected socket to the door at `path`, after checking that it is one we may trust.

    The directory is opened first and the socket reached through it, so nobody can exchange it between check and use
    (and a long path does not matter). Raises NotRunning or NotAllowed."""
    directory, name = os.path.split(path)
    handle = _open_directory(directory)
    try:
        owner = os.fstat(handle).st_uid
        through = f"/proc/self/fd/{handle}/{name}"
        target = through if os.path.isdir("/proc/self/fd") else path
        sock = _connect(target, path)
    finally:
        os.close(handle)
    try:
        _check_listener(sock, path, owner)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_directory(path: str) -> int:
    try:
        handle = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | _O_PATH)
    except FileNotFoundError:
        raise NotRunning(f"peergate is not running here: {path} does not exist", fix=_START) from None
    except PermissionError:
        raise UidRefused(f"uid {os.geteuid()} may not enter {path}", fix=_ASK) from None
    except OSError as error:
        raise NotAllowed(f"{path} is not a directory peergate made: {error.strerror}", fix=_NAME) from None
    found = os.fstat(handle)
    problem = None
    if found.st_uid not in (0, os.geteuid()) and not _root_gave(found.st_uid, path):
        problem = f"{path} belongs to uid {found.st_uid}, neither you nor root"
    elif stat.S_IMODE(found.st_mode) & 0o022:
        problem = f"{path} may be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    if problem:
        os.close(handle)
        raise NotAllowed(f"{problem}: whoever listens there may not be peergate, so nothing was sent", fix=_NAME)
    return handle


def _root_gave(uid: int, path: str) -> bool:
    """Whether root alone decides what stands above `path` (/run), or this user below what root gave it
    (/run/peergate/foreign): then it is the service's own user and nobody who only came first, as one could in /tmp."""
    directory = os.path.dirname(path)
    try:
        found = os.stat(directory)
    except OSError:
        return False
    if stat.S_IMODE(found.st_mode) & 0o022:
        return False
    return found.st_uid == 0 or (found.st_uid == uid and _root_gave(uid, directory))


def _connect(target: str, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A blocking connect waits for room in a full backlog; a non-blocking one fails as soon as an agent floods it.
    _limit(sock, socket.SO_SNDTIMEO, CONNECT_SECONDS)
    try:
        sock.connect(target)
    except OSError as error:
        sock.close()
        raise _connect_error(error, path) from None
    return sock


def _connect_error(error: OSError, path: str) -> CliError:
    if error.errno == errno.ENOENT:
        return NotRunning(f"peergate is not running here: {path} does not exist", fix=_START)
    if error.errno == errno.ECONNREFUSED:
        return NotRunning(
            f"peergate is not running: nobody listens at {path} (left by a system that was killed)", fix=_START
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UidRefused(f"uid {os.geteuid()} may not use {path}", fix=_MODE if _is_own(path) else _ASK)
    if error.errno == errno.EAGAIN:
        return Unanswered(f"{path} takes no more connections: too many are waiting", fix="try again; see peergate ps")
    return NotRunning(f"cannot connect to {path}: {error.strerror}", fix=_NAME)


def _is_own(path: str) -> bool:
    """Whether only the mode of a socket that is ours can have kept us out."""
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _check_listener(sock: socket.socket, path: str, owner: int) -> None:
    """The kernel notes who called listen(2): the supervisor, also while no gateway lives (unix(7), SO_PEERCRED)."""
    if not hasattr(socket, "SO_PEERCRED"):  # macOS: the directory's owner is all there is
        return
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in (0, os.geteuid(), owner):
        raise NotAllowed(f"uid {uid} listens at {path}, which belongs to uid {owner}: nothing was sent", fix=_NAME)


def _limit(sock: socket.socket, option: int, seconds: float) -> None:
    # Zero would mean "for ever".
    microseconds = max(1, int(seconds * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", *divmod(microseconds, 1_000_000)))


_START = "start it with: peergate up"
_ASK = "have the owner name your uid in gateway.unix.operators or your group in gateway.unix.operatorGroup"
_MODE = "it is yours, and its mode keeps you out: peergate doctor"
_NAME = "name another with --runtime-dir or PEERGATE_RUNTIME_DIR"


class Client:
    """A connection that says hello by itself before the first answer. Use as a context manager.

    `call` raises CallRefused for the gateway's no, HelloRefused for the door's, Unanswered when a limit is over,
    ConnectionLost when the other end went away. Events that arrive meanwhile wait for `next_event`."""

    def __init__(self, sock: socket.socket, *, events: bool = False, hello_seconds: float = HELLO_SECONDS) -> None:
        self.hello: dict[str, Any] = {}
        self.begun = False
        self._socket = sock
        self._hello_seconds = hello_seconds
        self._buffer = bytearray()
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._outbox: list[bytes] = []
        self._last = 0
        about = {"id": "peergate-cli", "mode": "cli", "platform": sys.platform}
        self._hello_id = self._put("connect", {"minProtocol": 3, "maxProtocol": 4, "client": about, "events": events})

    @property
    def principal(self) -> dict[str, Any]:
        """Who the gateway says we are; empty before hello."""
        told = self.hello.get("principal")
        return told if isinstance(told, dict) else {}

    def greet(self) -> dict[str, Any]:
        """Say hello now, if that is not done yet; what the gateway said."""
        if not self.begun:
            self._flush()
            answer = self._answer(self._hello_id, time.monotonic() + self._hello_seconds)
            if not answer.get("ok"):
                shape = _shape(answer)
                raise HelloRefused(str(shape.get("message") or "refused at the door"), fix=_ASK)
            self.begun = True
            self.hello = answer.get("payload") or {}
        return self.hello

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = 30.0) -> Any:
        """The payload of the (first) answer to one call. `timeout` in seconds; None waits as long as the gateway
        lives."""
        identity = self._put(method, params or {})
        if not self.begun:
            self.greet()
        self._flush()
        answer = self._answer(identity, None if timeout is None else time.monotonic() + timeout)
        if not answer.get("ok"):
            raise CallRefused(method, _shape(answer))
        return answer.get("payload")

    def next_event(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next event frame, or None when `timeout` seconds went by without one."""
        self.greet()
        until = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            frame = self._frame(until)
            if frame is None:
                return None
            if frame.get("type") == "event":
                self._events.append(frame)
        return self._events.popleft()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, method: str, params: Mapping[str, Any]) -> str:
        self._last += 1
        identity = str(self._last)
        try:
            body = msgpack.packb({"type": "req", "id": identity, "method": method, "params": dict(params)})
        except (ValueError, OverflowError, RecursionError) as error:  # a lone surrogate, a number above 64 bits
            raise Usage(f"this cannot travel: {error}") from None
        if len(body) > MAX_PAYLOAD_BYTES:
            raise Usage(f"{len(body)} bytes are more than the {MAX_PAYLOAD_BYTES} one call may have")
        self._outbox.append(len(body).to_bytes(4, "big") + body)
        return identity

    def _flush(self) -> None:
        data, self._outbox = b"".join(self._outbox), []
        if not data:
            return
        _limit(self._socket, socket.SO_SNDTIMEO, self._hello_seconds)
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise Unanswered("the gateway does not read what it is sent") from None
        except OSError:
            return  # it may have said why before it closed: reading finds out

    def _answer(self, identity: str, until: float | None) -> dict[str, Any]:
        while (frame := self._frame(until)) is not None:
            if frame.get("type") == "event":
                self._events.append(frame)
            elif frame.get("id") == identity:
                return frame
        raise Unanswered("the gateway does not answer")

    def _frame(self, until: float | None) -> dict[str, Any] | None:
        """The next frame, or None when `until` (monotonic seconds) has come."""
        while (frame := self._cut()) is None:
            left = 3600.0 if until is None else until - time.monotonic()
            if left <= 0:
                return None
            _limit(self._socket, socket.SO_RCVTIMEO, left)
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ConnectionLost(f"the connection to the gateway broke: {error.strerror}") from None
            if not data:
                raise ConnectionLost("the gateway closed the connection")
            self._buffer += data
        return frame

    def _cut(self) -> dict[str, Any] | None:
        if len(self._buffer) < 4:
            return None
        size = int.from_bytes(self._buffer[:4], "big")
        if size > MAX_FRAME_BYTES:
            raise CliError(f"what answers is no gateway: it announced a frame of {size} bytes")
        if len(self._buffer) < 4 + size:
            return None
        body = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        try:
            frame = msgpack.unpackb(body, strict_map_key=False)
        except ValueError as error:
            raise CliError(f"what answers is no gateway: {error}") from None
        if not isinstance(frame, dict):
            raise CliError("what answers is no gateway: its frame is no map")
        return frame


def _shape(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    shape = answer.get("error")
    return shape if isinstance(shape, Mapping) else {}
