"""The real supervisor with a tiny gateway: start, restart, reload, upgrade, stop, and the ways a start is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import alive, eventually
from tests.support.tiny_system import TARGETS, Tiny, agents, tiny

METHODS = ["zygote", "exec"]


@pytest.fixture
def system():
    with tiny(agents("wait")) as started:
        yield started


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_ready_system_tells_what_it_is_and_leaves_nothing_behind(system: Tiny):
    status = system.status()
    assert (status["state"], status["generation"], status["epoch"]) == ("ready", 1, 7)
    assert status["pid"] == system.pid
    assert set(status["doors"]) == {"agents", "operator"}
    assert len({address.rpartition(":")[2] for address in status["addresses"]}) == 1, "one port for all addresses"
    assert (system.runtime / "status.json").stat().st_mode & 0o777 == 0o644
    assert system.state.stat().st_mode & 0o777 == 0o700
    assert system.runtime.stat().st_mode & 0o777 == 0o711
    assert [row["kind"] for row in system.ask("processes")][:3] == ["supervisor", "zygote", "gateway"]
    children = children_of(system.pid)
    started = time.monotonic()
    assert system.stop() == 0
    assert time.monotonic() - started < 4
    assert not [pid for pid in children if alive(pid)]
    assert list(system.runtime.iterdir()) == []


def test_the_gateways_own_records_reach_the_log_with_its_pid(system: Tiny):
    record = system.wait_for_record("descriptors")
    assert (record["logger"], record["pid"]) == ("tiny", system.pid_of("gateway"))


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_gateway_comes_back_while_clients_wait_in_the_queue_and_workers_live_on(method: str):
    with tiny({**agents("wait"), "supervisor": {"spawn": {"method": method}}}) as system:
        worker = system.spawn("wait")
        os.kill(system.pid_of("gateway"), signal.SIGKILL)
        assert system.ask("generation") == 2  # connected before there was anybody to accept
        (live,) = system.notes("Live")
        assert [row["spawn"] for row in live["rows"]] == [worker["spawn"]]
        assert alive(worker["pid"])


def test_a_killed_zygote_stops_nobody_and_the_next_worker_comes_from_the_next_one(system: Tiny):
    worker, zygote = system.spawn("wait"), system.pid_of("zygote")
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: system.status()["zygote"]["state"] == "ready" and system.pid_of("zygote") != zygote)
    assert system.spawn("wait", "agent:wait:other")["t"] == "Spawned"
    assert system.ask("generation") == 1
    assert alive(worker["pid"])


def test_a_gateway_that_talks_nonsense_is_replaced(system: Tiny):
    system.ask("nonsense")
    eventually(lambda: system.ask("generation") == 2)
    assert "is broken" in system.wait_for_record("is broken")["msg"]


def test_a_gateway_whose_configuration_is_wrong_ends_the_system_with_78(system: Tiny):
    (system.state / "exit-78").touch()
    os.kill(system.pid_of("gateway"), signal.SIGKILL)
    assert system.process is not None
    assert system.process.wait(20) == 78


def test_a_gateway_that_dies_while_starting_is_tried_again_until_it_works(system: Tiny):
    broken = system.state / "exit-1"
    broken.touch()
    os.kill(system.pid_of("gateway"), signal.SIGKILL)
    eventually(lambda: system.status()["gateway"]["starts"] >= 3)
    broken.unlink()
    assert system.ask("generation") >= 3


def test_a_second_supervisor_is_refused_and_told_who_has_the_directory(system: Tiny):
    second = Tiny(agents("wait"))
    try:
        for runtime, state in ((second.runtime, system.state), (system.runtime, second.state)):
            command = [
                sys.executable,
                "-I",
                "-m",
                "supervisor",
                "--runtime-dir",
                str(runtime),
                "--state-dir",
                str(state),
            ]
            refused = subprocess.run(
                [*command, "--config", str(second.config)], capture_output=True, text=True, timeout=20
            )
            assert refused.returncode == 1
            assert "is in use" in refused.stderr
            assert str(system.pid) in refused.stderr or runtime == system.runtime
        assert system.ask("generation") == 1
    finally:
        second.remove()


def test_one_that_waits_gets_the_directory_when_the_first_is_gone(system: Tiny):
    reader, writer = os.pipe()
    command = [sys.executable, "-I", "-m", "supervisor", "--runtime-dir", str(system.runtime), "--state-dir"]
    command += [str(system.state), "--config", str(system.config), "--wait", "--ready-fd", str(writer), *TARGETS]
    waiting = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        assert system.process is not None
        system.process.kill()  # the kernel gives its locks back
        system.process.wait()
        assert os.read(reader, 64) == b"ready\n"
        assert system.status()["pid"] == waiting.pid
    finally:
        waiting.terminate()
        assert waiting.wait(20) == 0
        os.close(reader)


@pytest.mark.parametrize(("text", "words"), [("{", "peergate"), ('{"gatewy": {}}', "gateway")])
def test_a_wrong_configuration_is_explained_and_ends_with_78(text: str, words: str):
    system = Tiny()
    system.config.write_text(text)
    try:
        with pytest.raises(AssertionError, match="exit 78"):
            system.begin()
        assert words in system.log()
        assert "Traceback" not in system.log()
    finally:
        system.remove()


def test_a_state_directory_others_may_write_is_refused_with_the_fix():
    system = Tiny()
    system.state.mkdir()
    system.state.chmod(0o777)
    try:
        with pytest.raises(AssertionError, match="exit 78"):
            system.begin()
        assert "chmod" in system.log()
    finally:
        system.remove()


def test_a_reload_reaches_the_gateway_and_new_workers_and_a_wrong_one_changes_nothing(system: Tiny):
    assert system.spawn("late")["t"] == "SpawnFailed"
    system.config.write_text("{ broken")
    system.signal(signal.SIGHUP)
    system.wait_for_record("was not reloaded")
    assert system.notes("Reload") == []
    assert system.wait_for_note("Notice", code="CONFIG_INVALID")["level"] == "error"
    system.config.write_text(
        json.dumps({"agents": {"entries": {"late": {"runtime": {"type": "command", "argv": ["wait"]}}}}})
    )
    system.signal(signal.SIGHUP)
    system.wait_for_note("Reload")
    assert system.spawn("late")["t"] == "Spawned"
    assert system.ask("generation") == 1


@pytest.mark.parametrize("method", METHODS)
def test_an_upgrade_replaces_gateway_and_zygote_on_the_same_sockets_and_refuses_nobody(method: str):
    with tiny({**agents("wait"), "supervisor": {"spawn": {"method": method}}}) as system:
        worker = system.spawn("wait")
        before, inode = system.status(), system.operator.stat().st_ino
        failures: list[OSError] = []
        done = threading.Event()

        def knock() -> None:
            while not done.is_set():
                try:
                    system.ask("generation")
                except OSError as error:
                    failures.append(error)

        knocking = threading.Thread(target=knock)
        knocking.start()
        system.signal(signal.SIGUSR2)
        system.wait_for_record("upgraded")
        done.set()
        knocking.join()
        after = eventually(lambda: system.status() if system.status()["generation"] == 2 else None)
        assert failures == []
        assert after["gateway"]["pid"] != before["gateway"]["pid"]
        assert method == "exec" or after["zygote"]["pid"] != before["zygote"]["pid"]
        assert system.operator.stat().st_ino == inode
        assert alive(worker["pid"])
        assert not alive(before["gateway"]["pid"])


def test_an_upgrade_to_code_that_does_not_work_leaves_the_old_code_at_work(system: Tiny):
    before = system.status()
    (system.state / "exit-1").touch()  # the new gateway stands by, and dies when it gets the doors
    system.signal(signal.SIGUSR2)
    system.wait_for_record("the upgrade failed")
    (system.state / "exit-1").unlink()
    assert system.ask("generation") >= 3
    assert system.pid_of("zygote") == before["zygote"]["pid"]


def test_a_door_that_somebody_removed_is_opened_again(system: Tiny):
    system.operator.unlink()
    eventually(system.operator.exists, 20)
    assert system.ask("generation") >= 1


def test_sigquit_prints_what_every_task_waits_for(system: Tiny):
    system.signal(signal.SIGQUIT)
    assert "reap_orphans" in system.wait_for_record("tasks:")["msg"]
    assert system.ask("generation") == 1


def test_a_second_signal_kills_at_once():
    with tiny(agents("deaf")) as system:
        worker = system.spawn("deaf")
        system.wait_for_record("deaf is here: deaf")
        system.signal(signal.SIGTERM)
        system.wait_for_record("stopping")
        started = time.monotonic()
        system.signal(signal.SIGTERM)
        assert system.process is not None
        assert system.process.wait(10) == 0
        assert time.monotonic() - started < 2
        assert not alive(worker["pid"])


def test_everything_dies_with_a_supervisor_that_was_killed(system: Tiny):
    pids = [row["pid"] for row in system.ask("processes")] + [system.spawn("wait")["pid"]]
    assert system.process is not None
    system.process.kill()
    system.process.wait()
    eventually(lambda: not [pid for pid in pids if alive(pid)], 2)


def test_systemd_is_told_and_no_child_sees_its_socket(tmp_path: Path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(20)

    def hear(wanted: str) -> list[str]:
        while True:
            lines = listener.recv(4096).decode().split("\n")
            if any(line.startswith(wanted) for line in lines):
                return lines

    system = Tiny(agents("wait"))
    os.environ |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    try:
        system.begin()
        hear("READY=1")
        hear("WATCHDOG=1")
        environment = Path(f"/proc/{system.pid_of('zygote')}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        system.signal(signal.SIGHUP)
        assert any(line.startswith("MONOTONIC_USEC=") for line in hear("RELOADING=1"))
        hear("READY=1")
        os.kill(system.pid, signal.SIGTERM)
        hear("STOPPING=1")
        assert system.process is not None
        assert system.process.wait(20) == 0
    finally:
        del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
        system.remove()
        listener.close()


def test_systemd_waits_with_one_that_waits_for_another_to_end(system: Tiny, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(system.directory / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(system.directory / "notify"))
        command = [sys.executable, "-I", "-m", "supervisor", "--wait", "--runtime-dir", str(system.runtime)]
        with system.errors.open("ab") as log:
            second = subprocess.Popen([*command, "--state-dir", str(system.state)], stderr=log)
        try:
            extend, status = listener.recv(4096).decode().split("\n")
            assert extend == "EXTEND_TIMEOUT_USEC=30000000"
            assert status.startswith(
                f"STATUS=waiting: the state directory {system.state} is in use (pid {system.pid}, "
            )
        finally:
            second.terminate()
            assert second.wait(20) == 0


def test_as_pid_1_it_stops_on_sigterm_and_leaves_no_zombies():
    system = Tiny(agents("wait"))
    system.wrapper = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    try:
        system.begin()
        (outer,) = children_of(system.pid)
        rows: list[dict[str, Any]] = system.ask("processes")
        assert rows[0]["pid"] == 1
        os.kill(outer, signal.SIGTERM)
        assert system.process is not None
        assert system.process.wait(20) == 0
    finally:
        system.remove()
