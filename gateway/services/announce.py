"""What a parent is told about a child that has ended. Pure.

Owns the words, and which replies are not announced at all."""

from __future__ import annotations

from typing import Any

from gateway.services.run_state import State
from gateway.store.runs import RunRecord

SILENT = frozenset({"ANNOUNCE_SKIP", "NO_REPLY"})
"""A child that replies exactly this has nothing to announce (OpenClaw 2026.9.6)."""
MAX_RESULT_CHARS = 128 * 1024
"""Of a child's text in an announcement; the whole stays in the child's transcript."""
PREFIX = "announce:"

_STATUS = {State.DONE: "ok", State.TIMED_OUT: "timeout"}
_WORDS = {
    State.DONE: "finished",
    State.TIMED_OUT: "ran out of time",
    State.ABORTED: "was aborted",
    State.INTERRUPTED: "was interrupted",
}


def announce_id(run_id: str) -> str:
    """The run that tells of `run_id`; being its key, it makes a second announcement impossible."""
    return PREFIX + run_id


def is_silent(run: RunRecord) -> bool:
    """Whether the child asked not to be announced."""
    return run.state == State.DONE and (run.text or "").strip() in SILENT


def announcement(run: RunRecord) -> tuple[str, dict[str, Any]]:
    """Text for people and models, provenance for programs."""
    state = State(run.state)
    status = _STATUS.get(state, "error")
    result = run.text if run.text is not None else ""
    if len(result) > MAX_RESULT_CHARS:
        result = f"{result[:MAX_RESULT_CHARS]}\n[cut here; the whole is in the history of {run.session}]"
    named = "".join(f" ({name})" for name in (run.task_name or run.label,) if name)
    lines = [f"Sub-agent {run.session}{named} {_WORDS.get(state, 'failed')}.", f"Status: {status}"]
    if run.error:
        lines.append(f"Error: {run.error}")
    if result:
        lines += ["Result:", result]
    provenance: dict[str, Any] = {
        "kind": "internal_system",
        "sourceSessionKey": run.session,
        "sourceTool": "sessions_spawn",
        "childRunId": run.id,
        "status": status,
        "result": result,
    }
    extra = {"label": run.label, "taskName": run.task_name, "error": run.error}
    return "\n".join(lines), {**provenance, **{name: value for name, value in extra.items() if value}}
