"""A schedule in words: "every weekday at 09:00 Europe/Berlin". Pure.

Owns the shapes that have short words; everything else is said by cronsim."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

from cronsim import CronSim, CronSimError

from gateway.protocol.cron import At, Cron, Every, Schedule
from gateway.schedules.schedule import BadSchedule, parse_at, parse_expression

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))
_DAYS = {"*": "day", "1-5": "weekday", "MON-FRI": "weekday", "0,6": "Saturday and Sunday", "6,0": "Saturday and Sunday"}
_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = {name[:3].upper(): str(index) for index, name in enumerate(_NAMES[:7])}


def explain(schedule: Schedule) -> str:
    """The schedule as a person says it."""
    match schedule:
        case At():
            try:
                return f"once at {spoken(parse_at(schedule.at), UTC)}"
            except BadSchedule:
                return f"once at {schedule.at}"
        case Every():
            return f"every {duration(schedule.every_ms)}"
        case Cron():
            zone = f" {schedule.tz}" if schedule.tz else ""
            return f"{_explain_cron(schedule.expr)}{zone}"
        case _:
            return "when something outside happens"


def spoken(ms: int, zone: tzinfo) -> str:
    """An instant on the clocks of a zone."""
    when = datetime.fromtimestamp(ms / 1000, zone)
    return when.strftime("%Y-%m-%d %H:%M:%S" if when.second else "%Y-%m-%d %H:%M") + f" {when.tzname() or ''}".rstrip()


def duration(ms: int) -> str:
    """Milliseconds in the largest units that say them exactly."""
    parts: list[str] = []
    for size, unit in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}" if count > 1 or parts else unit)
    if ms:
        parts.append(f"{ms} ms")
    text = " ".join(parts) or "0 ms"
    return f"1 {text}" if len(parts) > 1 and not text[0].isdigit() else text


def _explain_cron(text: str) -> str:
    try:
        expr = parse_expression(text)
    except BadSchedule:
        return f"cron {text}"
    return _short(expr) or _by_cronsim(expr)


def _short(expr: str) -> str | None:
    fields = expr.upper().split()
    if len(fields) == 6:
        if fields[0] != "0":
            return None
        fields = fields[1:]
    minute, hour, day, month, weekday = fields
    if (day, month) != ("*", "*"):
        return None
    if (hour, weekday) == ("*", "*"):
        return _every_minutes(minute)
    days = _days(weekday)
    if days is None or not re.fullmatch("[0-9]{1,2}", minute) or not re.fullmatch("[0-9]{1,2}", hour):
        return None
    return f"every {days} at {int(hour):02}:{int(minute):02}"


def _every_minutes(minute: str) -> str | None:
    if minute == "*":
        return "every minute"
    if hit := re.fullmatch(r"\*/([0-9]+)", minute):
        step = int(hit[1])
        return "every minute" if step == 1 else f"every {step} minutes" if 60 % step == 0 else None
    if re.fullmatch("[0-9]{1,2}", minute):
        return "every hour" if int(minute) == 0 else f"every hour at {int(minute)} minutes past"
    return None


def _days(weekday: str) -> str | None:
    if weekday in _DAYS:
        return _DAYS[weekday]
    number = _SHORT.get(weekday, weekday)
    return _NAMES[int(number)] if re.fullmatch("[0-7]", number) else None


def _by_cronsim(expr: str) -> str:
    try:
        said: str = CronSim(expr, datetime(1970, 1, 1)).explain()
    except (CronSimError, ValueError, KeyError, IndexError):
        return f"cron {expr}"
    return said[:1].lower() + said[1:]
