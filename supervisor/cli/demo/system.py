"""The demo's own system: a supervisor in a temporary directory, with a configuration that OpenClaw users could not
get to work.

Owns: that process and that directory, and their end, whatever happens. An existing system is never touched."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.cli.errors import CliError, NotRunning, Usage
from supervisor.cli.paths import AGENTS, OPERATOR
from supervisor.cli.up import READY, supervisor_argv
from supervisor.cli.wire import dial
from supervisor.sockets import MAX_PATH_BYTES

PREFIX = "peergate-demo-"
START_SECONDS = 30.0
STOP_SECONDS = 15.0
LAST_WORDS_BYTES = 4000
MAIN, REPORTER = "main", "alecar"
PR_SET_PDEATHSIG = 1


def configuration(concurrency: int) -> dict[str, Any]:
    """OpenClaw issue #22226 as it was reported (bind lan, token, two agents that may write to each other), which
    there ends in `pairing required`; and what our two agents run."""
    builtin = "agentproc.builtin"
    return {
        # Any free port: an existing system keeps the usual one.
        "gateway": {"bind": "lan", "port": 0, "auth": {"mode": "token", "token": "demo-token"}},
        "agents": {
            "defaults": {"subagents": {"maxChildrenPerAgent": max(5, concurrency), "maxConcurrent": concurrency}},
            "entries": {
                MAIN: {"runtime": {"type": "python", "entry": f"{builtin}.survey:turn"}},
                REPORTER: {"runtime": {"type": "python", "entry": f"{builtin}.reporter:turn"}},
            },
        },
        "tools": {"agentToAgent": {"enabled": True, "allow": [MAIN, REPORTER]}, "sessions": {"visibility": "all"}},
    }


@dataclass(frozen=True, slots=True)
class System:
    """A running system of our own."""

    directory: str
    runtime: str
    pid: int

    @property
    def doors(self) -> list[str]:
        return [f"{self.runtime}/{OPERATOR}", f"{self.runtime}/{AGENTS}"]


@contextmanager
def open_system(concurrency: int, runtime: str | None, keep: bool) -> Iterator[System]:
    """Start it, wait until it is ready, and end it. The directory goes too, unless it is kept."""
    _check_free(runtime)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # like Ctrl-C: what was started is ended in order
    directory = _make_directory(holds_sockets=runtime is None)
    try:
        os.chmod(directory, 0o711)
        with open(f"{directory}/peergate.json", "w", opener=_private, encoding="utf-8") as file:
            json.dump(configuration(concurrency), file, indent=2)
        place = runtime or f"{directory}/run"
        process = _start(directory, place)
        try:
            _await_ready(process, directory)
            yield System(directory, place, process.pid)
        finally:
            _stop(process)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _make_directory(*, holds_sockets: bool) -> str:
    """A directory below TMPDIR, or below /tmp where the paths of sockets would be too long for clients."""
    longest = len(os.fsencode(f"{tempfile.gettempdir()}/{PREFIX}12345678/run/{OPERATOR}"))
    return tempfile.mkdtemp(prefix=PREFIX, dir="/tmp" if holds_sockets and longest > MAX_PATH_BYTES else None)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _check_free(runtime: str | None) -> None:
    """A supervisor replaces the sockets it finds, so one that somebody listens on must not be in its way."""
    if runtime is None or not os.path.lexists(f"{runtime}/{OPERATOR}"):
        return
    try:
        dial(f"{runtime}/{OPERATOR}").close()
    except NotRunning:
        return
    raise Usage(f"a system runs in {runtime}; the demo starts its own", fix="leave --runtime-dir out")


@dataclass(slots=True)
class _Started:
    process: subprocess.Popen[bytes]
    ready: int

    @property
    def pid(self) -> int:
        return self.process.pid


def _start(directory: str, runtime: str) -> _Started:
    reading, writing = os.pipe()
    argv = supervisor_argv(runtime, f"{directory}/state", f"{directory}/peergate.json", ready=writing)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PEERGATE_")}
    with open(f"{directory}/supervisor.log", "wb", opener=_private) as log:
        process = subprocess.Popen(
            argv,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
            start_new_session=True,  # Ctrl-C is for us; we then end it in order
            preexec_fn=_end_with_parent,
        )
    os.close(writing)
    return _Started(process, reading)


def _end_with_parent() -> None:
    """If the demo is killed with -9, its supervisor gets SIGTERM from the kernel (PR_SET_PDEATHSIG(2const)). Linux
    only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _await_ready(started: _Started, directory: str) -> None:
    until = time.monotonic() + START_SECONDS
    told = b""
    while not told.endswith(READY):
        if not select.select([started.ready], [], [], max(0.0, until - time.monotonic()))[0]:
            raise CliError(f"the demo's supervisor was not ready within {START_SECONDS:g} s{_last_words(directory)}")
        data = os.read(started.ready, 64)
        if not data:
            code = started.process.wait()
            raise CliError(f"the demo's supervisor ended with {code} before it was ready{_last_words(directory)}")
        told += data


def _last_words(directory: str) -> str:
    with open(f"{directory}/supervisor.log", "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - LAST_WORDS_BYTES))
        words = file.read().decode("utf-8", "backslashreplace").strip()
    return f"; it said:\n{words}" if words else ""


def _stop(started: _Started) -> None:
    os.close(started.ready)
    process = started.process
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # the second one means: at once
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
