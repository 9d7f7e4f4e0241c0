"""What listeners are told, and in which words. Owns the payloads of the engine's events, and how often a session's
change is told; decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gateway.protocol.errors import Refusal
from gateway.services.board import Active
from gateway.services.chat import Chat
from gateway.services.ports import Publisher
from gateway.services.run_state import State
from gateway.services.timers import Timers
from gateway.services.work import whole_ms
from gateway.store.runs import RunRecord
from gateway.store.sessions import Message, SessionRecord

log = logging.getLogger("gateway.news")

CHANGES_SECONDS = 0.1
"""A session's changes are collected for so long and told as one."""
AGAIN_SECONDS = 1.0
"""Sessions that cannot be read are looked at again after this."""

Look = Callable[[list[str]], dict[str, dict[str, Any]]]
"""The rows of these sessions as clients see them; of one that is gone there is none. Raises Refusal."""


def session_row(record: SessionRecord, *, active: bool) -> dict[str, Any]:
    """A session as clients see it (`protocol.calls.sessions.SessionRow`, camelCase, empty fields left out)."""
    row: dict[str, Any] = {
        "key": record.key,
        "sessionId": record.session_id,
        "agentId": record.agent,
        "kind": record.kind,
        "status": record.status,
        "updatedAt": round(record.updated_at),
        "createdAt": round(record.created_at),
        "spawnDepth": record.spawn_depth,
        "hasActiveRun": active,
        "displayName": record.label or record.key.split(":", 2)[-1],
    }
    optional = {
        "label": record.label,
        "taskName": record.task_name,
        "spawnedBy": record.spawned_by,
        "parentSessionKey": record.spawned_by,
        "lastRunId": record.last_run,
        "lastRunError": record.last_error,
    }
    return {**row, **{name: value for name, value in optional.items() if value is not None}}


def message_row(message: Message) -> dict[str, Any]:
    """One entry of a transcript as clients see it."""
    row: dict[str, Any] = {
        "role": message.role,
        "content": [{"type": "text", "text": message.text}],
        "timestamp": round(message.at),
        "seq": message.seq,
        "runId": message.run,
    }
    optional = {"provenance": message.provenance, "stopReason": message.stop_reason}
    return {**row, **{name: value for name, value in optional.items() if value is not None}}


def recognisable(row: dict[str, Any]) -> dict[str, Any]:
    """The same with what OpenClaw's pages know it again by (2026.9.6): number and id, and for what was said to an agent
    the key it was sent with. Without it they show it twice and wait for it."""
    known = {"id": f"{row['runId']}:{row['seq']}", "seq": row["seq"], "runId": row["runId"]}
    return {**row, "__openclaw": known | ({"idempotencyKey": row["runId"]} if row["role"] == "user" else {})}


class News:
    """Tells the hub. `look` reads sessions, `clock` gives wall milliseconds."""

    def __init__(self, hub: Publisher, timers: Timers, look: Look, clock: Callable[[], float]) -> None:
        self._hub = hub
        self._timers = timers
        self._look = look
        self._clock = clock
        self._changed: dict[str, str] = {}
        self._chat = Chat(self._tell, timers, clock)

    @property
    def has_listeners(self) -> bool:
        """Whether anybody would hear."""
        return self._hub.listeners > 0

    # --- runs ---------------------------------------------------------------------------------------------------------

    def agent(self, run: Active, stream: str, data: Any) -> None:
        """Something happened in a run. What it says is told at a pace; everything else at once, behind that."""
        if stream == "assistant" and isinstance(data, dict) and isinstance(data.get("delta"), str):
            self._chat.say(run, data["delta"])
            return
        self._chat.flush(run.id)
        self._tell("agent", run, {"stream": stream, "data": data})

    def tool(self, run: Active, data: dict[str, Any]) -> None:
        """A run uses a tool (`phase` start), or has used it (`phase` result)."""
        self._chat.flush(run.id)
        payload = self._about(run, {"stream": "tool", "data": data, "ts": round(self._clock())})
        for event in ("agent", "session.tool"):
            self._hub.publish(event, payload, session=run.session, run=run.id)

    def started(self, run: Active, record: RunRecord) -> None:
        """A worker has taken the run."""
        self._chat.begin(run)
        data = {"phase": "start", "attempt": record.attempt, "pid": record.worker_pid}
        data |= {"startedAt": whole_ms(record.started_at)}
        self.agent(run, "lifecycle", data)

    def ended(self, run: Active, record: RunRecord) -> None:
        """The run is over."""
        data: dict[str, Any] = {"phase": "end" if record.state == State.DONE else "error", "state": record.state}
        data |= {"aborted": record.state == State.ABORTED, "executionSettled": True}
        optional = {
            "error": record.error, "startedAt": whole_ms(record.started_at), "endedAt": whole_ms(record.ended_at),
            "stopReason": record.stop_reason,
        }  # fmt: skip
        self.agent(run, "lifecycle", {**data, **{name: one for name, one in optional.items() if one is not None}})
        self._chat.end(run, record)
        self._hub.forget_run(run.id)

    def deadline(self, run: Active, deadline_ms: float, now: float) -> None:
        """The run's time is nearly over."""
        payload = {"runId": run.id, "sessionKey": run.session, "agentId": run.agent, "deadlineMs": round(deadline_ms)}
        left = max(0.0, round((deadline_ms - now) / 1000, 3))
        self._hub.publish("run.deadline", {**payload, "secondsLeft": left, "ts": round(now)}, session=run.session)

    def _tell(self, event: str, run: Active, what: dict[str, Any]) -> None:
        if event == "agent":
            what = {**what, "ts": round(self._clock())}
        self._hub.publish(event, self._about(run, what, told=event == "agent"), session=run.session)

    def _about(self, run: Active, what: dict[str, Any], *, told: bool = True) -> dict[str, Any]:
        """`seq` counts what was told of a run; a chat event has the number of the event it stands behind."""
        run.told += told
        about = {"runId": run.id, "seq": run.told, "sessionKey": run.session, "agentId": run.agent, **what}
        return about | {"spawnedBy": run.parent_session} if run.parent_session else about

    # --- sessions -----------------------------------------------------------------------------------------------------

    def said(self, message: Message) -> None:
        """A transcript has grown."""
        if not self.has_listeners:
            return
        payload = {
            "sessionKey": message.session,
            "agentId": message.session.split(":")[1],
            "messageId": f"{message.run}:{message.seq}",
            "messageSeq": message.seq,
            "runId": message.run,
            "message": recognisable(message_row(message)),
        }
        self._hub.publish("session.message", payload, session=message.session)

    def session(self, key: str, reason: str) -> None:
        """A session's row is different, or gone. Told together with what else changes within a moment."""
        if not self.has_listeners:
            return
        if not self._changed:
            self._timers.set("sessions.changed", CHANGES_SECONDS, self._tell_changed)
        # That it is new, or gone, outranks what happened to it besides.
        if reason == "delete" or self._changed.get(key) not in ("create", "delete"):
            self._changed[key] = reason

    def _tell_changed(self) -> None:
        try:
            rows, now = self._look([*self._changed]), round(self._clock())
        except Refusal as refusal:
            log.warning("changes of sessions are told later: %s", refusal)
            return self._timers.set("sessions.changed", AGAIN_SECONDS, self._tell_changed)
        changed, self._changed = self._changed, {}
        for key, reason in changed.items():
            payload: dict[str, Any] = {"sessionKey": key, "reason": reason, "ts": now}
            if row := rows.get(key):
                payload |= {"agentId": row["agentId"], "sessionId": row["sessionId"], "session": row}
            self._hub.publish("sessions.changed", payload, session=key)

    # --- operators ----------------------------------------------------------------------------------------------------

    def parked(self, record: RunRecord) -> None:
        """A run was interrupted and its message waits for an operator."""
        about = {"agentId": record.agent, "sessionKey": record.session, "runId": record.id}
        fix = f"peergate mailbox show {record.id}"
        self.notice("error", "MESSAGE_PARKED", f"run {record.id}: {record.error}", **about, fix=fix)

    def unheard(self, run: Active, why: str) -> None:
        """A sub-agent's result waits long for its parent."""
        about = {"agentId": run.agent, "sessionKey": run.session, "runId": run.id}
        self.notice("warn", "ANNOUNCE_WAITS", f"a sub-agent's result ({run.id}) {why}", **about)

    def notice(self, level: str, code: str, message: str, **about: str) -> None:
        """Something an operator should know."""
        self._hub.publish("notice", {"level": level, "code": code, "message": message, **about})
