"""`peergate health`, `status` and `ps`: how the running system is, also when its gateway cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.errors import FAILED, NotRunning
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import note, one_line, pairs, size, span, table
from supervisor.cli.snapshot import process_rows, read_status


@command("health", "peergate health", "peergate health --json", "peergate health --alive     # for a liveness probe")
@click.option("--alive", is_flag=True, help="Exit code 0 when a gateway answers, also when it is not well.")
def health(run: Invocation, alive: bool) -> None:
    """Is it well, and how busy. Exit code 1 when it is not well, which a restart seldom mends; 69 when nothing runs or
    no gateway answers within two seconds."""
    told = ask(run.doors, "health", timeout=2.0)
    run.answer(told, lambda: health_text(told))
    if not told.get("ok") and not alive:
        click.get_current_context().exit(FAILED)


def health_text(told: Mapping[str, Any]) -> str:
    """The answer of `health` in six lines."""
    agents = [
        str(each.get("id")) + (" (quarantined)" if each.get("quarantined") else "") for each in told.get("agents") or ()
    ]
    lines: dict[str, object] = {
        "state": "well" if told.get("ok") else "NOT WELL",
        "up": span(told.get("uptimeMs")),
        "version": f"{told.get('version')}, generation {told.get('generation')}",
        "agents": ", ".join(agents),
        "runs": counts(told.get("runs")),
        "sessions": counts({"total": (told.get("sessions") or {}).get("total")}),
        "workers": told.get("workers"),
        "connections": told.get("connections"),
    }
    database = told.get("database")
    if isinstance(database, Mapping) and database.get("trouble"):
        lines["database"] = one_line(database["trouble"])
    return pairs(lines)


def counts(values: object) -> str:
    """`{"done": 3}` as "3 done"; nothing as "none"."""
    if not isinstance(values, Mapping):
        return one_line(values)
    return ", ".join(f"{count} {name}" for name, count in values.items() if count) or "none"


@command("status", "peergate status", "peergate status --json")
def status(run: Invocation) -> None:
    """Everything about the running system: health, doors, configuration, counters. When no gateway answers, what the
    supervisor last wrote (and exit code 69)."""
    try:
        told: dict[str, Any] = ask(run.doors, "status", timeout=5.0)
    except NotRunning as error:
        last = read_status(run.running_dir)
        if last is None or run.json:
            raise
        note("no gateway answers; this is what the supervisor last wrote:")
        run.answer(last, lambda: _status_text(last, "supervisorPid"))
        raise error
    written = {} if run.remote else read_status(run.running_dir) or {}
    if "addresses" in written:  # the sockets are the supervisor's, so it says where they are
        told = {**told, "addresses": written["addresses"]}
    run.answer(told, lambda: _status_text(told, "gatewayPid"))


def _status_text(told: Mapping[str, Any], whose: str) -> str:
    """For a person, who may be about to signal somebody: with the name of the process the member `pid` is of."""
    return tree_text({whose if name == "pid" else name: value for name, value in told.items()})


def tree_text(tree: Mapping[str, Any], indent: str = "") -> str:
    """Any document, names left and values right, nested ones indented."""
    lines: list[str] = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{one_line(name)}:", tree_text(value, indent + "  ")]
        elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            lines.append(f"{indent}{one_line(name)}:")
            lines += [f"{indent}  - {_flat(each)}" for each in value]
        else:
            words = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{one_line(name)}: {one_line(words)}")
    return "\n".join(lines)


def _flat(values: Mapping[str, Any]) -> str:
    return one_line(", ".join(f"{name} {value}" for name, value in values.items() if value is not None))


@command("ps", "peergate ps", "peergate ps --json | jq '.[] | select(.kind == \"worker\")'")
def ps(run: Invocation) -> None:
    """The real process tree: who is whose child, for which agent and session, as which uid, and how big.

    --json prints a list of {kind: supervisor|zygote|gateway|worker|tool, pid, ppid, uid, agentId, sessionKey, state,
    rssBytes, pssBytes}. When no gateway answers the tree is read from /proc, without agents and sessions."""
    rows = [_document(row) for row in _process_rows(run)]
    run.answer(rows, lambda: ps_text(rows))


def _process_rows(run: Invocation) -> Sequence[Mapping[str, Any]]:
    try:
        told = ask(run.doors, "system.processes", timeout=5.0)
    except NotRunning as error:
        pid = (read_status(run.running_dir) or {}).get("pid")
        rows = process_rows(pid) if isinstance(pid, int) else []
        if not rows:
            raise
        note(f"{error.message}; read from /proc instead")
        return rows
    return told if isinstance(told, list) else list(told.get("processes") or ())


FIELDS = ("kind", "pid", "ppid", "uid", "agentId", "sessionKey", "state", "rssBytes", "pssBytes", "command")


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a row, absent ones as null: programs need not ask whether a key is there."""
    return {name: row.get(name) for name in FIELDS}


def ps_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a tree: children indented below their parents."""
    lines = [
        (
            row["pid"],
            "  " * depth + str(row["kind"]),
            row["agentId"],
            row["uid"],
            row["state"],
            size(row["rssBytes"]),
            size(row["pssBytes"]),
            row["sessionKey"] or row["command"],
        )
        for row, depth in in_tree_order(rows)
    ]
    return table(
        ("PID", "KIND", "AGENT", "UID", "S", "RSS", "PSS", "SESSION"), lines, right=("PID", "UID", "RSS", "PSS")
    )


def in_tree_order(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """Each row with its depth, parents before children. A row whose parent is not among them is a root."""
    known = {row["pid"] for row in rows}
    children: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        parent = row["ppid"] if row["ppid"] in known and row["ppid"] != row["pid"] else 0
        children.setdefault(parent, []).append(row)
    ordered: list[tuple[Mapping[str, Any], int]] = []
    waiting = [(row, 0) for row in reversed(children.get(0, []))]
    while waiting:
        row, depth = waiting.pop()
        ordered.append((row, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(row["pid"], []))]
    return ordered
