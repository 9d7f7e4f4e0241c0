"""`peergate logs` and `events`: what happened, and what happens now."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from supervisor.cli.asking import ask, open_client
from supervisor.cli.errors import ConnectionLost, NotAllowed, NotRunning, Unanswered
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import clean, clock, note, one_line, print_json, print_json_line, say

FOLLOW_SECONDS = 0.3
PATIENCE_SECONDS = 30.0
MAX_LOG_BYTES = 1_000_000


@command("logs", "peergate logs", "peergate logs -f", "peergate logs -n 1000 --json")
@click.option("-f", "--follow", is_flag=True, help="Go on printing as lines are added.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, 5000), default=100, show_default=True, help="How many of the last lines."
)
def logs(run: Invocation, follow: bool, lines: int) -> None:
    """Print the last lines of the log. When nothing runs, they are read from the state directory.

    --json prints {file, cursor, size, lines[]}; with --follow, one JSON document for each line."""
    try:
        told = ask(run.doors, "logs.tail", {"limit": max(1, lines), "maxBytes": MAX_LOG_BYTES})
    except NotRunning as error:
        told = _read_log(os.path.join(run.state_dir, "logs", "peergate.log"), lines, error)
    shown = list(told.get("lines") or ())[-lines:] if lines else []
    if run.json and not follow:
        print_json({**told, "lines": shown})
        return
    for line in shown:
        _print_line(run, line)
    if follow:
        _follow(run, told.get("cursor"))


def _read_log(path: str, lines: int, trouble: NotRunning) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_LOG_BYTES))
            text = file.read().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        raise trouble from None
    except PermissionError:
        raise NotAllowed(f"{trouble.message}, and uid {os.geteuid()} may not read {path}") from None
    note(f"{trouble.message}; this is {path}")
    return {"file": path, "cursor": size, "size": size, "lines": text.splitlines()[-lines:] if lines else []}


def _follow(run: Invocation, cursor: Any) -> None:
    while True:
        time.sleep(FOLLOW_SECONDS)
        params = {"cursor": cursor, "limit": 5000, "maxBytes": MAX_LOG_BYTES}
        told = ask(run.doors, "logs.tail", params, patience=PATIENCE_SECONDS)
        for line in told.get("lines") or ():
            _print_line(run, line)
        cursor = told.get("cursor", cursor)


def _print_line(run: Invocation, line: object) -> None:
    if run.json:
        print_json_line(line)
    else:
        say(log_text(str(line)))


def log_text(line: str) -> str:
    """A line of the log, which is a JSON object, as a person reads it; any other line as it is."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(record, dict):
        return line
    when, level, message = (record.pop(name, "") for name in ("ts", "level", "msg"))
    if record.get("message") == message:  # over the network it is told again in the words of OpenClaw's clients
        record = {name: value for name, value in record.items() if name not in ("message", "time", "subsystem")}
    rest = " ".join(f"{name}={one_line(value)}" for name, value in record.items() if value not in (None, ""))
    stamp = clock(when * 1000 if when < 1e11 else when) if isinstance(when, int | float) else str(when)
    return f"{stamp} {str(level).upper():<7} {message}" + (f"  [{rest}]" if rest else "")


@command(
    "events", "peergate events", "peergate events --only agent --session main", "peergate events --json | jq .event"
)
@click.option("--only", "names", multiple=True, metavar="EVENT", help="Only events of this name (may be given again).")
@click.option("--session", metavar="TEXT", help="Only events whose session key holds TEXT.")
@click.option("-n", "--count", type=click.IntRange(1), help="End after this many.")
def events(run: Invocation, names: tuple[str, ...], session: str | None, count: int | None) -> None:
    """Print one line for each event until Ctrl-C. --json prints one JSON document for each.

    A gateway that is replaced is followed; what happened in between is not repeated."""
    left = count
    for event in follow_events(run):
        if not _wanted(event, names, session):
            continue
        if run.json:
            print_json_line({name: event.get(name) for name in ("event", "payload", "seq")})
        else:
            say(event_text(event))
        if left is not None:
            left -= 1
            if left == 0:
                return


def follow_events(run: Invocation) -> Iterator[dict[str, Any]]:
    """Events of the running system, over one gateway after another. Ends with NotRunning when none comes back."""
    client = open_client(run.doors, events=True)
    while True:
        with client:
            try:
                while (event := client.next_event()) is not None:
                    yield event
            except ConnectionLost:
                note("the gateway went away; waiting for the next")
        client = _open_again(run)


def _open_again(run: Invocation) -> Any:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return open_client(run.doors, events=True)
        except (ConnectionLost, Unanswered, NotRunning):
            if time.monotonic() >= until:
                raise
            time.sleep(0.1)


def _wanted(event: Mapping[str, Any], names: tuple[str, ...], session: str | None) -> bool:
    if names and event.get("event") not in names:
        return False
    payload = event.get("payload")
    key = payload.get("sessionKey") if isinstance(payload, Mapping) else None
    return session is None or session in str(key)


def event_text(event: Mapping[str, Any]) -> str:
    """An event in one line: when, what, for which session, and the rest as it is; what waits for a person, with the
    command to type."""
    payload = event.get("payload")
    values = dict(payload) if isinstance(payload, Mapping) else {"payload": payload}
    when = clock(values.pop("ts", None))
    session = values.pop("sessionKey", None)
    rest = " ".join(f"{name}={_value(value)}" for name, value in values.items() if value is not None)
    head = f"{when} {one_line(event.get('event')):<16}" + (f" {one_line(session)}" if session else "")
    if event.get("event") == "device.pair.requested" and (waiting := values.get("requestId")):
        rest = f"{rest}: peergate devices approve {one_line(waiting)}"
    return clean(f"{head} {rest}")


def _value(value: object) -> str:
    return one_line(
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value, 160
    )
