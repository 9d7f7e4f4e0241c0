"""Schedules as a person says them."""

from __future__ import annotations

import pytest

from gateway.protocol.cron import At, Cron, Every
from gateway.schedules.explain import duration, explain


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("0 9 * * 1-5", "every weekday at 09:00"), ("0 9 * * MON-FRI", "every weekday at 09:00"),
        ("30 17 * * *", "every day at 17:30"), ("0 9 * * 7", "every Sunday at 09:00"),
        ("5 8 * * sat", "every Saturday at 08:05"), ("* * * * *", "every minute"), ("*/5 * * * *", "every 5 minutes"),
        ("*/1 * * * *", "every minute"), ("0 * * * *", "every hour"), ("15 * * * *", "every hour at 15 minutes past"),
        ("0 0 9 * * *", "every day at 09:00"), ("@daily", "every day at 00:00"),
        ("*/7 * * * *", "every seventh minute of every hour"), ("0 0 L * *", "at 00:00 on the last day of every month"),
        ("0 0 * * 1#2", "at 00:00 on the second Monday of the month"), ("61 * * * *", "cron 61 * * * *"),
    ],
)  # fmt: skip
def test_expressions_in_words(expr: str, words: str):
    assert explain(Cron(expr)).startswith(words)
    assert explain(Cron(expr, "Europe/Berlin")).endswith(" Europe/Berlin")


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (1000, "second"), (60_000, "minute"), (600_000, "10 minutes"), (90_000, "1 minute 30 seconds"),
        (5_400_000, "1 hour 30 minutes"), (172_800_000, "2 days"), (1500, "1 second 500 ms"), (0, "0 ms"),
    ],
)  # fmt: skip
def test_paces_in_words(ms: int, words: str):
    assert duration(ms) == words
    assert explain(Every(max(ms, 1))).startswith("every ")


def test_times_in_words():
    assert explain(At("2027-03-28T09:00:00+02:00")) == "once at 2027-03-28 07:00 UTC"
    assert explain(At("soon")) == "once at soon"
