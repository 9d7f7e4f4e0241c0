"""Every event there is and who may hear it. The hub enforces this table; an unknown name is dropped for everybody.

`agent` {runId, seq, stream, ts, data, sessionKey, agentId, spawnedBy?}: streams lifecycle, assistant, tool, log.
`sessions.changed` {sessionKey, reason, ts, session}. `session.message` {sessionKey, messageSeq, message}.
`process` {kind, pid, start, agentId, sessionKey, state: spawned|connected|exited, exit?}. `tick` {ts}. `health` (a
snapshot). `run.deadline` {runId, sessionKey, agentId, deadlineMs, secondsLeft, ts}: a run's time is nearly over.
`notice` {level, code, message, agentId?, sessionKey?, runId?, fix?}: something an operator should know. `shutdown`
{reason, restartExpectedMs?}.

`chat` {runId, sessionKey, seq, state: delta|final|aborted|error, ...}: the assistant's text as it comes, as OpenClaw's
clients draw it. `session.tool`: the tool stream of `agent` for those who subscribed to sessions. `presence`
{presence: [...]}. `device.pair.requested` (a pending request), `device.pair.resolved` {requestId, deviceId, decision,
ts}, `device.pair.changed` {deviceId, change, ts}.

`connect.challenge` {nonce, ts} is the first frame on a WebSocket, and no broadcast.

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
    "chat": scopes.READ,
    "session.tool": scopes.READ,
    "presence": scopes.READ,
    "device.pair.requested": scopes.PAIRING,
    "device.pair.resolved": scopes.PAIRING,
    "device.pair.changed": scopes.PAIRING,
    "worker.steer": scopes.WORKER,
    "worker.abort": scopes.WORKER,
}
