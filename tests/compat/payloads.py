"""What OpenClaw 2026.9.6 answers its own command line and tells those who are connected: which members, of which kinds.

Owns these templates, restated from observed conversations: a type stands for any value of it. What only some of its
systems say (plugins' own parts of hello-ok) is left out."""

from __future__ import annotations

from typing import Any

_EVENT_LOOP: dict[str, Any] = {
    "degraded": bool, "degradedSinceMs": None, "reasons": [], "intervalMs": float, "delayP99Ms": float,
    "delayMaxMs": float, "utilization": float, "cpuCoreRatio": float,
    "cpuBreakdown": {"mainThreadCoreRatio": float, "hostUtilization": float, "hostCpuCount": int,
                     "workerCoreRatio": float, "otherThreadsCoreRatio": float},
}  # fmt: skip
_SESSIONS = {"path": str, "count": int, "recent": [{"key": str, "updatedAt": int, "age": int}]}
HEALTH: dict[str, Any] = {
    "ok": True, "ts": int, "durationMs": int, "plugins": {"loaded": [str], "errors": [], "unavailable": []},
    "configReload": {"hotReloadStatus": str}, "channels": {}, "channelOrder": [], "channelLabels": {},
    "heartbeatSeconds": int, "defaultAgentId": str,
    "agents": [{"agentId": str, "isDefault": bool, "sessions": _SESSIONS,
                "heartbeat": {"enabled": bool, "every": str, "everyMs": None, "prompt": str, "target": str,
                              "ackMaxChars": int}}],
    "sessions": _SESSIONS, "eventLoop": _EVENT_LOOP,
}  # fmt: skip
_PRESENCE = {
    "host": str, "ip": str, "version": str, "platform": str, "deviceFamily": str, "mode": str, "reason": str,
    "instanceId": str, "text": str, "ts": int,
}  # fmt: skip
HELLO: dict[str, Any] = {
    "type": str, "protocol": int,
    "server": {"version": str, "buildId": str, "bootId": str, "controlUiBuildSource": str, "connId": str},
    "features": {"methods": [str], "events": [str], "capabilities": [str]},
    "snapshot": {
        "suspension": {"phase": str}, "presence": [_PRESENCE], "health": HEALTH,
        "stateVersion": {"presence": int, "health": int}, "uptimeMs": int, "appliedConfigHash": str,
        "sessionDefaults": {"defaultAgentId": str, "modelConfigured": bool, "ownership": str, "selectionRequired": bool,
                            "mainKey": str, "mainSessionKey": str, "scope": str},
        "updateSchedule": {"channel": str, "autoEnabled": bool},
    },
    "auth": {"method": str, "role": str, "scopes": [str], "recoveryScope": str, "recoveryMigrationAllowed": bool,
             "deviceToken": str, "issuedAtMs": int},
    "policy": {"maxPayload": int, "maxBufferedBytes": int, "tickIntervalMs": int,
               "attachments": {"maxBytes": int, "maxImageBytes": int}, "allowedSessionVisibilities": [str],
               "hasMultipleSessionSharingIdentities": bool},
}  # fmt: skip

POLICY: dict[str, object] = {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000}
"""The numbers in hello-ok that clients go by; the rest of the policy is compared with the rest of hello-ok."""

_CLIENT = {"platform": str, "deviceFamily": str, "clientId": str, "clientMode": str}
_WANTED = {"role": str, "roles": [str], "scopes": [str], "remoteIp": str}
_APPROVED = {"deviceId": str, "publicKey": str, **_CLIENT, **_WANTED,
             "approvedVia": str, "createdAtMs": int, "approvedAtMs": int}  # fmt: skip
_TOKEN = {"role": str, "scopes": [str], "createdAtMs": int}
PAIR_LIST = {
    "pending": [{"requestId": str, "deviceId": str, "publicKey": str, **_CLIENT, **_WANTED, "silent": bool,
                 "isRepair": bool, "ts": int}],
    "paired": [{**_APPROVED, "operatorLabel": str, "lastSeenAtMs": int, "lastSeenReason": str, "connected": bool,
                "tokens": [_TOKEN | {"lastUsedAtMs": int}]}],
}  # fmt: skip
APPROVED = {"requestId": str, "device": {**_APPROVED, "tokens": [_TOKEN]}}
ROTATED = {"deviceId": str, "role": str, "scopes": [str], "rotatedAtMs": int, "tokenDelivery": str}
REVOKED = {"deviceId": str, "role": str, "revokedAtMs": int}

ACCEPTED = {"runId": str, "sessionKey": str, "agentId": str, "status": str, "acceptedAt": int}
_USAGE = {"input": int, "output": int, "cacheRead": int, "cacheWrite": int, "total": int}
FINISHED = {
    "runId": str, "status": str, "summary": str, "sourceReplyDeliveryState": str,
    "result": {
        "payloads": [{"text": str, "mediaUrl": None}],
        "meta": {"durationMs": int, "aborted": bool, "stopReason": str, "finalAssistantVisibleText": str,
                 "agentMeta": {"sessionId": str, "sessionFile": str, "provider": str, "model": str, "usage": _USAGE}},
    },
}  # fmt: skip

_RUN = {"runId": str, "sessionKey": str, "agentId": str, "seq": int}
_MESSAGE = {"role": str, "content": [{"type": str, "text": str}], "timestamp": int}
_AGENT = _RUN | {"stream": str, "ts": int, "sessionId": str}
EVENTS: dict[str, Any] = {
    "agent lifecycle start": _AGENT | {"data": {"phase": str, "startedAt": int}},
    "agent assistant": _RUN | {"stream": str, "ts": int, "data": {"text": str, "delta": str, "itemId": str}},
    "agent lifecycle end": _AGENT | {"data": {
        "phase": str, "startedAt": int, "endedAt": int, "aborted": bool, "stopReason": str, "livenessState": str,
        "executionSettled": bool, "terminalReply": {"disposition": str, "text": str}}},
    "chat delta": _RUN | {"state": str, "deltaText": str, "message": _MESSAGE},
    "chat final": _RUN | {"state": str, "stopReason": str, "message": _MESSAGE},
    "health": HEALTH,
    "device.pair.resolved": {"requestId": str, "deviceId": str, "decision": str, "ts": int},
    "shutdown": {"reason": str},
}  # fmt: skip
"""By event, and for agent and chat by what they tell."""
FAREWELL = (1012, "service restart")
"""The Close frame behind `shutdown`."""

_RUNTIME = {"id": str, "cloudPlacementSupported": bool, "devicePlacementSupported": bool, "source": str}
_MODEL = {"modelProvider": str, "model": str, "contextTokens": int, "agentRuntime": _RUNTIME,
          "modelSelectionTarget": str}  # fmt: skip
_THINKING = {"thinkingLevels": [{"id": str, "label": str}], "thinkingOptions": [str], "thinkingDefault": str}
READS: dict[str, Any] = {
    "agents.list": {
        "defaultId": str, "ownership": str, "selectionRequired": bool, "mainKey": str, "scope": str,
        "agents": [{"id": str, "workspace": str, "workspaceGit": bool, "agentRuntime": _RUNTIME, **_THINKING,
                    "model": {"primary": str}, "defaultPermissionMode": str}],
    },
    "sessions.list": {
        "ts": int, "path": str, "count": int, "totalCount": int, "limitApplied": int, "nextOffset": None,
        "hasMore": bool, "owners": [], "defaults": _MODEL | _THINKING, "sessions": [],
    },
    "config.get": {
        "path": str, "includedPaths": [], "exists": bool, "raw": None, "parsed": {}, "sourceConfig": {},
        "resolved": {}, "valid": bool, "runtimeConfig": {}, "config": {}, "hash": str, "issues": [], "warnings": [],
        "legacyIssues": [], "configRevisionHash": str, "appliedConfigHash": str,
    },
    "chat.history": {
        "sessionKey": str, "messages": [], "pendingInputs": {"items": [], "total": int}, "hasMore": bool,
        "totalMessages": int, "defaults": _MODEL,
        "sessionInfo": {"key": str, "kind": str, "classification": str, "agentId": str, "isMain": bool,
                        "isBackground": bool, "updatedAt": None, "archived": bool, "pinned": bool, "unread": bool,
                        "hasActiveRun": bool, "activeRunIds": [], "snapshotAt": int},
    },
}  # fmt: skip
"""Of a system nobody has spoken to yet."""
