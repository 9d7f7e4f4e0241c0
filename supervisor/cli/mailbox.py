"""`peergate mailbox`: messages nobody is through with; parked ones are looked at, tried again or dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from supervisor.cli import names
from supervisor.cli.asking import WRITE_PATIENCE, ask
from supervisor.cli.invocation import Invocation, command, framed
from supervisor.cli.named import check_session
from supervisor.cli.output import ago, clean, one_line, table
from supervisor.cli.targets import session_key

STATES = {"new": "waiting", "taken": "steered in", "dead": "parked"}


@click.group("mailbox", invoke_without_command=True)
@click.pass_context
def _mailbox(context: click.Context) -> None:
    """List the messages nobody is through with; look at a parked one, try it again, drop it."""
    if context.invoked_subcommand is None:
        show_all(context.ensure_object(Invocation), {})


mailbox = framed(
    _mailbox, "peergate mailbox", "peergate mailbox list --parked", "peergate mailbox show 17",
    "peergate mailbox retry 17", "peergate mailbox drop 17",
)  # fmt: skip


def show_all(run: Invocation, filters: Mapping[str, Any]) -> None:
    """Print `mailbox.list`."""
    told = ask(run.doors, "mailbox.list", filters)
    if not told.get("messages") and "sessionKey" in filters:
        check_session(run.doors, filters["sessionKey"])
    run.answer(told, lambda: mailbox_text(told))


def mailbox_text(told: Mapping[str, Any]) -> str:
    """The messages as a table, and what can be done about parked ones."""
    messages = told.get("messages") or ()
    if not messages:
        return "no messages"
    rows = [
        (
            each.get("id"),
            _state(each),
            each.get("sessionKey"),
            each.get("sender"),
            ago(each.get("createdAt")),
            each.get("attempts"),
            each.get("error") or each.get("text"),
        )
        for each in messages
    ]
    text = table(("ID", "STATE", "SESSION", "FROM", "SENT", "TRIES", "ERROR OR TEXT"), rows, right=("ID", "TRIES"))
    parked = told.get("parked") or 0
    return f"{text}\n{parked} parked: peergate mailbox show|retry|drop ID" if parked else text


def _state(message: Mapping[str, Any]) -> object:
    state = message.get("state")
    if state == "new" and message.get("runState") not in ("queued", None):
        return message.get("runState")
    return STATES.get(str(state), state)


@command("list", "peergate mailbox list --parked --json", "peergate mailbox list --session main")
@click.option("--parked", is_flag=True, help="Only those that wait for an operator.")
@click.option(
    "--session", metavar="SESSION", shell_complete=names.sessions, help="Only this session's (a key, or an agent)."
)
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
def list_messages(run: Invocation, parked: bool, session: str | None, limit: int) -> None:
    """List messages nobody is through with, the oldest first."""
    filters: dict[str, Any] = {"limit": limit}
    if parked:
        filters["state"] = "dead"
    if session:
        filters["sessionKey"] = session_key(session)
    show_all(run, filters)


@command("show", "peergate mailbox show 17", "peergate mailbox show 17 --json")
@click.argument("message", metavar="ID")
def show(run: Invocation, message: str) -> None:
    """Print one message (its number, or its run's id), and what its run did outside."""
    told = ask(run.doors, "mailbox.list", {"id": message})["messages"][0]
    run.answer(told, lambda: message_text(told))


def message_text(told: Mapping[str, Any]) -> str:
    """One message in full."""
    fields = {
        "message": f"{told.get('id')} ({_state(told)})",
        "run": f"{told.get('runId')}: {told.get('runState') or 'forgotten'} after {_attempts(told)}",
        "session": told.get("sessionKey"),
        "from": told.get("sender"),
        "sent": ago(told.get("createdAt")),
        "error": told.get("error"),
    }
    lines = [f"{name + ':':9}{one_line(value, 2000)}" for name, value in fields.items() if value]
    for action in told.get("actions") or ():
        lines.append(f"action:  {one_line(action.get('name'))} ({action.get('effect')}): {_fate(action)}")
    lines += ["", clean(str(told.get("text") or ""))]
    if told.get("state") == "dead":
        lines += ["", f"to try it again: peergate mailbox retry {told.get('id')}"]
        lines += [f"to give it up:   peergate mailbox drop {told.get('id')}"]
    return "\n".join(lines)


def _attempts(told: Mapping[str, Any]) -> str:
    count = told.get("attempts", 0)
    return f"{count} attempt" if count == 1 else f"{count} attempts"


def _fate(action: Mapping[str, Any]) -> str:
    if action.get("state") in ("intent", "unknown"):
        return "begun, nobody knows whether it happened; a retry does it again"
    return f"{one_line(action.get('state'))}, {one_line(action.get('result'))}"


def _deciding(name: str, done: str, what: str) -> click.Command:
    @click.argument("message", metavar="ID")
    def decide(run: Invocation, message: str) -> None:
        told = ask(run.doors, f"mailbox.{name}", {"id": message}, patience=WRITE_PATIENCE)
        run.answer(told, lambda: f"message {told.get('id')} {done.format(run=one_line(told.get('runId')))}")

    decide.__doc__ = what
    return command(name, f"peergate mailbox {name} 17")(decide)


_mailbox.add_command(list_messages)
_mailbox.add_command(show)
_mailbox.add_command(
    _deciding("retry", "is tried again: peergate wait {run}", "Try a parked message again, with three more attempts.")
)
_mailbox.add_command(_deciding("drop", "is dropped", "Give a parked message up; its run stays interrupted."))
