"""OpenClaw's keys that we know and do not serve (OpenClaw 2026.9.6 and the older forms still found in files).

Owns the list, and `prune`, which takes them out of a tree so that what is left must be ours. `*` is any agent's id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

KNOWN: Mapping[str, frozenset[str]] = {
    place: frozenset(names.split())
    for place, names in {
        "": """meta env wizard diagnostics telemetry update browser desktop ui secrets auth models nodeHost bindings
            broadcast media attachments messages tts audio commands approvals transcripts hooks web channels
            discovery talk memory mcp skills plugins surfaces security proxy acp accessGroups cloudWorkers
            worktreeRoot canvasHost""",
        "gateway": """publicOrigin allowRealIpFallback tailscale remote reload terminal nodes tools http
            push portals cliAgents roles channelHealthCheckMinutes handshakeTimeoutMs webchat""",
        "gateway.controlUi": """enabled basePath root dangerouslyAllowHostHeaderOriginFallback
            dangerouslyDisableDeviceAuth allowInsecureAuth environment embedSandbox allowExternalEmbedUrls
            automaticallyFetchFavicons communityInvite sessionObserver experimental github""",
        "gateway.auth": "allowTailscale identityScopes",
        "gateway.auth.trustedProxy": "cloudflareAccessOidc deviceAutoApprove",
        "agents": "default",
        "agents.defaults": """repoRoot skipBootstrap bootstrapMaxChars bootstrapTotalMaxChars contextInjection
            userTimezone timeFormat imageModel imageGenerationModel pdfModel pdfMaxBytesMb pdfMaxPages utilityModel
            models modelPolicy params agentRuntime thinkingDefault verboseDefault reasoningDefault elevatedDefault
            fastModeDefault mediaMaxMb imageMaxDimensionPx typingMode typingIntervalSeconds blockStreamingDefault
            blockStreamingBreak blockStreamingChunk blockStreamingCoalesce humanDelay heartbeat compaction
            contextPruning contextTokens cliBackends memorySearch embeddedAgent embeddedPi sandbox skills tts
            envelopeTimezone envelopeTimestamp envelopeElapsed""",
        "agents.defaults.subagents": "model thinking delegationMode",
        "agents.entries.*": """default description agentDir utilityModel models params agentRuntime thinkingDefault
            verboseDefault reasoningDefault fastModeDefault skills identity groupChat heartbeat sandbox
            embeddedAgent embeddedPi memorySearch humanDelay tts""",
        "agents.entries.*.subagents": "model thinking delegationMode",
        "agents.entries.*.tools": """profile allow alsoAllow deny byProvider elevated exec fs loopDetection message
            sandbox codeMode""",
        "tools": """profile allow alsoAllow deny byProvider toolsBySender elevated exec fs loopDetection
            sessions_spawn sandbox web media links message codeMode experimental""",
        "tools.subagents": "model thinking",
        "tools.subagents.tools": "alsoAllow",
        "session": """scope dmScope groupScope mainKey identityLinks resetTriggers reset resetByType resetByChannel
            store sendPolicy threadBindings sharing idleMinutes typingMode typingIntervalSeconds parentForkMaxTokens
            writeLock""",
        "session.maintenance": """maxDiskBytes highWaterBytes resetArchiveRetention preserveRecent
            archiveDashboardAfter coldStorage rotateBytes pruneDays""",
        "cron": "triggers maxConcurrentRuns store runLog retry",
        "cron.failureAlert": "channel accountId",
        "logging": "consoleLevel consoleStyle redactSensitive redactPatterns",
    }.items()
}


def known_beside(path: str) -> frozenset[str]:
    """OpenClaw's unserved keys in the table at a dotted path; they count as spellings a person may have meant."""
    keys = path.split(".")
    if keys[:2] == ["agents", "entries"] and len(keys) > 2:
        keys[2] = "*"
    return KNOWN.get(".".join(keys), frozenset())


def prune(tree: dict[str, object]) -> tuple[dict[str, object], list[str]]:
    """`tree` without the known unserved keys, and their paths, each at its topmost. The tree given is not changed."""
    dropped: list[str] = []
    return _pruned(tree, "", dropped), dropped


def _pruned(table: dict[str, object], path: str, dropped: list[str]) -> dict[str, object]:
    unserved = known_beside(path) if path.count(".") < 4 else frozenset[str]()
    kept: dict[str, object] = {}
    for key, value, here in _children(table, path):
        if key in unserved:
            dropped.append(here)
        else:
            kept[key] = _pruned(value, here, dropped) if isinstance(value, dict) else value
    return kept


def _children(table: dict[str, object], path: str) -> Iterator[tuple[str, object, str]]:
    for key, value in table.items():
        yield key, value, f"{path}.{key}" if path else key
