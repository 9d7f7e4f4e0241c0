"""What listeners are told, and in which words. Owns the payloads of the engine's events; decides nothing."""

from __future__ import annotations

from typing import Any

from gateway.services.board import Active
from gateway.services.ports import Publisher
from gateway.services.run_state import State
from gateway.store.runs import RunRecord
from gateway.store.sessions import Message, SessionRecord


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
    }
    optional = {
        "label": record.label,
        "taskName": record.task_name,
        "spawnedBy": record.spawned_by,
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


class News:
    """Tells the hub."""

    def __init__(self, hub: Publisher) -> None:
        self._hub = hub

    @property
    def has_listeners(self) -> bool:
        """Whether anybody would hear."""
        return self._hub.listeners > 0

    def agent(self, run: Active, stream: str, data: Any, now: float) -> None:
        """Something happened in a run; `seq` counts what was told of it."""
        run.told += 1
        payload = {
            "runId": run.id,
            "seq": run.told,
            "stream": stream,
            "ts": round(now),
            "data": data,
            "sessionKey": run.session,
            "agentId": run.agent,
        }
        if run.parent_session:
            payload["spawnedBy"] = run.parent_session
        self._hub.publish("agent", payload, session=run.session)

    def started(self, run: Active, record: RunRecord, now: float) -> None:
        """A worker has taken the run."""
        data = {"phase": "start", "attempt": record.attempt, "startedAt": record.started_at, "pid": record.worker_pid}
        self.agent(run, "lifecycle", data, now)

    def ended(self, run: Active, record: RunRecord, now: float) -> None:
        """The run is over."""
        data: dict[str, Any] = {"phase": "end" if record.state == State.DONE else "error", "state": record.state}
        optional = {"error": record.error, "startedAt": record.started_at, "endedAt": record.ended_at}
        self.agent(run, "lifecycle", {**data, **{name: one for name, one in optional.items() if one is not None}}, now)

    def said(self, message: Message) -> None:
        """A transcript has grown."""
        if not self.has_listeners:
            return
        payload = {"sessionKey": message.session, "messageSeq": message.seq, "message": message_row(message)}
        self._hub.publish("session.message", payload, session=message.session)

    def session(self, key: str, reason: str, record: SessionRecord | None, now: float, *, active: bool) -> None:
        """A session's row is different, or gone (`record` None)."""
        payload: dict[str, Any] = {"sessionKey": key, "reason": reason, "ts": round(now)}
        if record is not None:
            payload["session"] = session_row(record, active=active)
        self._hub.publish("sessions.changed", payload, session=key)

    def deadline(self, run: Active, deadline_ms: float, now: float) -> None:
        """The run's time is nearly over."""
        payload = {"runId": run.id, "sessionKey": run.session, "agentId": run.agent, "deadlineMs": round(deadline_ms)}
        left = max(0.0, round((deadline_ms - now) / 1000, 3))
        self._hub.publish("run.deadline", {**payload, "secondsLeft": left, "ts": round(now)}, session=run.session)

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
