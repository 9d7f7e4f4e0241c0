"""Rows only a ticketed worker may call: take a run, report, finish. Ours alone; not in the OpenClaw protocol."""

from __future__ import annotations

from typing import Any, Literal

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Result, Row


class WorkerNext(Params, frozen=True):
    """Ready for work. `holding` names the run this worker is in the middle of, after a reconnect."""

    holding: str | None = None
    attempt: Count = 0
    acked: Count = 0


class Mail(Result, frozen=True):
    """A message as a worker gets it: who sent it is the gateway's word."""

    id: int
    message: str
    provenance: dict[str, Any]


class Assignment(Result, frozen=True):
    """A run to do. `resumed` answers a `holding` that is still ours: carry on. `steered` are messages earlier
    attempts of this run were given and that are not finished with. `deadlineMs`, and `warnMs` before it, are
    milliseconds since the epoch."""

    run_id: str
    attempt: int
    message: str
    provenance: dict[str, Any]
    steered: tuple[Mail, ...] = ()
    state: dict[str, Any] | None = None
    deadline_ms: int | None = None
    warn_ms: int | None = None
    resumed: bool = False
    abandoned: bool = False


class WorkerEmit(Params, frozen=True):
    """What happened in a run since `seq`; each event has `stream` and `data`: JSON, nested at most 256 deep. The answer
    acknowledges what is durable."""

    run_id: str
    attempt: Count
    seq: Count
    events: list[dict[str, Any]]


class WorkerFinish(Params, frozen=True):
    """How a run ended: done, failed, aborted, timed_out. `unread` are steered messages the turn never took."""

    run_id: str
    attempt: Count
    status: str
    text: str | None = None
    error: str | None = None
    unread: tuple[Count, ...] = ()


class WorkerSteering(Params, frozen=True):
    """Whether the turn reads messages that arrive while it runs."""

    run_id: str
    open: bool


class WorkerState(Params, frozen=True):
    """The session's durable state, replaced as a whole; as JSON at most 256 KiB, and nested at most 256 deep."""

    run_id: str
    state: dict[str, Any]


class WorkerEffect(Params, frozen=True):
    """An action outside begins (`state` intent) or has ended (done, with its result as JSON; failed, with the error's
    text). `effect` says what another attempt may do with one it finds begun: unsafe (never repeat it), idempotent,
    pure."""

    run_id: str
    attempt: Count
    call: str
    name: str
    effect: Literal["unsafe", "idempotent", "pure"] = "unsafe"
    state: Literal["intent", "done", "failed"] = "intent"
    result: Any = None


ROWS = (
    Row("worker.next", scopes.WORKER, "Wait for a run.", WorkerNext, result=Assignment, waits=True),
    Row("worker.emit", scopes.WORKER, "Report events of a run.", WorkerEmit),
    Row("worker.finish", scopes.WORKER, "Give a run back.", WorkerFinish),
    Row("worker.steering", scopes.WORKER, "Open or close the steer channel of a run.", WorkerSteering),
    Row("worker.effect", scopes.WORKER, "Note that an action outside begins, or how it ended.", WorkerEffect),
    Row("worker.state", scopes.WORKER, "Keep the session's state.", WorkerState),
)
