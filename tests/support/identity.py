"""What the identity stories share: whole systems under other users, errands for their agents, visitors from anywhere.

Owns: making the interpreter reachable for other users in a mount namespace of the system's own, where it lies in a
directory that only root may enter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import identity_agents
from tests.support.system import System

PROGRAM = [sys.executable, "-I", identity_agents.ME]
PEERGATE = str(Path(sys.executable).with_name("peergate"))
AGENT: dict[str, Any] = {
    "runtime": {"type": "python", "entry": "identity_agents:turn", "path": str(Path(identity_agents.ME).parent)}
}
ORDINARY = 12345
"""The uid of a system that is not root's."""

# mount(8) -c: the source is a link into what the new file system is about to hide.
_OPEN_UP = """
exec 9<"$2"; mount -t tmpfs -o mode=0755 none "$1"; mkdir -p "$2"; mount -c --bind /proc/self/fd/9 "$2"; exec 9<&-
shift 2; exec "$@"
"""


def config(*agents: str, **sections: Any) -> dict[str, Any]:
    """A configuration in which every named agent runs errands."""
    entries = {name: dict(AGENT) for name in agents or ("errand", "other")}
    return {
        "agents": {"entries": entries},
        "tools": {"agentToAgent": {"enabled": True}, "sessions": {"visibility": "all"}},
        **sections,
    }


def reachable() -> list[str]:
    """A wrapper under which every uid can run our interpreter; nothing when every uid can anyway."""
    prefix = Path(sys.base_prefix).resolve()
    closed = [place for place in prefix.parents if not place.stat().st_mode & 0o001]
    if not closed:
        return []
    script = ["sh", "-ec", _OPEN_UP, "sh", str(closed[-1]), str(prefix)]
    return ["unshare", "--mount", "--propagation", "private", *script]


@contextmanager
def started(
    settings: Mapping[str, Any], *, wrapper: Sequence[str] = (), uid: int | None = None, groups: str = ""
) -> Iterator[System]:
    """A running system, as `uid` in `groups` if given; stopped and removed at the end, its log shown when the test
    fails."""
    system = System(settings, wrapper=wrapper)
    try:
        if uid is not None:
            others = f"--groups={groups}" if groups else "--clear-groups"
            become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", others]
            system.wrapper = (*reachable(), *become, *wrapper)
            os.chown(system.directory, uid, uid)
            os.chown(system.config, uid, uid)
        system.start()
        yield system
        assert system.stop() == 0
    except BaseException:
        print(system.log(), file=sys.stderr)
        raise
    finally:
        system.remove()


def errand(system: System, do: str, *, agent: str = "errand", **order: Any) -> Any:
    """What the agent's turn came to."""
    with system.wire(timeout=60) as wire:
        args = {"agentId": agent, "message": json.dumps({"do": do, **order}), "timeoutSeconds": 60}
        result = wire.tool("sessions_send", args)
    assert result["status"] == "ok", result
    return json.loads(result["reply"])


def tool(system: System, *argv: str, agent: str = "errand", given: str = "") -> dict[str, Any]:
    """What a program that the agent started ended with: code, out, err."""
    told: dict[str, Any] = errand(system, "run", agent=agent, argv=list(argv), input=given)
    return told


def tool_says(system: System, *arguments: str, agent: str = "errand", given: Any = None) -> Any:
    """What our program printed when the agent ran it with these arguments."""
    told = tool(system, *PROGRAM, *arguments, agent=agent, given=json.dumps(given))
    assert told["code"] == 0, told
    return json.loads(told["out"])


def visitor_says(door: Path, *identity: str, calls: Sequence[Any] = (), wrap: Sequence[str] = ()) -> Any:
    """What happened to somebody whom no supervisor started and who made these calls."""
    ended = subprocess.run(
        [*wrap, *PROGRAM, "visit", str(door), *identity],
        input=json.dumps(list(calls)), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def open_to_all(door: Path) -> None:
    """Take the file's mode out of the way, so that what answers is the decision behind it."""
    door.chmod(0o666)


def frames_until_closed(sock: socket.socket) -> bytes:
    """Everything until the gateway hangs up."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        return data
    return data
