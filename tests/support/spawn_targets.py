"""What the processes in tests of births, deaths and identity run: the code a test sends them, and a supervisor that can
be killed.

`run_code` and `run_gateway` are real targets for the zygote and for `supervisor.child`; `python -I -m
tests.support.spawn_targets` is a supervisor reduced to births, for tests in which it dies."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import trio

from supervisor import kernel, marks, trees
from supervisor.channel import receive_blocking, send_blocking
from supervisor.factory import Birth, Factory, exec_zygote
from supervisor.messages import Assign, Beat
from supervisor.outfit import allowed_environment

WORKER = "tests.support.spawn_targets:run_code"
GATEWAY = "tests.support.spawn_targets:run_gateway"


def facts() -> dict[str, Any]:
    """What a process can find out about itself that the child sequence should have settled."""
    libc = ctypes.CDLL(None)
    death = ctypes.c_int()
    libc.prctl(2, ctypes.byref(death), 0, 0, 0)
    subreaper = ctypes.c_int()
    libc.prctl(37, ctypes.byref(subreaper), 0, 0, 0)
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "session": os.getsid(0),
        "cwd": str(Path.cwd()),
        "death_signal": death.value,
        "subreaper": bool(subreaper.value),
        "dumpable": bool(libc.prctl(3, 0, 0, 0, 0)),
        "no_new_privs": bool(libc.prctl(39, 0, 0, 0, 0)),
        "filters": kernel.seccomp_filters(os.getpid()),
        "threads": kernel.thread_count(),
        "uids": os.getresuid(),
        "groups": os.getgroups(),
        "environment": dict(os.environ),
        "descriptors": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())[:-1],
        "inheritable": [fd for fd in range(8) if _is_open(fd) and os.get_inheritable(fd)],
        "autogroup": _own("autogroup"),
        "ignored": _own("status").partition("SigIgn:")[2].split()[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _own(name: str) -> str:
    try:
        return Path(f"/proc/self/{name}").read_text()
    except OSError:
        return ""


def run_code(lifeline: socket.socket, assignment: dict[str, Any]) -> object:
    """A worker that does what `runtime.code` says; `say` sends a value to the test, `hear` blocks until the lifeline
    ends or speaks. What the code leaves in `code` becomes the exit status."""

    def say(value: object) -> None:
        send_blocking(lifeline, Beat(status=json.dumps(value)))

    names: dict[str, Any] = {
        "say": say,
        "hear": lambda: receive_blocking(lifeline),
        "facts": facts,
        "os": os,
        "code": None,
    }
    exec(assignment["runtime"]["code"], names)
    return names["code"]


def run_gateway(control: socket.socket) -> None:
    """A gateway that tells its facts and serves until its control channel ends."""
    send_blocking(control, Beat(status=json.dumps(facts())))
    receive_blocking(control)


def assign(code: str, **changes: Any) -> Assign:
    """An assignment of a worker that runs `code`."""
    values: dict[str, Any] = {
        "spawn": "s1", "agent": "main", "session": "agent:main:main", "ticket": "t",
        "socket": "/run/peergate/agents.sock", "runtime": {"code": code}, "env": {}, "cwd": None,
        "limits": {},
    }  # fmt: skip
    return Assign(**(values | changes))


async def heard(birth: Birth) -> Any:
    """The next value a worker or gateway says."""
    with trio.fail_after(20):
        while (received := await birth.channel.receive()) is not None:
            if isinstance(received[0], Beat):
                return json.loads(received[0].status)
    raise AssertionError(f"it ended without a word: {output_of(birth)}")


def output_of(birth: Birth) -> str:
    """What a child that has ended left in its output pipe."""
    return os.read(birth.output, 65536).decode()


async def ended(birth: Birth) -> trees.Exit:
    """Wait for a child and reap it."""
    with trio.fail_after(20):
        await trees.wait_ended(birth.pidfd)
    exit_ = trees.reap(birth.pidfd)
    assert exit_ is not None
    return exit_


def is_alive(pid: int) -> bool:
    stat = kernel.stat_of(pid)
    return stat is not None and stat.state not in "ZX"


async def until_dead(pids: list[int], seconds: float = 10) -> None:
    """Wait until none of these processes runs any more."""
    with trio.move_on_after(seconds):
        for _ in range(5000):
            if not any(map(is_alive, pids)):
                return
            await trio.sleep(0.002)
    assert [pid for pid in pids if is_alive(pid)] == []


async def supervise(method: str, state_dir: str, count: int, code: str) -> None:
    """Bear `count` workers that run `code`, print what each says first, and wait to be killed."""
    kernel.become_subreaper()
    environment = {**allowed_environment(os.environ), marks.STATE_VARIABLE: marks.state_mark(state_dir)}
    factory = Factory("exec" if method == "exec" else "zygote", worker=WORKER, gateway=GATEWAY, environment=environment)
    async with trio.open_nursery() as nursery:
        said: dict[str, Any] = {"supervisor": os.getpid(), "workers": []}
        if method == "zygote":
            zygote = exec_zygote(WORKER, GATEWAY, environment)
            said["zygote"] = zygote.pid
            await nursery.start(factory.serve_zygote, zygote.channel)
        births = [await factory.spawn("worker") for _ in range(count)]
        for birth in births:
            birth.channel.send_nowait(assign(code))
            said["workers"].append(await heard(birth))
        print(json.dumps(said), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(supervise, sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
