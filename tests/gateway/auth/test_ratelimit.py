"""How often an address may fail, what a lockout is, and what the count costs."""

from __future__ import annotations

import pytest

from gateway.auth.ratelimit import (
    DEVICE_TOKEN,
    LONGEST_DELAY_MS,
    LOOPBACK,
    SHARED_SECRET,
    RateLimiter,
    Rule,
    bucket_of,
    retry_after,
)

RULE = Rule(max_attempts=3, window_ms=1000, lockout_ms=5000)
HERE = "192.0.2.1"


def fail(limiter: RateLimiter, *times: int, bucket: str = HERE) -> None:
    for now in times:
        limiter.failed(SHARED_SECRET, bucket, now)


def test_the_last_allowed_failure_locks_until_the_lockout_is_over():
    limiter = RateLimiter(RULE)
    fail(limiter, 0, 10)
    assert limiter.locked_ms(SHARED_SECRET, HERE, 20) == 0
    fail(limiter, 20)
    assert [limiter.locked_ms(SHARED_SECRET, HERE, now) for now in (20, 5019, 5020)] == [5000, 1, 0]


def test_failures_that_left_the_window_no_longer_count():
    limiter = RateLimiter(RULE)
    fail(limiter, 0, 10, 1005, 1011)
    assert limiter.locked_ms(SHARED_SECRET, HERE, 1011) == 0
    fail(limiter, 1012)
    assert limiter.locked_ms(SHARED_SECRET, HERE, 1012) == 5000


def test_after_a_lockout_everything_starts_anew():
    limiter = RateLimiter(RULE)
    fail(limiter, 0, 0, 0, 5000, 5000)
    assert limiter.locked_ms(SHARED_SECRET, HERE, 5000) == 0


def test_one_success_forgives_what_was_wrong_before():
    limiter = RateLimiter(RULE)
    fail(limiter, 0, 1)
    limiter.succeeded(SHARED_SECRET, HERE)
    fail(limiter, 2, 3)
    assert limiter.locked_ms(SHARED_SECRET, HERE, 3) == 0


def test_kinds_of_secret_and_addresses_are_counted_apart():
    limiter = RateLimiter(RULE)
    fail(limiter, 0, 0, 0)
    assert limiter.locked_ms(DEVICE_TOKEN, HERE, 0) == 0
    assert limiter.locked_ms(SHARED_SECRET, "192.0.2.2", 0) == 0


def test_loopback_is_not_locked_out_and_waits_ever_longer():
    limiter = RateLimiter(RULE)
    waits = [limiter.failed(SHARED_SECRET, LOOPBACK, 0) for _ in range(40)]
    assert waits[:6] == [250, 500, 1000, 2000, 4000, LONGEST_DELAY_MS]
    assert set(waits[5:]) == {LONGEST_DELAY_MS}
    assert limiter.locked_ms(SHARED_SECRET, LOOPBACK, 0) == 0
    assert limiter.failed(SHARED_SECRET, LOOPBACK, 1001) == 250
    assert limiter.failed(SHARED_SECRET, HERE, 0) == 0


def test_loopback_is_locked_out_where_the_operator_wants_it():
    limiter = RateLimiter(Rule(3, 1000, 5000, exempt_loopback=False))
    fail(limiter, 0, 0, 0, bucket=LOOPBACK)
    assert limiter.locked_ms(SHARED_SECRET, LOOPBACK, 0) == 5000


def test_a_full_table_forgets_who_has_been_quiet_longest_and_is_not_locked():
    limiter = RateLimiter(RULE, max_entries=2)
    fail(limiter, 0, 0, bucket="a")
    fail(limiter, 0, 0, 0, bucket="b")
    fail(limiter, 0, bucket="c")
    fail(limiter, 0, 0, bucket="a")  # counted from one again
    assert [limiter.locked_ms(SHARED_SECRET, name, 0) for name in "abc"] == [0, 5000, 0]


def test_when_all_it_remembers_is_locked_nobody_new_is_heard_until_the_first_is_free():
    limiter = RateLimiter(RULE, max_entries=2)
    fail(limiter, 0, 0, 0, bucket="a")
    fail(limiter, 100, 100, 100, bucket="b")
    fail(limiter, 100, bucket="new")
    assert limiter.locked_ms(SHARED_SECRET, "new", 200) == 4800
    assert limiter.locked_ms(SHARED_SECRET, LOOPBACK, 200) == 0
    assert limiter.locked_ms(SHARED_SECRET, "new", 5000) == 0
    assert limiter.locked_ms(DEVICE_TOKEN, "new", 200) == 0


@pytest.mark.parametrize(
    ("address", "origin", "bucket"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "https://a.example", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", None, "fe80::/64"),
        ("127.0.0.1", None, LOOPBACK),
        ("127.8.8.8", None, LOOPBACK),
        ("::1", None, LOOPBACK),
        ("::ffff:127.0.0.1", None, LOOPBACK),
        ("127.0.0.1", "https://a.example", "browser-origin:https://a.example"),
        ("what", None, "what"),
    ],
)
def test_which_count_an_address_belongs_to(address: str, origin: str | None, bucket: str):
    assert bucket_of(address, origin) == bucket


@pytest.mark.parametrize(("milliseconds", "value"), [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (300_000, "300")])
def test_retry_after_is_in_whole_seconds(milliseconds: int, value: str):
    assert retry_after(milliseconds) == value
