"""The log: rotation, levels, a sink that is stuck, a disk that is full."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from supervisor.logfile import QUEUE, Log, RotatingFile, Sink, as_json, as_text


def record(msg: str = "hello", **fields: object) -> dict[str, object]:
    return {"ts": 1, "level": "info", "logger": "t", "msg": msg, **fields}


def test_a_full_file_moves_on_and_the_oldest_goes(tmp_path: Path):
    file = RotatingFile(str(tmp_path / "logs" / "log"), max_bytes=10, backups=2)
    for number in range(5):
        file.write_line(f"line {number}")
    file.close()
    texts = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert texts == {"log": "line 4\n", "log.1": "line 3\n", "log.2": "line 2\n"}
    assert (tmp_path / "logs" / "log").stat().st_mode & 0o777 == 0o600


def test_without_backups_the_file_starts_again(tmp_path: Path):
    file = RotatingFile(str(tmp_path / "log"), max_bytes=10, backups=0)
    file.write_line("line 1")
    file.write_line("line 2")
    file.close()
    assert (tmp_path / "log").read_text() == "line 2\n"


def test_a_file_that_cannot_move_on_writes_into_nobody_elses(tmp_path: Path):
    file = RotatingFile(str(tmp_path / "logs" / "log"), max_bytes=10, backups=1)
    file.write_line("line 1")
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(FileNotFoundError):
        file.write_line("line 2")
    with (tmp_path / "other").open("w"):  # it would get the number of a descriptor that was closed
        with pytest.raises(FileNotFoundError):
            file.write_line("line 3")
        assert (tmp_path / "other").read_text() == ""
    (tmp_path / "logs").mkdir()
    file.write_line("line 4")
    file.close()
    assert (tmp_path / "logs" / "log").read_text() == "line 4\n"


def test_a_record_below_the_level_is_not_written(tmp_path: Path):
    log = Log("warn", stderr=False)
    log.open_file(str(tmp_path / "log"), 100_000, 0)
    log.info("quiet")
    log.warning("loud", agent="main")
    log.level = "debug"
    log.write("debug", "x", "fine")
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["msg"], line.get("agent")) for line in lines] == [("loud", "main"), ("fine", None)]


def test_a_field_may_have_any_name(tmp_path: Path):
    log = Log(stderr=False)
    log.open_file(str(tmp_path / "log"), 100_000, 0)
    log.write("info", "agent", "hello", **{"self": 1, "record": 2})
    log.close()
    told = json.loads((tmp_path / "log").read_text())
    assert (told["msg"], told["self"], told["record"]) == ("hello", 1, 2)


def test_a_stuck_sink_holds_up_nobody_and_says_what_it_lost():
    go, written = threading.Event(), []

    def slowly(line: str) -> None:
        go.wait(10)
        written.append(line)

    sink = Sink("stuck", slowly, as_json)
    for number in range(QUEUE + 100):
        sink.put(record(str(number)))  # returns at once, every time
    go.set()
    sink.close()
    lost = next(line for line in written if "dropped" in line)
    assert int(json.loads(lost)["msg"].split()[0]) in (99, 100)


def test_a_full_disk_costs_its_records_and_is_told_when_it_has_room_again():
    full, written = [True], []

    def write(line: str) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        written.append(json.loads(line)["msg"])

    sink = Sink("full", write, as_json)
    sink.put(record("lost 1"))
    sink.put(record("lost 2"))
    while sink._queue:
        pass
    full[0] = False
    sink.put(record("kept"))
    sink.close()
    assert written[-1] == "kept"
    assert written[0].split()[0] in ("1", "2")


@pytest.mark.parametrize(
    ("said", "shown"), [("a\x1b[31mb", "a\\x1b[31mb"), ("zwei\nZeilen", "zwei\nZeilen"), ("tab\there", "tab\there")]
)
def test_a_terminal_is_not_given_what_it_would_obey(said: str, shown: str):
    assert shown in as_text(record(said))


def test_a_line_for_people_names_the_details():
    assert as_text(record("born", pid=7, agent=None)).endswith("t: born  [pid=7]")
