"""The instants a schedule names: its slots. Pure: time and time zone are arguments.

Owns the rules of daylight saving time, which are Debian cron's. A job with a fixed time (neither its minute nor its
hour begins with `*`) runs once on a day on which its time comes twice, at the first; and where its time is skipped, at
the first instant after the gap. Every other job keeps its pace: it runs at every real instant that matches. cronsim
reads the expression and knows the calendar; it is asked within stretches of one UTC offset, where a day has no gaps.

Slots are milliseconds since the epoch. `Timetable.after` remembers nothing: the answer depends on its argument alone,
so whatever the clock does, the same slot has the same name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

import msgspec
from cronsim import CronSim, CronSimError

from gateway.protocol.cron import MAX_MS, At, Cron, Every, Schedule

MIN_GAP_MS = 1000
"""A job runs once a second at most; slots that come closer together than that are left out."""
DEFAULT_STAGGER_MS = 300_000
"""Of expressions that mean the top of every hour, or of every so many hours (OpenClaw 2026.9.6)."""

_DAY = 86_400
_EPOCH = datetime(1970, 1, 1)
_WORDS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_ALLOWED = {
    "second": "0 to 59", "minute": "0 to 59", "hour": "0 to 23",
    "day-of-month": "1 to 31 in a month that has it, L, LW", "month": "1 to 12, JAN to DEC",
    "day-of-week": "0 to 7 (both Sunday), SUN to SAT, 5L, 1#2",
}  # fmt: skip
_HOUR_PART = re.compile(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})?")


class BadSchedule(ValueError):
    """A schedule that means nothing; the text says why."""


class Timetable(Protocol):
    """The slots of one schedule."""

    def after(self, ms: int) -> int | None:
        """The first slot later than `ms`; None when there is none."""
        ...


class Once(msgspec.Struct, frozen=True):
    """One slot."""

    at: int

    def after(self, ms: int) -> int | None:
        """The slot, unless it is over."""
        return self.at if self.at > ms else None


class Pace(msgspec.Struct, frozen=True):
    """A slot every so many milliseconds, counted from the anchor. `begins`: there is none before it; else a clock that
    is put back to before the job was made would silence it."""

    anchor: int
    every: int
    begins: bool = True

    def after(self, ms: int) -> int | None:
        """The first slot after `ms` that stands at a whole number of paces from the anchor."""
        if self.begins and ms < self.anchor:
            return self.anchor
        slot = self.anchor + ((ms - self.anchor) // self.every + 1) * self.every
        return slot if slot <= MAX_MS else None


class Calendar(msgspec.Struct, frozen=True):
    """The slots of a cron expression in a time zone."""

    expr: str
    zone: tzinfo
    fixed: bool

    def after(self, ms: int) -> int | None:
        """The first matching second after `ms`; None when there is none for fifty years."""
        at = ms // 1000
        offset = self._offset(at)
        while (wall := self._wall_after(at + offset)) is not None:
            slot = wall - offset
            change = self._change(at, slot, offset)
            if change is None:
                if not (self.fixed and self._is_second_time(slot)):
                    return slot * 1000
                at = slot
                continue
            new = self._offset(change)
            if self.fixed and wall < change + new:  # skipped by the clock
                return change * 1000
            at, offset = change - 1, new
        return None

    def _wall_after(self, wall: int) -> int | None:
        """The first matching second later than `wall` on a clock that is never put forward or back."""
        try:
            found = next(CronSim(self.expr, _EPOCH + timedelta(seconds=wall)))
        except (StopIteration, OverflowError, ValueError):
            return None
        return int((found - _EPOCH).total_seconds())

    def _change(self, start: int, end: int, offset: int) -> int | None:
        """The first second after `start`, up to `end`, that has another offset. Looked for once a day: no zone changes
        its offset and takes that back within one."""
        while start < end:
            step = min(start + _DAY, end)
            if self._offset(step) != offset:
                return self._first_other(start, step, offset)
            start = step
        return None

    def _first_other(self, same: int, other: int, offset: int) -> int:
        while other - same > 1:
            middle = (same + other) // 2
            if self._offset(middle) == offset:
                same = middle
            else:
                other = middle
        return other

    def _offset(self, at: int) -> int:
        if self.zone is UTC:
            return 0
        try:
            shift = datetime.fromtimestamp(at, self.zone).utcoffset()
        except (OverflowError, ValueError):  # beyond the calendar's years
            return 0
        return round(shift.total_seconds()) if shift is not None else 0

    def _is_second_time(self, at: int) -> bool:
        return self.zone is not UTC and datetime.fromtimestamp(at, self.zone).fold == 1


def timetable_of(schedule: Schedule, zone: tzinfo, made_at: int) -> Timetable:
    """The slots of a schedule; `zone` is that of a cron expression, `made_at` the anchor of a pace that has none.
    Raises BadSchedule."""
    match schedule:
        case At():
            return Once(parse_at(schedule.at))
        case Every():
            anchor = made_at if schedule.anchor_ms is None else schedule.anchor_ms
            return Pace(anchor, max(schedule.every_ms, MIN_GAP_MS), begins=anchor > made_at)
        case Cron():
            expr = parse_expression(schedule.expr)
            return Calendar(expr, zone, _is_fixed(expr))
        case _:
            kind = "on-exit" if type(schedule).__name__ == "OnExit" else "stream"
            raise BadSchedule(f'schedule kind "{kind}" is not served here; use at, every or cron')


def parse_at(text: str | int) -> int:
    """Milliseconds of an `at`: a number of them, or ISO-8601; without an offset it is UTC. Raises BadSchedule."""
    if isinstance(text, int) or re.fullmatch(r"[0-9]{1,15}", text.strip()):
        ms = int(text)
    else:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            raise BadSchedule(
                f'schedule.at "{text[:64]}" is no time; write ISO-8601 such as 2027-03-28T09:00:00Z, or milliseconds'
            ) from None
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        ms = round((when - _EPOCH.replace(tzinfo=UTC)) / timedelta(milliseconds=1))
    if not 0 <= ms <= MAX_MS:
        raise BadSchedule(f'schedule.at "{text}" is outside the years 1970 to 9999')
    return ms


def parse_expression(text: str) -> str:
    """A cron expression as cronsim takes it: `@daily` and its kin written out, `?` as `*`. Raises BadSchedule with
    what is wrong."""
    written = " ".join(text.split())
    fields = _WORDS.get(written.lower(), written).split(" ")
    if len(fields) not in (5, 6):
        raise BadSchedule(f'cron expression "{text[:64]}" has {len(fields)} fields; 5 or 6 (seconds first) are allowed')
    fields = [*fields[:-3], *("*" if field == "?" else field for field in fields[-3:])]
    expr = " ".join(fields)
    try:
        CronSim(expr, _EPOCH)
    except CronSimError as error:
        what = f"{str(error)[:1].lower()}{str(error)[1:]}"
        allowed = next((f"; allowed: {one}" for field, one in _ALLOWED.items() if what.endswith(field)), "")
        raise BadSchedule(f'cron expression "{text[:64]}": {what}{allowed}') from None
    except (ValueError, IndexError, TypeError, AssertionError):  # whatever else its reader stumbles over
        raise BadSchedule(f'cron expression "{text[:64]}" cannot be read') from None
    return expr


def _is_fixed(expr: str) -> bool:
    minute, hour = expr.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


def default_stagger(expr: str) -> int:
    """Milliseconds over which jobs of this expression are spread when nobody says: those of the top of every hour."""
    *seconds, minute, hour = expr.split()[:-3]
    parts = hour.split(",")
    recurring = all(_HOUR_PART.fullmatch(part) for part in parts) and any("*" in part for part in parts)
    return DEFAULT_STAGGER_MS if minute == "0" and seconds in ([], ["0"]) and recurring else 0


def stagger_offset(job_id: str, stagger_ms: int) -> int:
    """How much later than its slots a job runs: the same for its whole life."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4], "big") % stagger_ms if stagger_ms else 0


def slots(table: Timetable, after: int, until: int) -> Iterator[int]:
    """The slots later than `after`, up to `until`."""
    slot = table.after(after)
    while slot is not None and slot <= until:
        yield slot
        slot = table.after(slot)


def newest_slots(table: Timetable, after: int, until: int, most: int) -> list[int]:
    """The last slots later than `after`, up to `until`, oldest first, `most` at most. What it costs depends on `most`,
    not on how long ago `after` is."""
    if isinstance(table, Pace):
        return _newest_of_pace(table, after, until, most)
    span = 60_000
    while True:
        start = max(after, until - span)
        found: list[int] = []
        for slot in slots(table, start, until):
            found.append(slot)
            if len(found) > 4 * most + 64:  # as dense as that, the last ones lie in a fraction of the span
                found = found[-most:]
        if len(found) >= most or start == after:
            return found[-most:]
        span *= 4


def _newest_of_pace(table: Pace, after: int, until: int, most: int) -> list[int]:
    if table.begins and until < table.anchor:
        return []
    last = table.anchor + (until - table.anchor) // table.every * table.every
    found = (last - index * table.every for index in range(most - 1, -1, -1))
    return [slot for slot in found if slot > after and (slot >= table.anchor or not table.begins)]


def count_slots(table: Timetable, after: int, until: int, most: int) -> int:
    """How many slots lie after `after`, up to `until`; counted to `most`."""
    if isinstance(table, Pace):
        first = table.after(after)
        return 0 if first is None or first > until else min(most, (until - first) // table.every + 1)
    count = 0
    for _ in slots(table, after, until):
        count += 1
        if count >= most:
            break
    return count
