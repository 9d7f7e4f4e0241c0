"""One program being run for a turn: started, waited for, and ended with everything it started.

It is started from the main thread and never from a cached one: where PR_SET_PDEATHSIG is in force it follows the
forking *thread* (prctl(2)), and Trio ends its cached threads after ten idle seconds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import IO

import trio

from agentproc import trees
from agentproc.failure import limit_behind
from agentproc.runtimes.base import TurnFailed

TAIL_BYTES = 2048
LINGER_SECONDS = 0.5
"""How long in all we wait for what a finished program left running in the background to write to its output."""
LINGER_STEP = LINGER_SECONDS / 1000
"""What each such read costs of it at least, so that a flood ends too; what the program itself wrote is a few reads."""
READ_BYTES = 65536


class Program:
    """A running program; made by `open_program`. `stdin` and `stdout` are Trio streams."""

    def __init__(self, process: subprocess.Popen[bytes], spared: Sequence[int]) -> None:
        self._process = process
        self._spared = spared
        self._pidfd = os.pidfd_open(process.pid)
        self.stdin = trio.lowlevel.FdStream(_taken(process.stdin))
        self.stdout = trio.lowlevel.FdStream(_taken(process.stdout))
        self._stderr = trio.lowlevel.FdStream(_taken(process.stderr))
        self._tail = b""
        self._ended = trio.Event()
        self._reading = trio.CancelScope()
        self._linger = LINGER_SECONDS

    @property
    def pid(self) -> int:
        """Its pid, which names it until `wait` returns."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """The last of what it wrote to its standard error."""
        return self._tail.decode(errors="backslashreplace").strip()

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        await self._ended.wait()
        return self._process.wait()

    async def read(self) -> bytes:
        """The next of its output; empty when there is no more.

        What it left in the background may hold its output open for ever, so once the program is done there is a limit
        to waiting (not to what is done between reads: what the program wrote is read to the end)."""
        if self._linger <= 0:
            return b""
        chunk = b""
        with trio.CancelScope() as self._reading:
            if self._ended.is_set():
                self._reading.deadline = trio.current_time() + self._linger
            chunk = await self.stdout.receive_some(READ_BYTES)
        if self._ended.is_set():
            left = self._reading.deadline - trio.current_time()
            self._linger = min(left, self._linger - LINGER_STEP)
        return chunk

    async def watch(self) -> None:
        """Notice its end; runs beside everything else."""
        await trio.lowlevel.wait_readable(self._pidfd)
        self._ended.set()
        self._reading.deadline = trio.current_time() + self._linger

    async def copy_stderr(self) -> None:
        """Pass on what it writes to its standard error, which is the log, and remember the end of it."""
        while chunk := await self._stderr.receive_some(READ_BYTES):
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]
            with suppress(OSError):  # a log that is gone is no reason to fail a turn
                # To the log pipe of the supervisor, which reads without ever waiting; so this does not wait either.
                os.write(2, chunk)

    async def close(self) -> None:
        """Kill it and all it started; nothing of it is left afterwards."""
        if self._process.poll() is None:
            self._process.kill()
            await trio.lowlevel.wait_readable(self._pidfd)
            self._process.wait()
        os.close(self._pidfd)
        for stream in (self.stdin, self.stdout, self._stderr):
            await trio.aclose_forcefully(stream)
        await trees.sweep(self._spared)


@asynccontextmanager
async def open_program(argv: Sequence[str], *, cwd: str | None, env: Mapping[str, str]) -> AsyncIterator[Program]:
    """The program running, in a session of its own; gone with its whole tree at the end. Raises TurnFailed when it
    cannot be started.

    Every child this process has afterwards and had not before is taken to be the program's: a command worker starts
    nothing else."""
    before = trees.children()
    try:
        process = subprocess.Popen(  # noqa: ASYNC220  (measured 0.1 to 0.9 ms; a thread would be wrong, see above)
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=cwd, env=dict(env), start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        place, limit = f" in {cwd}" if cwd else "", limit_behind(error)
        why = f"{error} ({limit})" if limit else str(error)
        raise TurnFailed(f"{argv[0]} could not be started{place}: {why}") from None
    program = Program(process, before)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.copy_stderr)
            nursery.start_soon(program.watch)
            yield program
            nursery.cancel_scope.deadline = trio.current_time() + LINGER_SECONDS
    finally:
        with trio.CancelScope(shield=True):
            await program.close()


def _taken(pipe: IO[bytes] | None) -> int:
    """The descriptor of a pipe, ours from now on."""
    assert pipe is not None
    taken = os.dup(pipe.fileno())
    pipe.close()
    return taken
