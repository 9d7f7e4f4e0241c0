"""Every event there is and who may hear it. The hub enforces this table; an unknown name is dropped for everybody.

`agent` {runId, seq, stream, ts, data, sessionKey, agentId, spawnedBy?}: streams lifecycle, assistant, tool, log.
`sessions.changed` {sessionKey, reason, ts, session}. `session.message` {sessionKey, messageSeq, message}.
`process` {kind, pid, start, agentId, sessionKey, state: spawned|connected|exited, exit?}. `tick` {ts}. `health` (a
snapshot). `run.deadline` {runId, sessionKey, agentId, deadlineMs, secondsLeft, ts}: a run's time is nearly over.
`notice` {level, code, message, agentId?, sessionKey?, runId?, fix?}: something an operator should know. `shutdown`
{reason, restartExpectedMs?}.

`closed` {reason} is not a broadcast: it is the last frame of a connection the gateway ends, as far as the peer still
reads."""

from __future__ import annotations

from gateway.protocol import scopes

EVENT_SCOPES: dict[str, str] = {
    "tick": scopes.PUBLIC,
    "shutdown": scopes.PUBLIC,
    "health": scopes.READ,
    "agent": scopes.READ,
    "sessions.changed": scopes.READ,
    "session.message": scopes.READ,
    "process": scopes.READ,
    "run.deadline": scopes.READ,
    "notice": scopes.READ,
    "worker.steer": scopes.WORKER,
    "worker.abort": scopes.WORKER,
}
