"""One run with nobody there: connect, take it, say a word, finish, over a socket pair, against a few canned answers.

A forked process pays for memory when it first touches it, and for code when it first runs it. The zygote rehearses
before it is forked, so that every worker is born with code that has run; a spare rehearses while it waits, so that it
has touched its memory before somebody wants it. Nothing of it is visible outside the process."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from agentproc.context import Context
from agentproc.worker import Duty, Worker
from gateway.client import Client, greeted
from gateway.link.unix import UnixLink
from gateway.protocol.frames import Response, decode_request, encode
from gateway.protocol.limits import MAX_WORKER_PAYLOAD_BYTES

SECONDS = 5.0
"""Far above what it takes; nobody waits for a rehearsal."""
_RUN = {"runId": "rehearsal", "attempt": 1, "message": "rehearsal", "provenance": {}}


def carry_out_a_run() -> None:
    """Carry it out. Whatever goes wrong is raised: it would go wrong in earnest too."""
    trio.run(_rehearse)


async def _rehearse() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    for end in (ours, theirs):
        end.setblocking(False)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer, theirs)
            duty = Duty("rehearsal", "agent:rehearsal:subagent:rehearsal")
            await Worker(duty, _OneWord(), lambda ticket: _opened(ours, ticket), _ticket).run()
            nursery.cancel_scope.cancel()


def _opened(sock: socket.socket, ticket: str) -> AbstractAsyncContextManager[Client]:
    return greeted(sock, {"ticket": ticket}, trio.current_time() + SECONDS)


async def _ticket() -> str:
    return "rehearsal"


class _OneWord:
    """A turn that says one word."""

    async def run_turn(self, ctx: Context) -> str | None:
        """Say it."""
        await ctx.say("rehearsal")
        return "rehearsal"


async def _answer(sock: socket.socket) -> None:
    """The other side: every call gets the answer a worker needs to go on."""
    answers: dict[str, Any] = {"connect": {"type": "hello-ok"}, "worker.next": _RUN, "worker.emit": {"acked": 1}}
    async with trio.open_nursery() as nursery:
        link = UnixLink(sock, nursery, limit=MAX_WORKER_PAYLOAD_BYTES)
        try:
            while bodies := await link.receive():
                for body in bodies:
                    request = decode_request(body)
                    link.send_nowait(encode(Response(request.id, True, answers.get(request.method, {}))))
        finally:
            link.close()
