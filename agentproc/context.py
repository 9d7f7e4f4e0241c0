"""What an agent written in Python is given: the message it is to answer, and what it can do.

An agent is one function, named in the configuration as `{type = "python", entry = "module:turn", path = "directory"}`:

    from agentproc.context import Context

    async def turn(ctx: Context) -> str | None:
        child = await ctx.spawn("count the words of chapter 1")
        async with ctx.steer() as inbox:
            async for mail in inbox:
                if mail.announce and mail.announce.run_id == child.run_id:
                    return f"{mail.announce.status}: {mail.announce.result}"

It runs under Trio. What it returns is the reply; None means it has nothing to say. To abort a turn it is cancelled: let
`trio.Cancelled` pass, clean up in `finally`. A turn may be run again after its worker died (`ctx.attempt` counts): tool
calls it makes in the same way get the answers recorded the first time, so nothing is started or sent twice. What it
does outside by itself it does in `ctx.once`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from agentproc import arguments
from agentproc.inbox import Announce, Inbox, announce_in
from agentproc.journal import canonical_value
from agentproc.results import (
    ActionFailed,
    Begun,
    Child,
    Finished,
    SendResult,
    SpawnRefused,
    ToolRefused,
    finished_in,
)
from gateway.protocol.keys import main_key, parse_key
from gateway.protocol.limits import MAX_ACTION_RESULT_BYTES
from supervisor.crashpoints import wall_clock

__all__ = [
    "NO_REPLY", "ActionFailed", "Actions", "Announce", "Begun", "Child", "Context", "Finished", "Inbox", "SendResult",
    "SpawnRefused", "ToolRefused",
]  # fmt: skip

T = TypeVar("T")

MAX_ERROR_CHARS = 2000
NO_REPLY = "NO_REPLY"
"""A reply that is exactly this is kept in the transcript and announced to nobody."""


class Actions(Protocol):
    """What a turn does for its context (implemented by `agentproc.turn`)."""

    inbox: Inbox

    def say(self, text: str) -> None:
        """Tell progress."""
        ...

    async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """Call a tool."""
        ...

    async def set_steering(self, open: bool) -> None:
        """Open or close the steer channel."""
        ...

    async def save_state(self, state: dict[str, Any]) -> None:
        """Keep the session's state."""
        ...

    async def begin(self, name: str, effect: str) -> Begun:
        """Note that an action begins."""
        ...

    async def settle(self, begun: Begun, state: str, result: Any) -> None:
        """Note how it ended."""
        ...

    async def wait_time_is_short(self) -> None:
        """Wait for the warning before the deadline."""
        ...


class Context:
    """One turn.

    `message` is the text to answer, `provenance` says where it came from (the gateway's word, not the sender's),
    `agent_id`, `session_key` and `run_id` say who this turn is, `attempt` counts from 1, `deadline` is seconds since
    the epoch or None. `state` is a dict kept from turn to turn of this session by `save_state`."""

    def __init__(
        self,
        actions: Actions,
        *,
        message: str,
        provenance: Mapping[str, Any],
        agent_id: str,
        session_key: str,
        run_id: str,
        attempt: int = 1,
        deadline: float | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self._actions = actions
        self.message = message
        self.provenance = provenance
        self.agent_id = agent_id
        self.session_key = session_key
        self.run_id = run_id
        self.attempt = attempt
        self.deadline = deadline
        self.state: dict[str, Any] = {} if state is None else state

    @property
    def announce(self) -> Announce | None:
        """The finished sub-agent this turn was started for, or None when the message is any other."""
        return announce_in(self.provenance)

    @property
    def is_subagent(self) -> bool:
        """Whether this session was spawned by another one."""
        key = parse_key(self.session_key)
        return key is not None and key.kind == "subagent"

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None when there is none."""
        return None if self.deadline is None else self.deadline - wall_clock()

    async def say(self, text: str) -> None:
        """Tell progress while the turn goes on: whoever watches sees it at once. Never waits for the gateway; when that
        is away for long, what does not fit the buffer is dropped and the count is told. The reply itself is what the
        turn returns."""
        arguments.text("ctx.say", text)
        self._actions.say(text)

    async def invoke(self, tool: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a session tool (`sessions_spawn`, `sessions_send`, `sessions_list`, `sessions_history`,
        `session_status`, `subagents`, `agents_list`, `cron`) and return its result. Survives a restart of the gateway.
        Raises ToolRefused."""
        return await self._actions.invoke(tool, dict(args or {}))

    async def spawn(
        self,
        task: str,
        *,
        agent_id: str | None = None,
        label: str | None = None,
        task_name: str | None = None,
        timeout: int | None = None,  # noqa: ASYNC109  (the child's own limit)
        cleanup: str = "keep",
        announce: bool = True,
    ) -> Child:
        """Start a sub-agent on `task` and return at once; its result comes as an announce.

        `agent_id` is this agent unless given, `timeout` is in seconds (0: none), `cleanup="delete"` removes its session
        afterwards, `announce=False` keeps the result until `wait_children` takes it. Raises SpawnRefused."""
        arguments.text("ctx.spawn: task", task)
        arguments.texts("ctx.spawn", agent_id=agent_id, label=label, task_name=task_name)
        arguments.seconds("ctx.spawn: timeout", timeout)
        args = {"task": task, "agentId": agent_id, "label": label, "taskName": task_name, "runTimeoutSeconds": timeout}
        given: dict[str, Any] = {name: value for name, value in args.items() if value is not None}
        if cleanup != "keep":
            given["cleanup"] = cleanup
        if not announce:
            given["expectsCompletionMessage"] = False
        result = await self.invoke("sessions_spawn", given)
        if result.get("status") != "accepted":
            raise SpawnRefused(str(result.get("status")), str(result.get("error") or "no reason was given"))
        return Child(str(result["childSessionKey"]), str(result["runId"]))

    async def send(self, target: str, message: str, *, timeout: int = 30) -> SendResult:  # noqa: ASYNC109  (the tool's parameter)
        """Send a message to another session and wait `timeout` seconds for its answer (0: do not wait).

        `target` is a session key, or an agent's id, which means that agent's main session."""
        arguments.text("ctx.send: target", target)
        arguments.text("ctx.send: message", message)
        arguments.seconds("ctx.send: timeout", timeout)
        key = target if parse_key(target) else main_key(target)
        result = await self.invoke("sessions_send", {"sessionKey": key, "message": message, "timeoutSeconds": timeout})
        return SendResult(
            str(result.get("status")),
            result.get("reply"),
            result.get("runId"),
            result.get("sessionKey"),
            result.get("error"),
        )

    async def history(self, session_key: str | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """The last messages of a session (this one unless named), oldest first."""
        args = {"sessionKey": session_key or self.session_key, "limit": limit}
        return list(_answered(await self.invoke("sessions_history", args)).get("messages") or ())

    async def sessions(self, **filters: Any) -> list[dict[str, Any]]:
        """The sessions this one may see; filters are those of the tool `sessions_list` (`activeOnly=True`, `label="x"`,
        …)."""
        return list(_answered(await self.invoke("sessions_list", filters)).get("sessions") or ())

    async def wait_children(
        self, children: Iterable[Child] | None = None, *, timeout: float = 30  # noqa: ASYNC109  (the tool's parameter)
    ) -> Finished:  # fmt: skip
        """Wait until one of `children` (at most 32; any child when none is named) has finished and take what finished:
        a list of announces, which are not announced any more, and in its `pending` how many of them still go on. Empty
        when nothing finished within `timeout` seconds (at most 60). Raises ToolRefused."""
        args: dict[str, Any] = {"action": "wait", "timeoutSeconds": timeout}
        if children is not None:
            args["taskIds"] = [child.run_id for child in children]
        result = _answered(await self.invoke("subagents", args))
        return Finished(finished_in("subagents", result), int(result.get("pending") or 0))

    async def cron(self, action: str, **fields: Any) -> dict[str, Any]:
        """This agent's jobs that run by the clock: `action` is add, list, get, update, remove, run, runs, status or
        wake, `fields` are those of the tool `cron`. A reminder:

            await ctx.cron("add", job={"schedule": {"kind": "at", "at": "20m"},
                                       "payload": {"kind": "agentTurn", "message": "look whether it is done"}})

        Say such a time as what it is from now on, as here: a turn that is run again then asks in the same words, and
        makes no second job. Raises ToolRefused."""
        arguments.text("ctx.cron: action", action)
        return _answered(await self.invoke("cron", {"action": action, **fields}))

    @asynccontextmanager
    async def steer(self) -> AsyncIterator[Inbox]:
        """Take messages that arrive while the turn runs, announces of sub-agents among them. What the turn has not
        taken when it ends is given back and starts a turn of its own."""
        await self._actions.set_steering(True)
        try:
            yield self._actions.inbox
        finally:
            await self._actions.set_steering(False)

    async def once(self, name: str, action: Callable[[], Awaitable[T]], *, effect: str = "unsafe") -> T:
        """Do something outside that the gateway cannot undo, and have it written down before and after. The result, in
        the form JSON gives it (at most 64 KiB). When the turn is run again, what was done is not done again: its
        recorded result is returned.

            receipt = await ctx.once(f"charge {order}", partial(charge, order))

        `effect` says what to do about an action whose worker died in the middle. unsafe: nobody knows whether it
        happened, so the run ends as interrupted and an operator decides (`peergate mailbox`). idempotent, pure: it is
        done again. An unsafe action that raised is not tried again either: a later attempt gets ActionFailed.
        Actions of the same name are told apart by their order. Raises what the action raises; ToolRefused when the
        gateway does not take note, and then nothing was done."""
        begun = await self.begin(name, effect=effect)
        if begun.state == "done":
            known: T = begun.result
            return known
        try:
            result = await action()
        except Exception as error:
            await self.settle_failed(begun, f"{type(error).__name__}: {error}")
            raise
        return await self.settle(begun, result)

    async def begin(self, name: str, *, effect: str = "unsafe") -> Begun:
        """The first half of `once`, for a runtime whose turns are programs. Unless `state` is done, the action is to be
        done now and then told by `settle` or `settle_failed`. Raises ActionFailed, ToolRefused."""
        begun = await self._actions.begin(name, effect)
        if begun.state == "failed":
            raise ActionFailed(str(begun.result))
        return begun

    async def settle(self, begun: Begun, result: T) -> T:
        """The action is done; its result as JSON has it. Raises TypeError or ValueError for a result that cannot be
        kept: then the action has failed."""
        try:
            kept = canonical_value(result, MAX_ACTION_RESULT_BYTES)
        except (TypeError, ValueError) as error:
            await self.settle_failed(begun, f"{type(error).__name__}: {error}")
            raise
        await self._actions.settle(begun, "done", kept)
        return kept

    async def settle_failed(self, begun: Begun, error: str) -> None:
        """The action did not work out."""
        await self._actions.settle(begun, "failed", error[:MAX_ERROR_CHARS])

    async def wait_time_is_short(self) -> None:
        """Wait until a fifth of the turn's time is left, or 30 seconds, whichever is less. Never returns without a
        deadline. Whoever listens to events hears `run.deadline` then."""
        await self._actions.wait_time_is_short()

    async def save_state(self) -> None:
        """Keep `state` as it is now; on disk when this returns. At most 256 KiB, of values JSON can say."""
        await self._actions.save_state(self.state)


def _answered(result: dict[str, Any]) -> dict[str, Any]:
    """A tool's result unless it says that it refused."""
    if result.get("status") in ("error", "forbidden"):
        raise ToolRefused(str(result["status"]), str(result.get("error") or "no reason was given"))
    return result
