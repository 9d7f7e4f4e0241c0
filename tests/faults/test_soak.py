"""What counts as flat."""

from __future__ import annotations

import pytest

from tests.faults.soak import Sample, judge, slope_per_hour


def samples(hours: float, grows_by: float, noise: float = 0.0) -> list[Sample]:
    """An hour's worth of samples a minute apart, or less."""
    count = max(3, round(hours * 60))
    return [
        Sample(3600 * hours * n / (count - 1), 50 + grows_by * n / (count - 1) + noise * (-1) ** n, 20)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("hours", "grows_by", "flat"),
    [(1.0, 0.0, True), (1.0, 0.9, True), (1.0, 1.1, False), (0.1, 0.4, True), (0.1, 0.6, False), (10.0, 9.0, True)],
)
def test_a_megabyte_an_hour_is_too_much_and_half_a_megabyte_in_all_is_noise(hours, grows_by, flat):
    verdict, slope, grown = judge(samples(hours, grows_by))
    assert verdict is flat
    assert slope == pytest.approx(grows_by / hours)
    assert grown == pytest.approx(grows_by)


def test_noise_is_no_slope():
    assert abs(slope_per_hour(samples(1.0, 0.0, noise=0.5))) < 0.1


def test_too_few_samples_say_nothing():
    assert slope_per_hour([]) == 0.0
    assert judge([]) == (True, 0.0, 0.0)
