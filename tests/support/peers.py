"""Small programs that tests start as other processes: one that visits a socket, one that receives, one that hands on.

Each says one JSON line on standard output when it has done its part, and lives as long as its standard input."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def own_start() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def become(groups: str, gid: str, uid: str) -> None:
    """Another uid, once everything is imported: this interpreter may lie where only root can read."""
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setgid(int(gid))
    os.setuid(int(uid))


def own_user_namespace() -> None:
    """Be root, of a user namespace of our own (user_namespaces(7)). Raises OSError where that is not allowed."""
    outside = os.getuid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 1, 0, 0, 0)  # dumpable again after setuid, or /proc/self belongs to root
    if libc.unshare(0x1000_0000):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/uid_map").write_text(f"0 {outside} 1")


def visit(path: str, *identity: str) -> None:
    """Connect, say who we are, stay. `identity`: groups, gid and uid to take on first, and `userns` for a namespace."""
    if identity:
        become(*identity[:3])
    if identity[3:] == ("userns",):
        try:
            own_user_namespace()
        except OSError as error:
            return say({"refused": str(error)})
    with connect(path):
        start = own_start() if os.getpid() > 1 else 0
        say({"pid": os.getpid(), "uid": os.geteuid(), "start": start})
        sys.stdin.read()


def greet(path: str, *identity: str) -> None:
    """Connect as somebody else, say hello, print what is answered."""
    become(*identity)
    request = b"\x83\xa4type\xa3req\xa2id\xa11\xa6method\xa7connect"
    with connect(path) as sock:
        sock.sendall(len(request).to_bytes(4, "big") + request)
        sys.stdout.buffer.write(sock.recv(65536))


def hand_on(path: str) -> None:
    """Connect, and let a child speak on the connection."""
    with connect(path) as sock:
        child = os.fork()
        if child == 0:
            sock.send(b"\0\0\0\1x")
            os._exit(0)
        os.waitpid(child, 0)
        say({"connected": os.getpid(), "speaks": child})
        sys.stdin.read()


def receive(path: str, error: str = "", when: str = "") -> None:
    """Accept one connection and say its facts; `error` is what asking for a peer's pidfd shall fail with here."""
    sys.path.insert(0, str(ROOT))
    from gateway.auth.peercred import read_peer

    if error:
        forbid_peer_pidfds(getattr(errno, error))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    Path(path).chmod(0o666)
    say("listening")
    if when == "late":
        sys.stdin.readline()
    sock, _ = listener.accept()
    facts = read_peer(sock)
    say({**msgspec.structs.asdict(facts), "groups": sorted(facts.groups), "has_pidfd": facts.pidfd is not None})
    sys.stdin.read()


def forbid_peer_pidfds(number: int) -> None:
    """Have getsockopt(SOL_SOCKET, SO_PEERPIDFD) fail, as it does on kernels that lack it (seccomp(2), x86-64 and
    arm64)."""
    syscall = {"x86_64": 55, "aarch64": 209}[os.uname().machine]
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    program = [
        (load, 0, 0, 0), (equal, 0, 5, syscall),
        (load, 0, 0, 24), (equal, 0, 3, socket.SOL_SOCKET),  # the lower half of the second argument
        (load, 0, 0, 32), (equal, 0, 1, 77),
        (answer, 0, 0, 0x0005_0000 | number),  # SECCOMP_RET_ERRNO
        (answer, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    libc = ctypes.CDLL(None, use_errno=True)
    program_header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program_header), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    {"visit": visit, "greet": greet, "hand_on": hand_on, "receive": receive}[sys.argv[1]](*sys.argv[2:])
