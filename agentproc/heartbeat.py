"""The worker's end of its lifeline: heartbeats, tickets, and the end of the process when the supervisor is gone.

Owns: the lifeline socket. One thread is its only reader and beats at an interval, so a busy event loop is not taken for
a dead process; the loop only ever sends, which needs no lock because one message is one datagram (unix(7),
SOCK_SEQPACKET)."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from agentproc import trees
from supervisor.messages import MAX_MESSAGE_BYTES, BadMessage, Beat, Message, Ticket, TicketPlease, decode, encode

PSS_EVERY = 6
"""Beats between two looks at our proportional memory: the kernel walks every page for it. Not at the first beat, so
that a short-lived sub-agent never pays."""
SEND_SECONDS = 5.0


class LifelineLost(Exception):
    """The supervisor did not take a message within SEND_SECONDS."""


class Lifeline:
    """Beats from the moment `start` is called, at the latest when a ticket is asked for. Calling it again does nothing.

    `on_end` is what happens when the supervisor's end closes: by default everything below us is killed and the process
    exits."""

    def __init__(self, sock: socket.socket, seconds: float, *, on_end: Callable[[], None] | None = None) -> None:
        self._sock = sock
        self._seconds = seconds
        self._on_end = on_end or end_process
        self._token: trio.lowlevel.TrioToken | None = None
        self._started = False
        self._tickets: list[str] = []
        self._ticket_came = trio.Event()
        self.connected = False
        self.status = ""

    def start(self) -> None:
        """Start beating, once. Call it in the event loop."""
        if self._started:
            return
        self._started = True
        self._sock.setblocking(False)
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._beat_and_read, name="heartbeat", daemon=True).start()

    async def ticket(self) -> str:
        """A fresh ticket. Raises LifelineLost when the supervisor does not read; waits when it does not answer."""
        self.start()
        self._ticket_came = trio.Event()
        self._tickets.clear()
        await self._send_soon(TicketPlease())
        await self._ticket_came.wait()
        return self._tickets.pop()

    async def _send_soon(self, message: Message) -> None:
        with trio.move_on_after(SEND_SECONDS):
            while not self._sent(message):
                await trio.lowlevel.wait_writable(self._sock)
            return
        raise LifelineLost(f"the supervisor has not read its lifeline for {SEND_SECONDS:.0f} s")

    def _sent(self, message: Message) -> bool:
        try:
            self._sock.send(encode(message))
        except BlockingIOError:
            return False
        except OSError:
            return True  # the reader sees the end and acts on it
        return True

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _beat_and_read(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        beats, due, rss, pss, descriptors = 0, time.monotonic(), 0, 0, 0
        while True:
            if time.monotonic() >= due:
                pss = own_pss() if beats % PSS_EVERY == 1 else pss
                with suppress(OSError):  # the agent has used up its descriptors, and a look takes one: as it was, then
                    rss, descriptors = own_rss(), own_descriptors()
                # A beat that finds the queue full is skipped: a supervisor that far behind has enough of them to read.
                self._sent(Beat(rss, pss, descriptors, self.connected, self.status))
                beats, due = beats + 1, time.monotonic() + self._seconds
            if poll.poll(max(0, (due - time.monotonic()) * 1000)) and not self._read():
                self._on_end()
                return

    def _read(self) -> bool:
        """Read one message; False at the end."""
        try:
            data = self._sock.recv(MAX_MESSAGE_BYTES)
            message = decode(data) if data else None
        except BlockingIOError:
            return True
        except (OSError, BadMessage):
            return False
        if isinstance(message, Ticket) and self._token is not None:
            try:
                self._token.run_sync_soon(self._take_ticket, message.value)
            except trio.RunFinishedError:
                return False
        return message is not None

    def _take_ticket(self, value: str) -> None:
        self._tickets.append(value)
        self._ticket_came.set()


def end_process() -> None:
    """Without its supervisor a worker has nobody to answer to: leave at once and leave nothing behind."""
    trees.sweep_now()
    os._exit(0)


def own_rss() -> int:
    """Resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def own_pss() -> int:
    """Proportional bytes, 0 where the kernel does not tell (before 4.14, or by a seccomp profile)."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def own_descriptors() -> int:
    """Open descriptors."""
    return len(os.listdir("/proc/self/fd"))
