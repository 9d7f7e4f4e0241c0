"""Slots of schedules, judged by looking at every minute there is, across every kind of change of the clock."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.protocol.cron import At, Cron, Every, OnExit, Stream
from gateway.schedules.schedule import (
    BadSchedule,
    Calendar,
    Once,
    Pace,
    Timetable,
    count_slots,
    default_stagger,
    newest_slots,
    parse_at,
    parse_expression,
    slots,
    stagger_offset,
    timetable_of,
)
from tests.gateway.schedules.reference import instants, utc

# A zone, and days around a change of its clock: forward, back, by half an hour, at midnight, over a whole day.
CHANGES = [
    ("Europe/Berlin", "2027-03-27T12:00", 2), ("Europe/Berlin", "2026-10-24T12:00", 2),
    ("America/New_York", "2027-03-13T12:00", 2), ("America/New_York", "2026-10-31T12:00", 2),
    ("Australia/Lord_Howe", "2026-10-03T06:00", 2), ("Australia/Lord_Howe", "2027-04-03T06:00", 2),
    ("America/Havana", "2026-10-31T12:00", 2), ("America/Santiago", "2026-09-05T12:00", 2),
    ("Asia/Beirut", "2026-10-24T12:00", 2), ("Africa/Casablanca", "2027-02-06T12:00", 2),
    ("Pacific/Apia", "2011-12-29T12:00", 3), ("Asia/Kolkata", "2027-01-01T00:00", 1), ("UTC", "2027-02-27T12:00", 2),
]  # fmt: skip
FIXED_MINUTES = ["0", "30", "15,45", "59", "0-10/5"]
MINUTES = ["*", "*/7", "*/30", *FIXED_MINUTES]
HOURS = ["*", "*/2", "2", "0", "1,2,3", "0-4", "23", "2-22/5"]
DAYS = [("*", "*"), ("*/2", "*"), ("*", "MON-FRI"), ("28", "SUN"), ("L", "*"), ("*", "7#1"), ("*", "0L"), ("1,29", "*")]


def milliseconds(text: str) -> int:
    return round(utc(text).timestamp() * 1000)


def table_of(expr: str, zone: str = "UTC") -> Timetable:
    return timetable_of(Cron(expr, zone), UTC if zone == "UTC" else ZoneInfo(zone), 0)


@pytest.mark.parametrize(("zone", "begin", "days"), CHANGES)
def test_every_expression_means_the_instants_that_looking_at_every_minute_finds(zone: str, begin: str, days: int):
    start = utc(begin)
    end = start + timedelta(days=days)
    rng = random.Random(f"{zone} {begin}")
    shapes = [(minute, hour, "*", "*") for minute, hour in itertools.product(MINUTES, HOURS)]
    shapes += [(rng.choice(MINUTES), rng.choice(HOURS), *days) for days in DAYS]
    wrong = {}
    for minute, hour, day, weekday in shapes:
        expr = f"{minute} {hour} {day} * {weekday}"
        wanted = list(instants(expr, ZoneInfo(zone), start, end))
        found = list(slots(table_of(expr, zone), milliseconds(begin), round(end.timestamp() * 1000)))
        if found != wanted:
            wrong[expr] = set(found) ^ set(wanted)
    assert wrong == {}


@pytest.mark.parametrize(
    "expr", ["*/20 * * * * *", "0 30 2 * * *", "15 59 1,2 * * *", "*/30 */10 * * * *", "10,50 0 2-3 * * *"]
)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_expressions_with_seconds_mean_what_looking_at_every_second_finds(expr: str, zone: str):
    begins = {"Europe/Berlin": ("2027-03-27T23:00", "2026-10-24T22:00")}
    for begin in begins.get(zone, ("2026-10-03T13:00", "2027-04-03T13:00")):
        start = utc(begin)
        end = start + timedelta(hours=5)
        wanted = list(instants(expr, ZoneInfo(zone), start, end))
        assert list(slots(table_of(expr, zone), milliseconds(begin), round(end.timestamp() * 1000))) == wanted


@pytest.mark.parametrize("expr", ["30 2 * * *", "*/30 * * * *", "0 * * * *", "10 0-3 * * *", "*/7 1-3 * * *"])
@pytest.mark.parametrize(("zone", "begin", "days"), CHANGES)
def test_the_next_slot_is_the_same_from_wherever_one_asks(expr: str, zone: str, begin: str, days: int):
    """Nothing is remembered between two questions, so a clock that jumps finds the slots it would have come by."""
    first, last = milliseconds(begin), milliseconds(begin) + days * 86_400_000
    table = table_of(expr, zone)
    known = list(slots(table, first, last))
    rng = random.Random(begin)
    for _ in range(60):
        asked = rng.randrange(first, last)
        wanted = next((slot for slot in known if slot > asked), None)
        assert wanted is None or table.after(asked) == wanted


# The table of docs/cron.md.
CASES = {
    "skipped": ("30 2 * * *", "America/New_York", "2027-03-13T12:00", 1, ["2027-03-14T07:00"]),
    "skipped, several": ("0,30 2 * * *", "America/New_York", "2027-03-13T12:00", 1, ["2027-03-14T07:00"]),
    "repeated": ("30 1 * * *", "America/New_York", "2026-10-31T12:00", 1, ["2026-11-01T05:30"]),
    "pace across repeated": (
        "*/30 * * * *", "America/New_York", "2026-11-01T05:15", 0.1,
        ["2026-11-01T05:30", "2026-11-01T06:00", "2026-11-01T06:30", "2026-11-01T07:00", "2026-11-01T07:30"],
    ),
    "hourly across repeated": (
        "0 * * * *", "America/New_York", "2026-11-01T04:30", 0.1,
        ["2026-11-01T05:00", "2026-11-01T06:00"],
    ),
    "hourly across skipped": (
        "0 * * * *", "America/New_York", "2027-03-14T05:30", 0.1,
        ["2027-03-14T06:00", "2027-03-14T07:00"],
    ),
    "half an hour skipped": ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", 0.5, ["2026-10-03T15:30"]),
    "a day skipped": ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00", 3, ["2011-12-30T10:00"]),
    "seconds are fixed as well": ("0 30 1 * * *", "America/New_York", "2026-10-31T12:00", 1, ["2026-11-01T05:30"]),
    "13th or Friday": ("0 0 13 * FRI", "UTC", "2026-11-01T00:00", 14, ["2026-11-06T00:00", "2026-11-13T00:00"]),
    "last day": ("0 0 L * *", "UTC", "2027-02-01T00:00", 40, ["2027-02-28T00:00"]),
    "second Monday": ("0 0 * * 1#2", "UTC", "2027-02-01T00:00", 27, ["2027-02-08T00:00"]),
    "last Friday": ("0 0 * * 5L", "UTC", "2027-02-01T00:00", 27, ["2027-02-26T00:00"]),
    "seven is Sunday": ("0 0 * * 7", "UTC", "2027-02-01T00:00", 7, ["2027-02-07T00:00"]),
    "leap day": ("0 0 29 2 *", "UTC", "2027-01-01T00:00", 500, ["2028-02-29T00:00"]),
    "daily": ("@daily", "UTC", "2027-01-01T12:00", 1, ["2027-01-02T00:00"]),
    "question mark": ("0 0 12 ? * MON", "UTC", "2027-02-01T00:00", 6, ["2027-02-01T12:00"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_cases_of_the_page(case: str):
    expr, zone, begin, days, wanted = CASES[case]
    until = milliseconds(begin) + round(days * 86_400_000)
    assert list(slots(table_of(expr, zone), milliseconds(begin), until)) == [milliseconds(one) for one in wanted]


def test_a_pace_counts_from_its_anchor_whatever_the_clock_does():
    table = Pace(1000, 300)
    assert [table.after(ms) for ms in (0, 999, 1000, 1299, 1300, 10**12)] == [
        1000,
        1000,
        1300,
        1300,
        1600,
        10**12 + 300,
    ]


def test_nothing_runs_more_often_than_once_a_second():
    assert timetable_of(Every(1, 0), UTC, 0) == Pace(0, 1000, begins=False)


def test_a_job_without_an_anchor_counts_from_when_it_was_made():
    assert timetable_of(Every(60_000), UTC, 123) == Pace(123, 60_000, begins=False)
    assert timetable_of(Every(60_000, 500), UTC, 123) == Pace(500, 60_000, begins=True)


def test_a_pace_that_did_not_begin_in_the_future_goes_on_before_its_anchor():
    assert [Pace(1000, 300, begins=False).after(ms) for ms in (0, 99, 100, 999)] == [100, 100, 400, 1000]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2027-03-28T09:00:00Z", milliseconds("2027-03-28T09:00")),
        ("2027-03-28T09:00:00+02:00", milliseconds("2027-03-28T07:00")),
        ("2027-03-28T09:00", milliseconds("2027-03-28T09:00")),
        ("2027-03-28", milliseconds("2027-03-28T00:00")),
        ("2027-03-28T09:00:00.250Z", milliseconds("2027-03-28T09:00") + 250),
        ("1806224400000", 1_806_224_400_000),
        (1_806_224_400_000, 1_806_224_400_000),
    ],
)
def test_a_time_is_read_as_iso_or_as_milliseconds(text: str | int, ms: int):
    assert parse_at(text) == ms
    assert timetable_of(At(text), UTC, 0) == Once(ms)


@pytest.mark.parametrize("text", ["20m", "tomorrow", "2027-02-30T00:00:00Z", "", "999999999999999", "1969-01-01"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(BadSchedule, match=r"schedule\.at"):
        parse_at(text)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("* * * *", "has 4 fields"), ("* * * * * * *", "has 7 fields"),
        ("61 * * * *", "bad minute; allowed: 0 to 59"),
        ("0 24 * * *", "bad hour; allowed: 0 to 23"), ("0 0 31 2 *", "bad day-of-month; allowed: 1 to 31 in"),
        ("0 0 15W * *", "bad day-of-month"),
        ("0 0 * * 8", "bad day-of-week; allowed: 0 to 7"), ("0 0 * FOO *", "bad month; allowed: 1 to 12"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 * * #2", "day-of-week|cannot be read"), ("", "has 0 fields|has 1 fields"), ("@never", "has 1 fields"),
        ("0 0 LW/x * *", "day-of-month|cannot be read"), ("5-1 * * * *", "bad minute"),
    ],
)  # fmt: skip
def test_an_expression_that_means_nothing_is_refused_with_its_field(expr: str, why: str):
    with pytest.raises(BadSchedule, match=why):
        parse_expression(expr)


@pytest.mark.parametrize(("schedule", "kind"), [(OnExit("x"), "on-exit"), (Stream(("x",)), "stream")])
def test_kinds_that_are_not_served_are_refused_by_name(schedule: OnExit | Stream, kind: str):
    with pytest.raises(BadSchedule, match=f'"{kind}" is not served'):
        timetable_of(schedule, UTC, 0)


@pytest.mark.parametrize(
    ("expr", "stagger"),
    [
        ("0 * * * *", 300_000), ("0 */2 * * *", 300_000), ("0 0 * * * *", 300_000), ("0 1,*/4 * * *", 300_000),
        ("0 9 * * *", 0), ("30 * * * *", 0), ("* * * * *", 0), ("0,30 * * * *", 0), ("5 0 * * * *", 0),
        ("0 1,2 * * *", 0), ("0 *,x * * *", 0), ("00 * * * *", 0),
    ],
)  # fmt: skip
def test_only_the_top_of_recurring_hours_is_spread(expr: str, stagger: int):
    assert default_stagger(expr) == stagger


def test_a_job_is_always_moved_by_the_same_part_of_its_stagger():
    assert stagger_offset("job", 0) == 0
    assert stagger_offset("job", 300_000) == 0x5E8C9902 % 300_000  # the beginning of its SHA-256
    assert len({stagger_offset(f"job{index}", 300_000) for index in range(50)}) > 45


@pytest.mark.parametrize("expr", ["* * * * * *", "*/5 * * * *", "0 9 * * MON", "0 0 29 2 *"])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_the_newest_slots_are_the_last_of_all(expr: str, most: int):
    table, until = table_of(expr, "Europe/Berlin"), milliseconds("2027-03-28T06:00") + 777
    for minutes in (1, 90, 60 * 30):
        after = until - minutes * 60_000
        every = list(slots(table, after, until)) if expr != "* * * * * *" or minutes < 100 else None
        if every is not None:
            assert newest_slots(table, after, until, most) == every[-most:]
            assert count_slots(table, after, until, 100) == min(100, len(every))


def test_the_newest_slots_of_years_are_found_at_once():
    table, until = table_of("* * * * * *", "Europe/Berlin"), milliseconds("2027-03-28T06:00")
    assert newest_slots(table, 0, until, 2) == [until - 1000, until]
    assert newest_slots(Pace(0, 1000), 0, until, 2) == [until - 1000, until]
    assert newest_slots(Pace(5000, 1000), 0, 6500, 5) == [5000, 6000]
    assert count_slots(Pace(0, 1000), 0, until, 1000) == 1000
    assert newest_slots(Once(5), 0, until, 2) == [5]
    assert isinstance(table, Calendar)
