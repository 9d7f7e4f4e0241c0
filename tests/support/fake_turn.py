"""A turn without a gateway: what an agent's context does is recorded, and sub-agents are run right here.

Owns: a small world of agents that are plain turn functions. A spawned sub-agent runs at once and its result is
announced in the inbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from agentproc.context import Begun, Context
from agentproc.inbox import Inbox, Message

TurnFunction = Callable[[Context], Awaitable[str | None]]


class FakeTurn:
    """`agents` maps an id to its turn function; `limit` is how many children may wait to be announced. `lose` names
    children whose announce goes to the queue (for `subagents wait`) and not to the inbox."""

    def __init__(
        self,
        message: str,
        agents: Mapping[str, TurnFunction] | None = None,
        *,
        limit: int = 1000,
        lose: Callable[[int], bool] = lambda number: False,
        provenance: Mapping[str, Any] | None = None,
        attempt: int = 1,
        session_key: str = "agent:main:main",
    ) -> None:
        self.inbox = Inbox()
        self.said: list[str] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.steering: list[bool] = []
        self.states: list[dict[str, Any]] = []
        self.queued: list[dict[str, Any]] = []
        self.settled: list[tuple[str, str, Any]] = []
        self._agents = agents or {}
        self._limit = limit
        self._lose = lose
        self.context = Context(
            self, message=message, provenance=provenance or {"kind": "external_user"}, agent_id="main",
            session_key=session_key, run_id="run-1", attempt=attempt,
        )  # fmt: skip

    def say(self, text: str) -> None:
        self.said.append(text)

    async def set_steering(self, open: bool) -> None:
        self.steering.append(open)

    async def save_state(self, state: dict[str, Any]) -> None:
        self.states.append(dict(state))

    async def begin(self, name: str, effect: str) -> Begun:
        return Begun(f"call-{len(self.settled)}", name, effect, "intent")

    async def settle(self, begun: Begun, state: str, result: Any) -> None:
        self.settled.append((begun.name, state, result))

    async def wait_time_is_short(self) -> None:
        await trio.sleep_forever()

    async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((tool, args))
        match tool:
            case "sessions_spawn":
                return await self._spawn(args)
            case "sessions_send":
                return await self._send(args)
            case "subagents":
                taken, self.queued = self.queued, []
                return {"status": "ok" if taken else "timeout", "results": taken}
        return {}

    async def _spawn(self, args: dict[str, Any]) -> dict[str, Any]:
        number = sum(name == "sessions_spawn" for name, _ in self.calls)
        if len(self.inbox.unread()) + len(self.queued) >= self._limit:
            return {"status": "forbidden", "error": f"{self._limit} children are at work (maxChildrenPerAgent)"}
        key, run = f"agent:main:subagent:{number}", f"child-{number}"
        status, result = await self._result(self._agents["main"], args["task"], key)
        named = {"label": args.get("label"), "taskName": args.get("taskName")}
        if status != "ok":
            named["error"], result = result, ""
        if self._lose(number):
            self.queued.append({"taskId": run, "childSessionKey": key, "status": status, "result": result, **named})
        else:
            word = {"sourceSessionKey": key, "sourceTool": "sessions_spawn", "childRunId": run}
            self.inbox.put(Message("done", {**word, "status": status, "result": result, **named}, number))
        return {"status": "accepted", "childSessionKey": key, "runId": run}

    async def _send(self, args: dict[str, Any]) -> dict[str, Any]:
        agent = args["sessionKey"].split(":")[1]
        if agent not in self._agents:
            return {"status": "forbidden", "error": f"{agent} may not be written to"}
        status, reply = await self._result(self._agents[agent], args["message"], args["sessionKey"])
        return {"status": status, "reply": reply, "runId": "sent", "sessionKey": args["sessionKey"]}

    async def _result(self, function: TurnFunction, message: str, key: str) -> tuple[str, str | None]:
        try:
            return "ok", await function(FakeTurn(message, self._agents, session_key=key).context)
        except Exception as error:
            return "error", str(error)
