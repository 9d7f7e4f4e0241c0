"""The configuration that `peergate init` writes: every usual key, explained, with its default."""

from __future__ import annotations

TEMPLATE = """\
# peergate's configuration. Everything commented out is the default; a line may be uncommented as it stands.
# Check it with `peergate config validate`; `peergate config schema` describes every key.
# A running system reads it again on `peergate reload`.

[gateway]
# Where the outer door listens: loopback, lan, tailnet, auto, custom or off. Agents and the command line never use it.
# bind = "loopback"
# port = 18789
# hostNames = ["box.lan"]

# [gateway.unix]
# Who may use operator.sock besides root and the owner: uids or user names, and a group that may read and write.
# operators = []

[agents.defaults]
# How many turns may run at once, and how long one may take.
# maxConcurrent = 8
# timeoutSeconds = 172800
# How long a worker without work stays.
# idleSeconds = 60

[agents.defaults.subagents]
# maxConcurrent = 8
# maxSpawnDepth = 5
# maxChildrenPerAgent = 5

# Two agents that work offline. A python agent is an async function: `async def turn(ctx) -> str`.
[agents.entries.main]
runtime = { type = "python", entry = "agentproc.builtin.main:turn" }

[agents.entries.scout]
runtime = { type = "python", entry = "agentproc.builtin.scout:turn" }

# Your own:
# [agents.entries.mine]
# runtime = { type = "python", entry = "my_module:turn", path = "/srv/agents" }
# Any program: the message on its standard input, the reply on its standard output.
# [agents.entries.upper]
# runtime = { type = "command", argv = ["tr", "a-z", "A-Z"] }

[tools.agentToAgent]
# Whether agents may send to each other, and which ones.
# enabled = true

[tools.sessions]
# Which sessions an agent sees: self, tree (and what it started), agent, all.
# visibility = "all"

# [tools.subagents.tools]
# Which session tools sub-agents have: what is given back to them, and what is taken from them, which outranks it.
# allow = []
# deny = []

[supervisor]
# heartbeatSeconds = 5
# stopSeconds = 8
# Agents run as the supervisor's own uid unless it is root and this is set: then who did what is a boundary, not a note.
# uids = { first = 200000, count = 1000, gid = 200000 }

[logging]
# level = "info"
"""
