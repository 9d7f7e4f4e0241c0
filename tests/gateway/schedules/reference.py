"""Which instants a cron expression means, by looking at every minute (or second) there is. Slow, and independent of the
code it judges: its own reader of fields, no search, the rules of daylight saving time in four lines."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def number(text: str, names: list[str], first: int) -> int:
    return names.index(text.upper()) + first if text.upper() in names else int(text)


def numbers(field: str, low: int, high: int, names: list[str] | None = None) -> set[int]:
    """The values of a field of `*`, numbers, ranges, steps and lists."""
    values: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        if body == "*":
            first, last = low, high
        elif "-" in body:
            first, last = (number(one, names or [], low) for one in body.split("-"))
        else:
            first = number(body, names or [], low)
            last = high if step else first
        values |= set(range(first, last + 1, int(step or 1)))
    return values


def day_matches(field: str, day: datetime) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    for part in field.split(","):
        if part == "L":
            if day.day == last:
                return True
        elif part == "LW":
            weekdays = [one for one in range(1, last + 1) if day.replace(day=one).weekday() < 5]
            if day.day == weekdays[-1]:
                return True
        elif day.day in numbers(part, 1, 31):
            return True
    return False


def weekday_matches(field: str, day: datetime) -> bool:
    today = (day.weekday() + 1) % 7
    for part in field.split(","):
        if part.upper().endswith("L"):
            wanted, right = number(part[:-1], DAYS, 0) % 7, (day + timedelta(days=7)).month != day.month
        elif "#" in part:
            name, nth = part.split("#")
            wanted, right = number(name, DAYS, 0) % 7, (day.day - 1) // 7 + 1 == int(nth)
        else:
            if today in {one % 7 for one in numbers(part, 0, 7, DAYS)}:
                return True
            continue
        if wanted == today and right:
            return True
    return False


class Expression:
    """An expression as sets of numbers, and its two day fields."""

    def __init__(self, expr: str) -> None:
        fields = expr.replace("?", "*").split()
        fields = fields if len(fields) == 6 else ["0", *fields]
        self.step = 60 if fields[0] == "0" else 1
        self.fixed = fields[1][0] != "*" and fields[2][0] != "*"
        self.seconds = numbers(fields[0], 0, 59)
        self.minutes = numbers(fields[1], 0, 59)
        self.hours = numbers(fields[2], 0, 23)
        self.months = numbers(fields[4], 1, 12, MONTHS)
        self.day, self.weekday = fields[3], fields[5]
        self.both = self.day[0] == "*" or self.weekday[0] == "*"

    def matches(self, wall: datetime) -> bool:
        if wall.second not in self.seconds or wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        days = (day_matches(self.day, wall), weekday_matches(self.weekday, wall))
        return wall.month in self.months and (all(days) if self.both else any(days))


@lru_cache(maxsize=4)
def walls(zone: ZoneInfo, begin: datetime, end: datetime, step: int) -> list[tuple[int, datetime, int]]:
    """Every minute (or second) from `begin` to `end`: its milliseconds, what clocks on the wall say, and whether they
    say it for the second time."""
    found = []
    for index in range(int((end - begin).total_seconds()) // step + 1):
        at = begin + timedelta(seconds=index * step)
        local = at.astimezone(zone)
        found.append((round(at.timestamp() * 1000), local.replace(tzinfo=None, fold=0), local.fold))
    return found


def instants(expr: str, zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[int]:
    """Milliseconds of every slot after `begin` up to `end`, which are UTC."""
    meant = Expression(expr)
    step = timedelta(seconds=meant.step)
    before: datetime | None = None
    for ms, wall, fold in walls(zone, begin, end, meant.step):
        if before is not None:
            skipped = meant.fixed and wall - before > step and any_match(meant, before + step, wall, step)
            if skipped or (meant.matches(wall) and not (meant.fixed and fold)):
                yield ms
        before = wall


def any_match(meant: Expression, start: datetime, end: datetime, step: timedelta) -> bool:
    """Whether a wall time from `start` up to `end`, which itself is not skipped, matches."""
    while start < end:
        if meant.matches(start):
            return True
        start += step
    return False


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
