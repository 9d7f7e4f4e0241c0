"""The agent of the identity stories, and the programs it or anybody else starts to see how far they get.

The agent does the errand its message names (JSON) and replies with what happened (JSON). Run as a script, this file is
such a program: it knocks at a door, attacks a process, floods, or hides. Only the standard library and msgpack."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    from agentproc.context import Context

ME = str(Path(__file__).resolve())
SECONDS = 30.0

# --- the agent --------------------------------------------------------------------------------------------------------


async def turn(ctx: Context) -> str:
    """Do one errand: `run` a program, make `calls` as the worker process itself, `invoke` a tool, tell `facts`."""
    import trio

    errand: dict[str, Any] = json.loads(ctx.message) if ctx.message.startswith("{") else {"do": "echo"}
    done: Any
    match errand["do"]:
        case "run":
            done = await trio.to_thread.run_sync(run, errand["argv"], errand.get("input", ""))
        case "leave":
            done = leave(errand["argv"])
        case "calls":
            done = await trio.to_thread.run_sync(calls, errand["door"], errand["calls"])
        case "invoke":
            done = await ctx.invoke(errand["tool"], errand["args"])
        case "facts":
            done = facts()
        case "attack":
            done = attempts(errand)
        case _:
            done = {"heard": ctx.message, "provenance": dict(ctx.provenance)}
    return json.dumps(done)


def run(argv: list[str], given: str) -> dict[str, Any]:
    """What a program of ours ended with and printed."""
    ended = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=60)
    return {"code": ended.returncode, "out": ended.stdout, "err": ended.stderr}


def leave(argv: list[str]) -> int:
    """Start a program and let it run; its pid."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL).pid


def facts() -> dict[str, Any]:
    """Who this process is to the kernel."""
    return {
        "pid": os.getpid(),
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "cwd": str(Path.cwd()),
    }


# --- at a door --------------------------------------------------------------------------------------------------------


class Visitor:
    """A connection to a door, of the plainest kind."""

    def __init__(self, door: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(door)
        self._last = 0

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer frame. Raises OSError when the door closes without one."""
        self._last += 1
        body = msgpack.packb({"type": "req", "id": str(self._last), "method": method, "params": params})
        self.socket.sendall(len(body).to_bytes(4, "big") + body)
        while True:
            frame = self.frame()
            if frame["type"] == "res" and frame["id"] == str(self._last):
                return frame

    def frame(self) -> dict[str, Any]:
        """The next frame. Raises OSError at the end."""
        told: dict[str, Any] = msgpack.unpackb(self._exactly(int.from_bytes(self._exactly(4), "big")))
        return told

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                raise ConnectionError("closed")
            data += chunk
        return data


def calls(door: str, wanted: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Connect, and make every call: {hello, answers}, or {refused} with the door's error, or {unreachable}."""
    try:
        visitor = Visitor(door)
        hello = visitor.call("connect", {"client": {"id": "visitor"}})
    except OSError as error:
        return {"unreachable": type(error).__name__}
    with visitor.socket:
        if not hello["ok"]:
            return {"refused": hello["error"]}
        answers = [visitor.call(method, params) for method, params in wanted]
    return {
        "hello": hello["payload"]["principal"],
        "answers": [answer.get("payload") if answer["ok"] else {"error": answer["error"]} for answer in answers],
    }


def visit(door: str, *identity: str) -> None:
    """Program: read the calls from standard input, take on `identity` (uid, gid, groups, `userns`), print what
    happened."""
    wanted = json.loads(sys.stdin.read())
    if identity:
        become(*identity)
    print(json.dumps(calls(door, wanted)))


def become(uid: str, gid: str, groups: str = "", namespace: str = "") -> None:
    """Another user, and root of a user namespace of its own if asked."""
    msgpack.packb({})  # loaded by now: the libraries may lie where only root can read
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setgid(int(gid))
    os.setuid(int(uid))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an exec: setuid gave /proc/self to root
    if namespace == "userns":
        if libc.unshare(0x1000_0000):  # CLONE_NEWUSER
            raise OSError(ctypes.get_errno(), "unshare")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        assert os.geteuid() == 0


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
    main(*arguments)
    sys.stdout.flush()


def linger(doors: str, report: str) -> None:
    """Program: try these doors again and again, and keep the last answers in the file `report`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = {door: calls(door, [("status", {})]) for door in doors.split(":")}
        Path(f"{report}.new").write_text(json.dumps({"pid": os.getpid(), "told": told}))
        Path(f"{report}.new").replace(report)
        time.sleep(0.05)


def give(door: str, receiver: str) -> None:
    """Program: connect, and hand the connection to somebody outside; then wait to be ended."""
    visitor = Visitor(door)
    assert visitor.call("connect", {})["ok"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(receiver)
        socket.send_fds(sock, [b"x"], [visitor.socket.fileno()])
    time.sleep(60)


def flood(door: str, seconds: str) -> None:
    """Program: connect as fast as four threads can, half of them saying nothing, and never hang up."""
    deadline = time.monotonic() + float(seconds)
    kept: list[socket.socket] = []

    def connect() -> None:
        while time.monotonic() < deadline:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(1)
            try:
                sock.connect(door)
            except OSError:
                sock.close()
                continue
            kept.append(sock)
            if len(kept) > 600:
                kept.pop(0).close()

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(kept))


# --- at a process or a file -------------------------------------------------------------------------------------------


def attempts(wanted: dict[str, Any]) -> dict[str, str]:
    """What each attack on each of `pids` and each look at `paths` came to: `done`, or the error's name."""
    pids: dict[str, int] = wanted.get("pids", {})
    told = {f"{name} {who}": outcome(function, pid) for who, pid in pids.items() for name, function in ATTACKS.items()}
    return told | {f"look {path}": outcome(look, path) for path in wanted.get("paths", ())}


def outcome(function: Callable[[Any], object], target: int | str) -> str:
    """What an attack on a target came to."""
    try:
        function(target)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def look(path: str) -> None:
    if Path(path).is_dir():
        list(Path(path).iterdir())
    else:
        Path(path).read_bytes()


def trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(0x4206, pid, None, None):  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "ptrace")
    libc.ptrace(0x4207, pid, None, None)  # PTRACE_INTERRUPT, so that it can be let go
    os.waitpid(pid, 0x4000_0000)  # __WALL
    libc.ptrace(17, pid, None, None)  # PTRACE_DETACH


def steal_descriptor(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        stolen = libc.syscall(438, pidfd, 0, 0)  # pidfd_getfd(2)
        if stolen < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        os.close(stolen)
    finally:
        os.close(pidfd)


ATTACKS: dict[str, Callable[[int], object]] = {
    "environ": lambda pid: Path(f"/proc/{pid}/environ").read_bytes(),
    "memory": lambda pid: Path(f"/proc/{pid}/mem").open("rb").close(),
    "descriptors": lambda pid: list(Path(f"/proc/{pid}/fd").iterdir()),
    "steal": steal_descriptor,
    "signal": lambda pid: os.kill(pid, signal.SIGCONT),
    "trace": trace,
}


def attack(wanted: str, *identity: str) -> None:
    """Program: print what `attempts` came to; with a child of our own among the pids, to show that they can succeed."""
    if identity:
        become(*identity)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    order = json.loads(wanted)
    order["pids"]["own child"] = child
    told = attempts(order)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(json.dumps(told))


def without_peer_pidfds(*command: str) -> None:
    """Program: become `command`, on a kernel that does not know SO_PEERPIDFD (before Linux 6.5)."""
    sys.path.insert(0, str(Path(ME).parents[2]))
    from tests.support.peers import forbid_peer_pidfds

    forbid_peer_pidfds(errno.ENOPROTOOPT)
    os.execv(command[0], command)


PROGRAMS: dict[str, Callable[..., None]] = {
    "visit": visit,
    "daemon": daemon,
    "linger": linger,
    "give": give,
    "flood": flood,
    "attack": attack,
    "without_peer_pidfds": without_peer_pidfds,
}


def main(name: str, *arguments: str) -> None:
    """Be one of the programs."""
    PROGRAMS[name](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
