"""One use of a session tool: who acts, on what, with which arguments. And what every tool needs to know."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from gateway.protocol.calls.row import Params
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.keys import SessionKey, is_agent_id, main_key, parse_key
from gateway.services.later import Later
from gateway.services.policy import AgentToAgent, Denied, Reach, ToolUse, judge_access, judge_tool
from gateway.services.work import Accepted, ChildLimit, NewMessage, Record

if TYPE_CHECKING:
    from gateway.services import Services

NAMESPACE = uuid.UUID("6d6c9f9a-6f0e-5a56-9a53-0f1d7a4f6d1c")
"""Ours: ids that must come out the same when a call is sent again are uuid5 under it."""


class ToolCall(msgspec.Struct, frozen=True):
    """One call. `session` acts; it is None only for an operator who named none, and then no policy applies.

    `key` is the caller's idempotency key, unique within `scope`; `digest` is the hash of what was asked, so that a
    key used twice for different things is noticed."""

    services: Services
    session: SessionKey | None
    scope: str
    args: Any
    key: str | None = None
    digest: str = ""
    run_id: str | None = None

    def own_id(self, what: str) -> str:
        """An id for something this call makes: the same one when the call is sent again with its key."""
        if self.key is None:
            return str(uuid.uuid4())
        return id_of(f"{self.scope}\n{self.key}\n{what}")

    def record(self, result: Mapping[str, Any]) -> Record | None:
        """The answer to keep under this call's key."""
        if self.key is None:
            return None
        return Record(self.scope, self.key, self.digest, dict(result))

    @property
    def acting(self) -> SessionKey:
        """The session that acts; an operator who named none acts for the default agent's main session."""
        return self.session or default_session(self.services)

    def may(self, action: str, target: SessionKey) -> Denied | None:
        """Why the acting session may not do `action` to `target`; None when it may."""
        if self.session is None:
            return None
        tools = self.services.settings.tools
        return judge_access(
            action,
            self.session,
            target,
            Reach(
                tools.sessions.visibility,
                AgentToAgent(tools.agent_to_agent.enabled, tools.agent_to_agent.allow),
                self.services.sessions.descends_from(str(target), str(self.session)),
            ),
        )

    def admit(
        self,
        message: NewMessage,
        finish: Callable[[Accepted], Any],
        full: Callable[[ChildLimit], Any] | None = None,
    ) -> Later:
        """Have a message accepted within `admissionTimeoutMs`: the answer is what `finish` makes of that, or `full` of
        a limit; else what `Runs.accept` raises, or a Refusal with what the database says when it takes longer."""
        settings, agent = self.services.settings, self.acting.agent
        known = agent in settings.agents.entries
        limit = (settings.subagents_of(agent) if known else settings.agents.defaults.subagents).admission_timeout_ms

        def answer(told: Accepted | Exception) -> Any:
            try:
                if isinstance(told, Accepted):
                    return finish(told)
                if isinstance(told, ChildLimit) and full is not None:
                    return full(told)
            except Exception as error:  # the caller's to hear: who tells us has others to tell
                return error
            return self._too_slow(limit) if isinstance(told, trio.TooSlowError) else told

        return Later(lambda tell: self.services.runs.offer(message, limit / 1000, lambda told: tell(answer(told))))

    def _too_slow(self, limit: int) -> Refusal:
        trouble = self.services.database.trouble
        again = "ask again with the same idempotencyKey, it is not done twice"
        return unavailable(
            f"not accepted within {limit} ms (agents.defaults.subagents.admissionTimeoutMs): "
            f"{trouble.shape.message if trouble else 'the database is slow'}; "
            f"{again if self.key else 'it may still be done, for no idempotencyKey was given'}"
        )

    @property
    def depth(self) -> int:
        """How many sub-agents deep the acting session is; 0 for any other."""
        row = self.services.sessions.row(str(self.acting))
        return row.spawn_depth if row else self.acting.depth

    def may_use(self, tool: str) -> Denied | None:
        """Why the acting session may not use this tool at all; None when it may."""
        if self.session is None or self.session.agent not in self.services.settings.agents.entries:
            return None
        lists = self.services.settings.tools.subagents.tools
        most = self.services.settings.subagents_of(self.session.agent).max_spawn_depth
        return judge_tool(ToolUse(tool, self.depth, most, lists.allow, lists.deny))

    def target(self, text: str) -> SessionKey:
        """The session that `text` names for this caller: a key, `current`, `main`, or an agent's id (its main
        session)."""
        word = text.strip().lower()
        if word == "current":
            return self.acting
        if word == "main":
            return SessionKey(self.acting.agent, "main")
        if key := parse_key(word):
            return key
        if is_agent_id(word) and word in self.services.settings.agents.entries:
            return SessionKey(word, "main")
        if found := self.services.sessions.find(session_id=text.strip()):
            return parse_key(found[0]) or self.acting
        raise invalid(
            f'"{text}" names no session. Allowed: a key such as {main_key(self.acting.agent)}, "main", "current", '
            "an agent's id, or a sessionId; `peergate sessions` lists them."
        )


def id_of(name: str) -> str:
    """`str(uuid.uuid5(NAMESPACE, name))` in a quarter of its time, which every accepted message costs."""
    text = hashlib.sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def default_session(services: Services) -> SessionKey:
    """The main session of the default agent."""
    return SessionKey(services.settings.default_agent, "main")


def digest_of(name: str, params: Params, raw: bytes) -> str:
    """What a call asked for, as a hash: tool and arguments as they came."""
    return hashlib.sha256(name.encode() + b"\0" + type(params).__name__.encode() + b"\0" + raw).hexdigest()


@functools.cache  # msgspec evaluates a struct's annotations anew each time: 100 µs, on the way of every call
def _names_of(params: type[Params]) -> list[tuple[str, str]]:
    return [(field.name, field.encode_name) for field in msgspec.structs.fields(params)]


def written(args: Params) -> dict[str, Any]:
    """What the caller wrote, by its name on the wire: whatever is not the default. Without inert parameters: they are
    raw, in the caller's codec, and those who are told may use another."""
    defaults = type(args).__struct_defaults__
    names = _names_of(type(args))
    usual = dict(zip((name for name, _ in names[-len(defaults) :]), defaults, strict=True)) if defaults else {}
    values = ((name, shown, getattr(args, name)) for name, shown in names)
    return {
        shown: value
        for name, shown, value in values
        if not isinstance(value, msgspec.Raw) and (name not in usual or value != usual[name])
    }


def ignored(args: Params, *names: str) -> dict[str, Any]:
    """`{"ignored": [...]}`: which of these fields the caller set although nothing is done with them; else empty."""
    told = [
        shown for name, shown in _names_of(type(args)) if name in names and getattr(args, name) not in (None, False)
    ]
    return {"ignored": told} if told else {}


def refused(denied: Denied, **fields: object) -> dict[str, Any]:
    """A tool's result when policy says no: it is an answer, not an error, so that an agent can read it."""
    return {"status": "forbidden", "error": denied.text, **fields}


def failed(text: str, **fields: object) -> dict[str, Any]:
    """A tool's result when the call itself is wrong."""
    return {"status": "error", "error": text, **fields}
