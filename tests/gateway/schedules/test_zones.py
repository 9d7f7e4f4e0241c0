"""Time zones by name, and rules that change while the gateway runs."""

from __future__ import annotations

import shutil
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.schedules.schedule import BadSchedule
from gateway.schedules.zones import Zones, host_zone

NOON = datetime(2027, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Zone files of the test's own: Europe/Berlin with the rules of Tokyo for a while."""
    before = zoneinfo.TZPATH
    (tmp_path / "Europe").mkdir()
    for place in before:
        if (Path(place) / "Asia/Tokyo").exists():
            shutil.copy(Path(place) / "Asia/Tokyo", tmp_path / "Europe/Berlin")
            shutil.copy(Path(place) / "Europe/Berlin", tmp_path / "real")
            break
    else:
        pytest.skip("the system has no zone files")
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


def hour(zones: Zones) -> int:
    return NOON.astimezone(zones.get("Europe/Berlin")).hour


def test_new_rules_of_a_zone_are_noticed_and_used(places):
    zones = Zones()
    assert hour(zones) == 21
    assert zones.refresh() is False
    (places / "real").rename(places / "Europe/Berlin")
    assert hour(zones) == 21
    assert zones.refresh() is True
    assert hour(zones) == 14
    assert zones.refresh() is False


def test_a_zone_may_be_asked_for_while_the_files_are_looked_at(places, monkeypatch):
    zones = Zones()
    zones.get("Europe/Berlin")
    shutil.copy(places / "real", places / "Europe/Paris")

    stat = Path.stat

    def stat_and_ask(path: Path, **how: bool) -> object:
        if path.name == "Berlin":
            zones.get("Europe/Paris")  # as the loop does while the thread waits for the disk
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", stat_and_ask)
    assert zones.refresh() is False


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 300])
def test_what_is_no_zone_is_refused(name: str):
    with pytest.raises(BadSchedule, match="unknown"):
        Zones().get(name)


def test_the_hosts_zone_is_the_environments_then_the_systems_then_utc(monkeypatch, tmp_path):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert host_zone() == "Asia/Tokyo"
    monkeypatch.setenv("TZ", ":Asia/Kolkata")
    assert host_zone() == "Asia/Kolkata"
    monkeypatch.setenv("TZ", "nonsense")
    assert host_zone() == "UTC"
    monkeypatch.delenv("TZ")
    monkeypatch.setattr("gateway.schedules.zones.LOCAL", tmp_path / "localtime")
    monkeypatch.setattr("gateway.schedules.zones.NAMED", tmp_path / "timezone")
    assert host_zone() == "UTC"
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert host_zone() == "Europe/Berlin"
    (tmp_path / "localtime").unlink()
    (tmp_path / "localtime").write_bytes(b"a copy")
    assert host_zone() == "UTC"
    for written, zone in (("Asia/Tokyo\n", "Asia/Tokyo"), ("../../etc/passwd", "UTC"), ("", "UTC")):
        (tmp_path / "timezone").write_text(written)
        assert host_zone() == zone
