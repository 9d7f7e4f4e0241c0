"""`peergate cron next`: when an expression comes true, without a running system."""

from __future__ import annotations

import time
from typing import Any

import click

from supervisor.cli.cron.given import zone_of
from supervisor.cli.cron.words import moment, schedule_words, until
from supervisor.cli.errors import Usage
from supervisor.cli.invocation import Invocation, command


@command(
    "next", 'peergate cron next "0 9 * * 1-5" --tz Europe/Berlin', 'peergate cron next "30 2 * * *" -n 10',
    'peergate cron next "0 0 L * *" --json', 'peergate cron next "0 9 * * *" --after 2027-03-27T00:00Z',
)  # fmt: skip
@click.argument("expr", metavar="EXPR")
@click.option("--tz", metavar="ZONE", help="The time zone (default: this machine's).")
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many times.")
@click.option("--after", metavar="TIME", help="Begin at this time (ISO-8601; default: now).")
def next_slots(run: Invocation, expr: str, tz: str | None, count: int, after: str | None) -> None:
    """Say when a cron expression comes true next.

    EXPR has 5 fields, or 6 with seconds first, or is @daily or the like. No system need run. --json
    prints {expr, tz, words, slots[]}, each slot with slotMs and at."""
    told = slots_of(expr, tz, count, _begin(after, tz))
    zone = zone_of(told["tz"])
    lines = [f"{moment(slot['slotMs'], zone)}   {until(slot['slotMs'])}" for slot in told["slots"]]
    run.answer(told, lambda: "\n".join([told["words"], *lines]))


def _begin(after: str | None, tz: str | None) -> int:
    if after is None:
        return round(time.time() * 1000)
    from gateway.schedules.schedule import BadSchedule, parse_at
    from supervisor.cli.cron.given import instant_of

    try:
        return parse_at(instant_of(after, tz, round(time.time() * 1000)))
    except BadSchedule as bad:
        raise Usage(f"--after: {bad}") from None
    except Usage as wrong:
        raise Usage(wrong.message.replace("--at", "--after")) from None


def slots_of(expr: str, tz: str | None, count: int, begin_ms: int) -> dict[str, Any]:
    """The next slots of an expression after an instant. Raises Usage for what means nothing or never comes."""
    from gateway.protocol.cron import Cron
    from gateway.schedules.schedule import BadSchedule, timetable_of
    from gateway.schedules.zones import host_zone

    name = tz or host_zone()
    zone = zone_of(name)
    try:
        table = timetable_of(Cron(expr), zone, begin_ms)
    except BadSchedule as bad:
        raise Usage(f"EXPR: {bad}") from None
    found: list[dict[str, Any]] = []
    slot = table.after(begin_ms)
    while slot is not None and len(found) < count:
        found.append({"slotMs": slot, "at": moment_iso(slot, name)})
        slot = table.after(slot)
    if not found:
        raise Usage(f'EXPR: "{expr}" never comes true')
    return {
        "expr": expr,
        "tz": name,
        "words": schedule_words({"kind": "cron", "expr": expr, "tz": name}),
        "slots": found,
    }


def moment_iso(ms: int, tz: str) -> str:
    """An instant in ISO-8601 with the zone's offset."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone_of(tz)).isoformat()
