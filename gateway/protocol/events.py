"""Every event there is and who may hear it. The hub enforces this table; an unknown name is dropped for everybody.

`agent` {runId, seq, stream, ts, data, sessionKey, agentId, spawnedBy?}: streams lifecycle, assistant {delta, text?,
replace?}, tool {phase: start|result, name, toolCallId, ...}, log. `chat` {runId, sessionKey, agentId, seq, state:
delta|final|aborted|error, ...}: the same text as OpenClaw's clients draw it; exactly one final, aborted or error for
each run. What a run says is told every 75 ms at most, and before whatever follows it.
`session.tool`: the tool stream of `agent`. `session.message` {sessionKey, agentId, messageId, messageSeq, runId,
message}. `sessions.changed` {sessionKey, reason, ts, agentId?, sessionId?, session?}: what changed within 100 ms is one
event; of a session that is gone there is no row.
`presence` {presence: [...]} and `health` (a snapshot, once a minute) carry `stateVersion` {presence, health}: how often
each was told. `tick` {ts}. `shutdown` {reason, restartExpectedMs?}.
`process` {kind, pid, start, agentId, sessionKey, state: spawned|connected|exited, exit?}. `run.deadline` {runId,
sessionKey, agentId, deadlineMs, secondsLeft, ts}: a run's time is nearly over. `notice` {level, code, message,
agentId?, sessionKey?, runId?, fix?}: something an operator should know.
`cron` {jobId, action: added|updated|removed|started|finished, job?, runId?, slotMs?, status?, ...}: a job has changed,
or one of its runs.
`device.pair.requested` (a pending request), `device.pair.resolved` {requestId, deviceId, decision, ts},
`device.pair.changed` {deviceId, change, ts}.

Who hears what, as far as the scopes allow: a Unix peer that said `events` in `connect` everything. One that did not
hears of what it subscribes to: `sessions.subscribe` (`sessions.changed`, `session.message`, `session.tool`) and
`sessions.messages.subscribe` (these, `agent` and `chat` of one session). A client of the outer door hears without
asking what is not about a session, and `agent` and `chat` of all, with the capability `session-scoped-events` of those
it subscribed to. The tool stream of `agent` goes to connections with the capability `tool-events` that have started the
run or await it; they do not get it as `session.tool` besides.

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
    "cron": scopes.READ,
    "session.tool": scopes.READ,
    "presence": scopes.READ,
    "device.pair.requested": scopes.PAIRING,
    "device.pair.resolved": scopes.PAIRING,
    "device.pair.changed": scopes.PAIRING,
    "worker.steer": scopes.WORKER,
    "worker.abort": scopes.WORKER,
}
