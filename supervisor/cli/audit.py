"""`peergate audit`: what was asked, granted and refused at the outer door, by whom and by which rule."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import one_line, print_json, print_json_line, say

FOLLOW_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
PAGE = 1000


@command(
    "audit", "peergate audit", "peergate audit -f", "peergate audit --event device.pair.approved --json",
)  # fmt: skip
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=100, show_default=True, help="How many at most.")
@click.option("--event", metavar="EVENT", help="Only entries of this event.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing as entries are added.")
def audit(run: Invocation, limit: int, event: str | None, follow: bool) -> None:
    """Print the audit of the outer door, the newest last. The newest 100,000 entries are kept and cannot be changed.

    --json prints {entries: [{id, ts, event, rule?, device?, address?, who?, conn?, detail?}], dropped}; with --follow,
    one JSON document for each entry."""
    filters = {"event": event} if event else {}
    told = ask(run.doors, "audit.list", {"limit": limit, **filters})
    if run.json and not follow:
        print_json(told)
        return
    entries = told.get("entries") or ()
    if not entries and not follow:
        say("nothing has happened at the outer door")
    _print(run, entries)
    since = max((each["id"] for each in entries), default=0)
    while follow:
        time.sleep(FOLLOW_SECONDS)
        params = {"limit": PAGE, "since": since, **filters}
        entries = ask(run.doors, "audit.list", params, patience=PATIENCE_SECONDS).get("entries") or ()
        _print(run, entries)
        since = max((each["id"] for each in entries), default=since)


def _print(run: Invocation, entries: Iterable[Mapping[str, Any]]) -> None:
    for each in entries:
        if run.json:
            print_json_line(each)
        else:
            say(entry_text(each))


def entry_text(entry: Mapping[str, Any]) -> str:
    """One entry in one line: when, what, about which device from where, by whom, by which rule, and the rest."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((entry.get("ts") or 0) / 1000))
    device = str(entry.get("device") or "")[:12]
    about = {"device": device, "from": entry.get("address"), "by": entry.get("who"), "rule": entry.get("rule")}
    about |= {"conn": entry.get("conn"), **(entry.get("detail") or {})}
    told = " ".join(f"{one_line(name)}={_value(value)}" for name, value in about.items() if value not in (None, "", []))
    return f"{when} {one_line(entry.get('event')):<28} {told}".rstrip()


def _value(value: object) -> str:
    return one_line(",".join(map(str, value)) if isinstance(value, list) else value)
