"""A small real gateway and a small real worker, for tests of the supervisor alone: they speak its messages and nothing
else.

The gateway takes one JSON line per connection on the operator door and answers with one; the worker behaves as the
first word of its agent's `argv` says. Both are targets of the zygote: `tests.support.tiny:run_gateway`,
`tests.support.tiny:run_worker`."""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from supervisor.channel import close_all, receive_blocking, send_blocking
from supervisor.messages import (
    Beat,
    Claim,
    Hold,
    Live,
    Message,
    Processes,
    Ready,
    Reload,
    Retire,
    Retired,
    Spawn,
    StopWorker,
    Take,
    TicketPlease,
    WhoHolds,
    Whois,
)

SLEEPER = "import time; time.sleep(600)"


def told(message: Message) -> dict[str, Any]:
    return {"t": type(message).__name__, **vars(message)}


def document_in(memfd: int) -> Any:
    return json.loads(os.pread(memfd, os.fstat(memfd).st_size, 0))


class TinyGateway:
    """Serves until Retire. `notes` is everything it was told; a file `exit-<code>` in the state directory ends it
    before it is ready."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.notes: list[dict[str, Any]] = []
        self.doors: dict[str, int] = {}
        self.take: Take | None = None
        self.configuration: Any = None
        self.last_id = 0

    def serve(self) -> None:
        while True:
            waited: list[Any] = [self.control, *self.doors.values()]
            readable, _, _ = select.select(waited, [], [], 0.5)
            if self.take is not None:
                send_blocking(self.control, Beat())
            for ready in readable:
                if ready is self.control:
                    self.hear()
                else:
                    self.accept(ready)

    def hear(self) -> dict[str, Any]:
        received = receive_blocking(self.control)
        if received is None:
            sys.exit(70)
        message, descriptors = received
        if isinstance(message, Take):
            self.begin(message, descriptors)
        elif isinstance(message, Retire):
            send_blocking(self.control, Retired(self.take.generation if self.take else 0))
            sys.exit(0)
        else:
            if isinstance(message, Reload):
                self.configuration = document_in(descriptors[0])
            close_all(descriptors)
        note = told(message)
        self.notes.append(note)
        if isinstance(message, Live) and message.last:
            send_blocking(self.control, Ready(self.take.generation if self.take else 0, 7))
        return note

    def begin(self, take: Take, descriptors: list[int]) -> None:
        for wrong in Path(take.state_dir).glob("exit-*"):
            sys.exit(int(wrong.name.removeprefix("exit-")))
        self.take = take
        self.configuration = document_in(descriptors[-1])
        self.doors = dict(zip(take.doors, descriptors, strict=False))
        print(json.dumps({"ts": 1, "level": "info", "logger": "tiny", "msg": f"took {len(descriptors)} descriptors"}))

    def accept(self, door: int) -> None:
        listener = socket.socket(fileno=os.dup(door))
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        finally:
            listener.close()
        with connection, connection.makefile("rw") as file:
            file.write(json.dumps(self.answer(json.loads(file.readline()), connection)) + "\n")

    def answer(self, asked: dict[str, Any], connection: socket.socket) -> Any:
        self.last_id += 1
        match asked.pop("do"):
            case "notes":
                return self.notes
            case "configuration":
                return self.configuration
            case "generation":
                return self.take.generation if self.take else 0
            case "exit":
                os._exit(asked["code"])
            case "hang":
                time.sleep(600)
            case "spawn":
                return self.ask(Spawn(self.last_id, **asked))
            case "claim":
                return self.ask(Claim(self.last_id, **asked))
            case "processes":
                return self.ask(Processes(self.last_id))["rows"]
            case "whois":
                return self.whois(asked["pid"])
            case "holder":
                time.sleep(asked.get("wait", 0))
                ours, peer = connection.getsockname()[:2], connection.getpeername()[:2]
                return self.ask(WhoHolds(self.last_id, *ours, *peer))
            case "stop":
                send_blocking(self.control, StopWorker(**asked))
            case "hold":
                send_blocking(self.control, Hold(**asked))
            case "nonsense":
                self.control.send(b"nonsense")
        return None

    def whois(self, pid: int) -> dict[str, Any]:
        pidfd = os.pidfd_open(pid)
        try:
            return self.ask(Whois(self.last_id, pid), [pidfd])
        finally:
            os.close(pidfd)

    def ask(self, message: Message, descriptors: list[int] | None = None) -> dict[str, Any]:
        send_blocking(self.control, message, descriptors or [])
        while True:
            note = self.hear()
            if note.get("id") == self.last_id:
                return self.notes.pop(self.notes.index(note))


def run_gateway(control: socket.socket) -> None:
    TinyGateway(control).serve()


def beat_for_ever(lifeline: socket.socket) -> None:
    while True:
        send_blocking(lifeline, Beat(rss=1, pss=4321))
        time.sleep(0.2)


def start_sleepers() -> None:
    """A child, one in a session of its own, and one that was forked twice and forgotten."""
    subprocess.Popen([sys.executable, "-c", SLEEPER])
    subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    daemonise = f"import os; os.setsid(); os.fork() and os._exit(0); {SLEEPER}"
    subprocess.Popen([sys.executable, "-c", daemonise])


def run_worker(lifeline: socket.socket, assignment: dict[str, Any]) -> None:
    word = assignment["runtime"]["argv"][0]
    signal.signal(signal.SIGTERM, signal.SIG_IGN if word == "deaf" else lambda *_: os._exit(0))
    print(f"{assignment['agent']} is here: {word}", flush=True)
    if word != "silent":
        threading.Thread(target=beat_for_ever, args=(lifeline,), daemon=True).start()
    match word:
        case "crash":
            sys.exit(3)
        case "done":
            sys.exit(0)
        case "tree":
            start_sleepers()
        case "hog":
            for _ in range(3):  # each below the limit, which binds one process; together above it
                subprocess.Popen([sys.executable, "-c", f"held = b'x' * (60 << 20); {SLEEPER}"])
        case "crowd":
            for _ in range(6):
                subprocess.Popen([sys.executable, "-c", SLEEPER])
        case "chatty":
            print("\n".join(f"line {number}" for number in range(5000)), flush=True)
            print("x" * 20_000, flush=True)
            os.write(1, b"not text: \xff\n")
        case "errand":  # a program of the worker's, as a test wrote it
            subprocess.Popen([sys.executable, "-I", assignment["runtime"]["argv"][1]])
        case "itself":
            runpy.run_path(assignment["runtime"]["argv"][1])
        case "ticket":
            send_blocking(lifeline, TicketPlease())
            received = receive_blocking(lifeline)
            print("fresh ticket", received is not None and type(received[0]).__name__, flush=True)
    while True:
        time.sleep(60)
