"""Older spellings of keys we serve (`agents.list[]`, `agentDefaults`), moved to where they stand today.

Owns the moves, and the memory of what the person wrote, so that a problem is named by the key in the file."""

from __future__ import annotations

import copy

from msgspec import Struct

from gateway.config.problem import Problem, shown

_MOVED = {("agentDefaults",): ("agents", "defaults"), ("logging", "maxFileBytes"): ("logging", "maxBytes")}


class Modern(Struct):
    """A tree in today's spelling; `written` maps a moved path to the path in the file."""

    tree: dict[str, object]
    written: dict[str, str]
    problems: list[Problem]

    def as_written(self, path: str) -> str:
        """The path a person finds in the file for one of today's paths."""
        for today, older in self.written.items():
            if path == today or path.startswith((f"{today}.", f"{today}[")):
                return older + path[len(today) :]
        return path


def modernise(tree: dict[str, object]) -> Modern:
    """`tree` with every older spelling moved. The tree given is not changed; what cannot be moved is a problem."""
    modern = Modern(copy.deepcopy(tree), {}, [])
    for older, today in _MOVED.items():
        parent = _table_at(modern.tree, older[:-1], make=False)
        if parent is not None and older[-1] in parent:
            _move(modern, parent.pop(older[-1]), ".".join(older), today)
    _move_list(modern)
    return modern


def _table_at(tree: dict[str, object], keys: tuple[str, ...], *, make: bool) -> dict[str, object] | None:
    for key in keys:
        child = tree.setdefault(key, {}) if make else tree.get(key)
        if not isinstance(child, dict):
            return None
        tree = child
    return tree


def _move(modern: Modern, value: object, older: str, today: tuple[str, ...]) -> None:
    """Put `value` at `today`, table by table; a key that is there already is a problem, not a choice of ours."""
    path = ".".join(today)
    parent = _table_at(modern.tree, today[:-1], make=True)
    if parent is None:
        modern.problems.append(Problem(older, "a table where a plain value stands", "a table", f"see {path}"))
    elif isinstance(value, dict) and isinstance(parent.get(today[-1]), dict):
        for key, item in value.items():
            _move(modern, item, f"{older}.{key}", (*today, key))
    elif today[-1] in parent:
        modern.problems.append(Problem(older, "the older name of a key that is set too", path, f"keep {path} only"))
    else:
        parent[today[-1]] = value
        modern.written[path] = older


def _move_list(modern: Modern) -> None:
    agents = modern.tree.get("agents")
    if not isinstance(agents, dict) or "list" not in agents:
        return
    listed = agents.pop("list")
    if not isinstance(listed, list):
        found = shown(listed, "agents.list")
        modern.problems.append(Problem("agents.list", found, "a list of agents, each with an id"))
        return
    for index, agent in enumerate(listed):
        older = f"agents.list[{index}]"
        if not isinstance(agent, dict) or not isinstance(agent.get("id"), str):
            modern.problems.append(Problem(f"{older}.id", "no id", "an agent's id"))
            continue
        agent_id = agent.pop("id")
        _move(modern, agent, older, ("agents", "entries", agent_id))
