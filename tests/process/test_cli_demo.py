"""The demo as a person runs it: every kind of file, killed parts, Ctrl-C; and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import alive, eventually

PEERGATE = str(Path(sys.executable).with_name("peergate"))


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A temporary directory of its own, to see what stays in it; a short one, because it is to hold sockets."""
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        yield {**os.environ, "TMPDIR": place}


def demo(environment: dict[str, str], *words: str) -> tuple[int, Any, str]:
    ended = subprocess.run(
        [PEERGATE, "demo", *words, "--json"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert os.listdir(environment["TMPDIR"]) == []
    return ended.returncode, json.loads(ended.stdout or "null"), ended.stderr


def write_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "one.py").write_text("import os\nprint(os)\n")
    (folder / "copy.py").write_text("import os\nprint(os)\n")
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)) * 100)
    (folder / "a name\twith 'all' \"kinds\" of $(things)\n.txt").write_text("x")
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.txt")).write_text("not UTF-8")
    (folder / "link").symlink_to("one.py")
    os.mkfifo(folder / "pipe")


def test_every_kind_of_file_is_reported_and_every_hash_is_right(tmp_path: Path, environment: dict[str, str]):
    folder = tmp_path / "folder"
    write_files(folder)
    code, told, errors = demo(environment, str(folder))
    assert code == 0, errors
    by_path = {report["path"]: report for report in told["files"]}
    assert len(by_path) == 6
    assert by_path["one.py"]["sha256"] == hashlib.sha256((folder / "one.py").read_bytes()).hexdigest()
    assert by_path["binary"]["kind"] == "binary"
    assert "caf\udce9.txt" in by_path
    assert [group["paths"] for group in told["duplicates"]] == [["copy.py", "one.py"]]
    assert told["totals"]["files"] == 6
    assert told["pairingPrompts"] == 0
    assert told["leftOut"] == {"links": 1, "devices, pipes and sockets": 1}
    assert len({(worker["pid"], worker["start"]) for worker in told["workers"]}) == len(told["workers"]) >= 8
    assert told["latency"]["count"] == 6
    assert (told["mismatches"], told["missing"]) == ([], [])


def test_a_long_path_of_temporary_files_is_no_obstacle(tmp_path: Path, environment: dict[str, str]):
    long = tmp_path / ("x" * 100)
    (tmp_path / "none").mkdir()
    long.mkdir()
    code, told, errors = demo({**environment, "TMPDIR": str(long)}, str(tmp_path / "none"))
    assert code == 0, errors
    assert told["files"] == []


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "none").mkdir()
    code, told, errors = demo(environment, str(tmp_path / "none"))
    assert code == 0, errors
    assert told["files"] == []
    words = [PEERGATE, "demo", str(tmp_path / "none")]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "there are no files to survey here" in ended.stdout


def test_killing_the_gateway_and_the_zygote_changes_nothing(tmp_path: Path, environment: dict[str, str]):
    folder, runtime = tmp_path / "folder", tmp_path / "run"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"{number}\n" * number)
    words = [PEERGATE, "demo", str(folder), "--json", "--concurrency", "3", "--runtime-dir", str(runtime)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for kind in ("gateway", "zygote", "gateway"):
            eventually(lambda: ended_reports(runtime) >= 3, 30)
            os.kill(pid_of(runtime, kind), signal.SIGKILL)
        out, _ = process.communicate(timeout=90)
    told = json.loads(out)
    assert process.returncode == 0
    assert len(told["files"]) == 60
    assert (told["mismatches"], told["missing"], told["pairingPrompts"]) == ([], [], 0)
    assert all("error" not in report for report in told["files"])


def asked(runtime: Path, *words: str) -> Any:
    ended = subprocess.run(
        [PEERGATE, *words, "--runtime-dir", str(runtime), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    return json.loads(ended.stdout) if ended.returncode == 0 else None


def ended_reports(runtime: Path) -> int:
    runs = asked(runtime, "call", "runs.list", '{"state": "done"}')
    return len(runs["runs"]) if runs else 0


def pid_of(runtime: Path, kind: str) -> int:
    def find() -> int | None:
        return next((row["pid"] for row in asked(runtime, "ps") or () if row["kind"] == kind), None)

    return int(eventually(find))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, environment: dict[str, str], sent: signal.Signals):
    folder, runtime = tmp_path / "folder", tmp_path / "run"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(str(number))
    words = [PEERGATE, "demo", str(folder), "--runtime-dir", str(runtime)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: ended_reports(runtime) >= 2, 30)
        pids = [row["pid"] for row in asked(runtime, "ps")]
        process.send_signal(sent)
        _, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Traceback" not in err
    eventually(lambda: not any(map(alive, pids)))
    assert os.listdir(environment["TMPDIR"]) == []


def test_a_demo_that_is_killed_takes_its_system_with_it(tmp_path: Path, environment: dict[str, str]):
    folder, runtime = tmp_path / "folder", tmp_path / "run"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(str(number))
    words = [PEERGATE, "demo", str(folder), "--runtime-dir", str(runtime)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: ended_reports(runtime) >= 1, 30)
        pids = [row["pid"] for row in asked(runtime, "ps")]
        process.kill()
    eventually(lambda: not any(map(alive, pids)), 20)


def test_a_running_system_is_never_replaced(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "folder").mkdir()
    runtime, state = str(tmp_path / "run"), str(tmp_path / "state")
    words = [PEERGATE, "up", "--json", "--runtime-dir", runtime, "--state-dir", state]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as up:
        assert up.stdout is not None
        assert b'"ready": true' in up.stdout.readline()
        code, told, _ = demo(environment, str(tmp_path / "folder"), "--runtime-dir", runtime)
        assert asked(Path(runtime), "stop")["stopped"] is True
    assert code == 2
    assert "a system runs in" in told["error"]["message"]
