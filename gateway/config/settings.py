"""The whole configuration as one immutable value: `Settings`, with every default.

Pure: no file, no environment, no Trio. The types say what a value may be; rules between values are in `rules.py`."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, structs

from gateway.config.agent_settings import Agent, Agents, Limits, Subagents, builtin_agents
from gateway.config.cron_settings import CronSettings
from gateway.config.gateway_settings import Gateway
from gateway.config.section import FilePath, Positive, Section, Text

T = TypeVar("T", bound=Section)


class AgentToAgent(Section, frozen=True):
    """Which agents may write to each other; both ends must match."""

    enabled: bool = True
    allow: Annotated[
        tuple[str, ...] | None, Meta(description="Agent ids or patterns with *; absent or empty: all.")
    ] = None


class SessionTools(Section, frozen=True):
    """How far the session tools see."""

    visibility: Annotated[
        Literal["self", "tree", "agent", "all"], Meta(description="Sessions a session may look at and write to.")
    ] = "all"


class ToolList(Section, frozen=True):
    """Session tools by name, or patterns with *."""

    allow: Annotated[
        tuple[Text, ...], Meta(description="Given back to sub-agents although they do not have them by default.")
    ] = ()
    deny: Annotated[tuple[Text, ...], Meta(description="Taken from sub-agents; outranks allow.")] = ()


class SubagentTools(Section, frozen=True):
    """Policy of the session tools in sub-agents."""

    tools: ToolList = ToolList()


class Tools(Section, frozen=True):
    """Policy of the session tools."""

    agent_to_agent: AgentToAgent = AgentToAgent()
    sessions: SessionTools = SessionTools()
    subagents: SubagentTools = SubagentTools()
    subprocess_gateway: Annotated[
        bool, Meta(description="Programs an agent starts may call the session tools; an agent can only narrow this.")
    ] = True


class PingPong(Section, frozen=True):
    """Automatic replies between two agents."""

    max_ping_pong_turns: Annotated[int, Meta(ge=0, le=5)] = 0


class Maintenance(Section, frozen=True):
    """What is kept of the past."""

    mode: Annotated[
        Literal["enforce", "warn"], Meta(description="enforce removes what is too old or too much; warn only says so.")
    ] = "enforce"
    prune_after: Annotated[
        Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[hdw]$", examples=["12h", "30d", "4w"])]
        | Annotated[int, Meta(ge=1, le=36_500)],
        Meta(description="Age of idle sessions and ended runs: a number of days, or like 12h, 30d, 4w."),
    ] = "30d"
    max_entries: Annotated[Positive, Meta(description="Sessions kept; main sessions always are.")] = 5000

    @property
    def prune_after_ms(self) -> float:
        """`pruneAfter` in milliseconds."""
        text = f"{self.prune_after}d" if isinstance(self.prune_after, int) else self.prune_after
        return int(text[:-1]) * {"h": 1, "d": 24, "w": 168}[text[-1]] * 3_600_000.0


class Session(Section, frozen=True):
    """Sessions."""

    agent_to_agent: PingPong = PingPong()
    maintenance: Maintenance = Maintenance()


class Spawn(Section, frozen=True):
    """How workers are started."""

    method: Annotated[
        Literal["zygote", "exec"], Meta(description="zygote forks a warm process; exec starts a fresh interpreter.")
    ] = "zygote"
    warm_spares: Annotated[int, Meta(ge=0, le=16, description="Workers kept ready, unbound until used.")] = 2


class UidRange(Section, frozen=True):
    """Numeric uids set aside for agents, one each; they need no accounts."""

    first: Annotated[int, Meta(ge=1, le=2**32 - 3)]
    count: Annotated[int, Meta(ge=1, le=65536)]
    gid: Annotated[int, Meta(ge=1, le=2**32 - 3)]

    @property
    def members(self) -> range:
        """The uids of the range."""
        return range(self.first, self.first + self.count)


class Output(Section, frozen=True):
    """How much of a worker's own output is kept, per worker; what exceeds it is counted and dropped."""

    lines_per_second: Positive = 200
    bytes_per_second: Positive = 262_144


class Supervisor(Section, frozen=True):
    """The supervisor's own part."""

    spawn: Spawn = Spawn()
    stop_seconds: Annotated[int, Meta(ge=1, le=3600, description="From the request to stop until the last kill.")] = 8
    cgroup: Annotated[Literal["auto", "off"], Meta(description="auto: where one is delegated.")] = "auto"
    uids: Annotated[UidRange | None, Meta(description="Absent: every agent runs as the owner.")] = None
    heartbeat_seconds: Annotated[int, Meta(ge=1, le=300)] = 5
    output: Output = Output()


class Logging(Section, frozen=True):
    """The log."""

    level: Literal["silent", "fatal", "error", "warn", "info", "debug", "trace"] = "info"
    file: Annotated[
        FilePath | bool, Meta(description="true: in the state directory; false: standard error only; or a path.")
    ] = True
    max_bytes: Annotated[int, Meta(ge=65_536, le=2**40, description="A log file is rotated at this size.")] = 10_485_760
    backups: Annotated[int, Meta(ge=0, le=100)] = 5


class Settings(Section, frozen=True, dict=True):
    """Configuration of peergate. A value is complete: `complete` has filled in what depends on something else."""

    gateway: Gateway = Gateway()
    agents: Agents = Agents()
    tools: Tools = Tools()
    session: Session = Session()
    cron: CronSettings = CronSettings()
    supervisor: Supervisor = Supervisor()
    logging: Logging = Logging()

    @property
    def default_agent(self) -> str:
        """The agent that is meant when none is named: `main` if there is one, else the first configured."""
        entries = self.agents.entries
        return "main" if "main" in entries else next(iter(entries))

    def subagents_of(self, agent_id: str) -> Subagents:
        """The sub-agent rules of one agent: its own where written, else the defaults. KeyError for an unknown agent."""
        return self._subagents[agent_id]

    def limits_of(self, agent_id: str) -> Limits:
        """The limits of one agent: its own where written, else the defaults. KeyError for an unknown agent."""
        return self._limits[agent_id]

    # Worked out once: every accepted message asks for both.

    @cached_property
    def _subagents(self) -> dict[str, Subagents]:
        shared = self.agents.defaults.subagents
        return {name: _overlay(shared, agent.subagents) for name, agent in self.agents.entries.items()}

    @cached_property
    def _limits(self) -> dict[str, Limits]:
        shared = self.agents.defaults.limits
        return {name: _overlay(shared, agent.limits) for name, agent in self.agents.entries.items()}

    def limit_key(self, agent_id: str, name: str) -> str:
        """Where a limit of one agent is written, or would be."""
        field = re.sub("[A-Z]", lambda hit: f"_{hit[0].lower()}", name)
        agent = self.agents.entries.get(agent_id)
        shared = agent is None or getattr(agent.limits, field, None) is None
        return f"agents.{'defaults' if shared else f'entries.{agent_id}'}.limits.{name}"

    def workspace_of(self, agent_id: str) -> str | None:
        """Where one agent's files are, or None when nothing says so. KeyError for an unknown agent."""
        shared = self.agents.defaults.workspace
        own = self.agents.entries[agent_id].workspace
        return own or (shared and (shared if agent_id == "main" else f"{shared}-{agent_id}"))

    def cwd_of(self, agent_id: str) -> str | None:
        """The directory one agent starts in, or None when nothing says so. KeyError for an unknown agent."""
        return self.agents.entries[agent_id].cwd or self.agents.defaults.cwd

    def subprocess_gateway_of(self, agent_id: str) -> bool:
        """Whether programs this agent starts may call the session tools; a refusal anywhere wins."""
        return self.tools.subprocess_gateway and self.agents.entries[agent_id].tools.subprocess_gateway


def _overlay(base: T, override: Section) -> T:
    written = {name: value for name, value in structs.asdict(override).items() if value is not None}
    return structs.replace(base, **written)


def complete(settings: Settings) -> Settings:
    """`settings` with every default that depends on another value filled in: agents, auth mode, TLS."""
    entries: dict[str, Agent] = settings.agents.entries or builtin_agents()
    gateway, auth = settings.gateway, settings.gateway.auth
    mode = auth.mode or ("password" if auth.password and not auth.token else "token")
    tls_on = gateway.tls.enabled if gateway.tls.enabled is not None else not gateway.stays_local
    return structs.replace(
        settings,
        agents=structs.replace(settings.agents, entries=entries),
        gateway=structs.replace(
            gateway, auth=structs.replace(auth, mode=mode), tls=structs.replace(gateway.tls, enabled=tls_on)
        ),
    )
