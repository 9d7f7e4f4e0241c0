"""A real peergate system for tests and measurements: a supervisor of our own in temporary directories, and a plain
client.

Owns: starting and ending it, and noticing what it leaves behind. Everything is ended by pid; nothing is found by
name."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack

START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Answer(Exception):
    """The gateway said no: `shape` is the error as it travelled."""

    def __init__(self, shape: Mapping[str, Any]) -> None:
        super().__init__(f"{shape.get('code')}: {shape.get('message')}")
        self.shape = dict(shape)


class Wire:
    """A blocking connection to a Unix door: the few lines any client in any language needs."""

    def __init__(self, path: Path, *, events: bool = False, ticket: str | None = None, timeout: float = 30) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))  # blocking: under a flood a connect with a time-out ends with EAGAIN
        self.socket.settimeout(timeout)
        self.events: list[dict[str, Any]] = []
        self._ids = iter(range(1, 1 << 62))
        hello: dict[str, Any] = {"client": {"id": "test", "mode": "test"}, "events": events}
        if ticket is not None:
            hello["ticket"] = ticket
        try:
            self.hello = self.call("connect", hello)
        except BaseException:
            self.socket.close()
            raise

    def send(self, method: str, params: Mapping[str, Any] | None = None) -> str:
        identity = str(next(self._ids))
        body = msgpack.packb({"type": "req", "id": identity, "method": method, "params": dict(params or {})})
        self.socket.sendall(len(body).to_bytes(4, "big") + body)
        return identity

    def read(self) -> dict[str, Any]:
        size = int.from_bytes(self._exactly(4), "big")
        frame: dict[str, Any] = msgpack.unpackb(self._exactly(size))
        return frame

    def answer_to(self, identity: str) -> Any:
        while True:
            frame = self.read()
            if frame["type"] == "event":
                self.events.append(frame)
            elif frame["id"] == identity:
                if not frame["ok"]:
                    raise Answer(frame["error"])
                return frame.get("payload")

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        return self.answer_to(self.send(method, params))

    def tool(self, name: str, args: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.call("tools.invoke", {"name": name, "args": dict(args), **extra})
        return result

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                raise ConnectionError("the gateway closed the connection")
            data += chunk
        return bytes(data)


class System:
    """One running system. `directory` holds runtime/, state/ and the configuration; it is short enough for a socket
    path."""

    def __init__(self, config: Mapping[str, Any] | None = None, *, wrapper: Sequence[str] = ()) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self.directory.chmod(0o711)
        self.runtime = self.directory / "run"
        self.state = self.directory / "state"
        self.config = self.directory / "peergate.json"
        self.config.write_text(json.dumps(config or {}))
        self.config.chmod(0o600)
        self.errors = self.directory / "stderr.log"
        self._names_its_port = "port" in (config or {}).get("gateway", {})
        self.wrapper = tuple(wrapper)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with any free port for the outer door unless the test's configuration names one: systems of other
        tests run beside this one."""
        return {**os.environ, "PEERGATE_GATEWAY_PORT": "" if self._names_its_port else "0"}

    @property
    def operator(self) -> Path:
        return self.runtime / "operator.sock"

    @property
    def agents(self) -> Path:
        return self.runtime / "agents.sock"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *arguments: str) -> System:
        """Start and wait until it says ready. Raises AssertionError with its log if it does not."""
        reader, writer = os.pipe()
        command = [*self.wrapper, sys.executable, "-I", "-m", "supervisor", "--runtime-dir", str(self.runtime)]
        command += ["--state-dir", str(self.state), "--config", str(self.config), "--ready-fd", str(writer), *arguments]
        with self.errors.open("ab") as log:
            self.process = subprocess.Popen(
                command, pass_fds=[writer], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )
        os.close(writer)
        if not self.says_ready(reader):
            raise AssertionError(f"not ready (exit {self.process.returncode}):\n{self.log()}")
        return self

    def says_ready(self, reader: int, seconds: float = START_SECONDS) -> bool:
        """Whether it said so on this descriptor in time, which is closed; if not, its exit code is known where it
        ended: the kernel closes a process's descriptors a moment before it can be waited for."""
        assert self.process is not None
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            told = bool(select.select([pipe], [], [], seconds)[0])
            if told and pipe.read(64).startswith(b"ready"):
                return True
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS if told else 0)
        return False

    def wire(self, **options: Any) -> Wire:
        """A connection to the operator door."""
        return Wire(self.operator, **options)

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """One call on a connection of its own."""
        with self.wire() as wire:
            return wire.call(method, params)

    def ps(self, kind: str | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.call("system.processes")
        return [row for row in rows if kind in (None, row["kind"])]

    def gateway_pid(self) -> int:
        (row,) = self.ps("gateway")
        return int(row["pid"])

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command line as a person runs it."""
        command = [str(Path(sys.executable).with_name("peergate")), *arguments]
        environment = {**self.environment, "PEERGATE_RUNTIME_DIR": str(self.runtime)}
        environment |= {"PEERGATE_STATE_DIR": str(self.state), "PEERGATE_CONFIG": str(self.config)}
        options.setdefault("timeout", 60)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)

    def log(self) -> str:
        return self.errors.read_text(errors="replace")[-20_000:]

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not stop within {STOP_SECONDS} s:\n{self.log()}") from None
        return self.process.returncode

    def remove(self) -> None:
        """End it however it stands and take its directory away."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def running(config: Mapping[str, Any] | None = None, *arguments: str, **options: Any) -> Iterator[System]:
    """A started system, stopped and removed at the end; its log is shown when the test fails."""
    system = System(config, **options)
    try:
        system.start(*arguments)
        yield system
        code = system.stop()
        assert code == 0, f"exit {code}:\n{system.log()}"
    except BaseException:
        print(system.log(), file=sys.stderr)
        raise
    finally:
        system.remove()


def eventually(condition: Any, seconds: float = 10.0, every: float = 0.01) -> Any:
    """What `condition()` returns once it is true. For facts of the operating system that nobody announces."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {seconds} s: {condition}")
        time.sleep(every)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
