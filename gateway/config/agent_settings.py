"""The `agents` section: defaults of the agent loop, and one entry per agent with the runtime it is made of."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.config.section import (
    AgentId,
    Environment,
    FilePath,
    Milliseconds,
    Positive,
    Seconds,
    Section,
    Text,
    repr_hiding,
)

MAIN_ENTRY = "agentproc.builtin.main:turn"
SCOUT_ENTRY = "agentproc.builtin.scout:turn"

Entry = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="Async callable, module:function.",
        examples=["hello:turn"],
    ),
]
Children = Annotated[int, Meta(ge=1, le=1000)]
Depth = Annotated[int, Meta(ge=1, le=5)]


def default_max_concurrent() -> int:
    """Turns at once when nothing is configured: four per processor, eight at least (as OpenClaw 2026.9.6)."""
    return max(8, 4 * (os.cpu_count() or 1))


class Limits(Section, frozen=True):
    """What one worker and its tools may use; absent means no limit of ours."""

    memory_bytes: Positive | None = None
    pids: Positive | None = None
    open_files: Positive | None = None
    cpu_seconds: Positive | None = None
    cpu_percent: Annotated[int, Meta(ge=1, le=100_000, description="Of one processor; 200 is two.")] | None = None
    wall_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    output_bytes: Positive | None = None
    transcript_bytes: Annotated[Positive | None, Meta(description="A session with more takes no new message.")] = None


class Subagents(Section, frozen=True):
    """Rules for sub-agents, for every agent that does not say otherwise."""

    allow_agents: Annotated[
        tuple[Text, ...] | None, Meta(description='Agents it may start; absent: itself only, ["*"]: any.')
    ] = None
    require_agent_id: bool = False
    max_concurrent: Positive = 8
    max_spawn_depth: Depth = 5
    max_children_per_agent: Children = 5
    archive_after_minutes: Annotated[int, Meta(ge=0, le=5_256_000, description="0 keeps finished sub-agents.")] = 60
    run_timeout_seconds: Annotated[Seconds, Meta(description="0 means none.")] = 0
    announce_timeout_ms: Milliseconds = 120_000
    spawn_timeout_ms: Milliseconds = 30_000
    admission_timeout_ms: Milliseconds = 10_000


class AgentSubagents(Section, frozen=True):
    """One agent's deviations from `agents.defaults.subagents`."""

    allow_agents: tuple[Text, ...] | None = None
    require_agent_id: bool | None = None
    max_concurrent: Positive | None = None
    max_spawn_depth: Depth | None = None
    max_children_per_agent: Children | None = None
    archive_after_minutes: Annotated[int, Meta(ge=0, le=5_256_000)] | None = None
    run_timeout_seconds: Seconds | None = None
    announce_timeout_ms: Milliseconds | None = None
    spawn_timeout_ms: Milliseconds | None = None
    admission_timeout_ms: Milliseconds | None = None


class ModelChoice(Section, frozen=True):
    """A model reference `provider/model` and what to try when it fails."""

    primary: Text
    fallbacks: tuple[Text, ...] = ()


class PythonRuntime(Section, frozen=True, tag="python", tag_field="type"):
    """An agent that is an async Python callable."""

    entry: Entry = MAIN_ENTRY
    path: Annotated[FilePath | None, Meta(description="Directory the module is found in.")] = None


class CommandRuntime(Section, frozen=True, tag="command", tag_field="type"):
    """An agent that is any program: the turn on its standard input, the reply on its standard output."""

    argv: Annotated[tuple[Text, ...], Meta(min_length=1, description="Program and arguments; no shell is involved.")]
    cwd: FilePath | None = None
    env: Environment = field(default_factory=dict)
    timeout_seconds: Seconds | None = None
    protocol: Literal["text", "jsonl"] = "text"
    retry_safe: Annotated[bool, Meta(description="A turn cut short may be run again.")] = False

    def __repr__(self) -> str:
        return repr_hiding(self, "env")


class ModelRuntime(Section, frozen=True, tag="model", tag_field="type"):
    """An agent that is a loop over a language model."""

    model: Text | ModelChoice | None = None


class AcpProgram(Section, frozen=True):
    """OpenClaw's description of an Agent Client Protocol program."""

    agent: Text | None = None
    backend: Text | None = None
    mode: Literal["persistent", "oneshot"] | None = None
    cwd: FilePath | None = None


class AcpRuntime(Section, frozen=True, tag="acp", tag_field="type"):
    """An agent that is an Agent Client Protocol program on standard input and output."""

    argv: tuple[Text, ...] = ()
    cwd: FilePath | None = None
    env: Environment = field(default_factory=dict)
    acp: AcpProgram = AcpProgram()

    def __repr__(self) -> str:
        return repr_hiding(self, "env")


Runtime = PythonRuntime | CommandRuntime | ModelRuntime | AcpRuntime


class AgentTools(Section, frozen=True):
    """What one agent's tools may do."""

    subprocess_gateway: Annotated[
        bool, Meta(description="Programs it starts may call the session tools as this agent.")
    ] = True


class Agent(Section, frozen=True):
    """One agent."""

    name: Text | None = None
    workspace: FilePath | None = None
    cwd: FilePath | None = None
    env: Environment = field(default_factory=dict)
    model: Text | ModelChoice | None = None
    runtime: Runtime = PythonRuntime()
    subagents: AgentSubagents = AgentSubagents()
    limits: Limits = Limits()
    tools: AgentTools = AgentTools()

    def __repr__(self) -> str:
        return repr_hiding(self, "env")


class AgentDefaults(Section, frozen=True):
    """What holds for every agent that does not say otherwise."""

    workspace: Annotated[
        FilePath | None, Meta(description="Workspace of `main`; another agent's is this with `-<id>` behind.")
    ] = None
    cwd: FilePath | None = None
    model: Text | ModelChoice | None = None
    max_concurrent: Positive = default_max_concurrent()
    timeout_seconds: Annotated[Seconds, Meta(description="Longest turn; 0 means no limit.")] = 172_800
    no_progress_seconds: Annotated[
        Seconds, Meta(description="Longest silence of a turn that waits for nobody; 0 means no limit.")
    ] = 0
    idle_seconds: Annotated[Seconds, Meta(description="An idle worker exits after this.")] = 60
    subagents: Subagents = Subagents()
    limits: Limits = Limits()


def builtin_agents() -> dict[str, Agent]:
    """The two agents that exist when none is configured; both work offline."""
    return {"main": Agent(), "scout": Agent(runtime=PythonRuntime(entry=SCOUT_ENTRY))}


class Agents(Section, frozen=True):
    """The agents, by id."""

    defaults: AgentDefaults = AgentDefaults()
    entries: Annotated[
        dict[AgentId, Agent], Meta(description="Absent or empty: two built-in agents, main and scout.")
    ] = field(default_factory=dict)
