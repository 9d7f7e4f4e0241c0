"""Rules of a time zone that change on disk while the gateway runs: what lies ahead moves with them."""

from __future__ import annotations

import shutil
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.jobs import open_jobs


@pytest.fixture
def places(tmp_path):
    """Zone files of the test's own: Europe/Berlin with the rules of Tokyo for a while, and the real ones beside it."""
    before = zoneinfo.TZPATH
    real = next(Path(place) for place in before if (Path(place) / "Asia/Tokyo").exists())
    (tmp_path / "Europe").mkdir()
    shutil.copy(real / "Asia/Tokyo", tmp_path / "Europe/Berlin")
    shutil.copy(real / "Europe/Berlin", tmp_path / "real")
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


def milliseconds(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


async def test_what_lies_ahead_moves_with_the_rules_of_its_zone(places, mock_clock):
    noon = {"kind": "cron", "expr": "0 12 * * *", "tz": "Europe/Berlin"}
    async with open_jobs(places) as box:
        job = await box.add(schedule=noon)
        assert job["nextRunAtMs"] == milliseconds(2027, 1, 16, 3)
        (places / "real").rename(places / "Europe/Berlin")
        await box.pass_time(601)
        assert (await box.cron.get(job["id"]))["nextRunAtMs"] == milliseconds(2027, 1, 15, 11)
