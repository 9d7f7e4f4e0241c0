"""Who comes from elsewhere: containers and their own door, false roots, orphans of a dead supervisor, planted code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.identity import (
    ORDINARY,
    PEERGATE,
    PROGRAM,
    config,
    errand,
    open_to_all,
    started,
    tool,
    tool_says,
    visitor_says,
)
from tests.support.system import System, alive, eventually

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child")
SIDECAR, OTHER, STRANGER = "1000", "1001", "45678"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("status", {}),
    ("tools.invoke", {"name": "sessions_send", "args": {"agentId": "other", "message": "x", "timeoutSeconds": 0}}),
    ("agents.stop", {"agentId": "other"}),
]


# --- containers -------------------------------------------------------------------------------------------------------


def test_a_container_is_nobody_at_the_operators_door_even_as_root():
    with started(config()) as system:
        assert not (system.runtime / "foreign").exists()
        open_to_all(system.agents)
        for door in (system.operator, system.agents):
            refused = visitor_says(door, "0", "0", calls=CALLS, wrap=CONTAINER)["refused"]
            assert refused["code"] == "FORBIDDEN"
            assert "another PID namespace" in refused["message"]
            assert "gateway.unix.foreign" in refused["message"]


def test_a_sidecar_has_its_own_door_and_what_its_uid_was_given_there():
    with started(config(gateway={"unix": {"foreign": {SIDECAR: "operator"}}})) as system:
        door = system.runtime / "foreign" / "operator.sock"
        told = visitor_says(door, SIDECAR, SIDECAR, calls=CALLS, wrap=CONTAINER)
        assert (told["hello"]["kind"], told["hello"]["uid"]) == ("foreign", int(SIDECAR))
        status, sent, stopped = told["answers"]
        assert status["health"]["ok"]
        assert sent["status"] == "accepted"
        assert stopped["error"]["details"]["principal"] == f"foreign uid {SIDECAR}"
        for uid in (OTHER, "0"):
            refused = visitor_says(door, uid, uid, calls=CALLS, wrap=CONTAINER)["refused"]
            assert "gateway.unix.foreign" in refused["message"]
        open_to_all(system.operator)
        assert "refused" in visitor_says(system.operator, SIDECAR, SIDECAR, wrap=CONTAINER)
        assert "operator.sock" in visitor_says(door, "0", "0")["refused"]["message"]  # from this machine: not here


def test_an_agents_own_sandbox_is_still_its_tool_and_no_sidecar():
    """A tool that unshares its PID namespace has several numbers too; descent outranks that."""
    with started(config(gateway={"unix": {"foreign": {SIDECAR: "operator"}}})) as system:
        sandboxed = [*CONTAINER, *PROGRAM, "visit"]
        for door, gets in ((system.operator, "tool"), (system.runtime / "foreign" / "operator.sock", "nothing")):
            ended = tool(system, *sandboxed, str(door), given=json.dumps(CALLS))
            assert ended["code"] == 0, ended
            told = json.loads(ended["out"])
            if gets == "tool":
                assert told["hello"]["kind"] == "tool"
                assert told["answers"][0]["error"]["code"] == "FORBIDDEN"
            else:
                assert "may not use the foreign door" in told["refused"]["message"]


def test_root_of_a_user_namespace_is_the_stranger_it_is_outside():
    with started(config()) as system:
        open_to_all(system.operator)
        try:
            refused = visitor_says(system.operator, STRANGER, STRANGER, "", "userns", calls=CALLS)["refused"]
        except AssertionError as error:
            if "unshare" in str(error):
                pytest.skip("needs user namespaces")
            raise
        assert f"uid {STRANGER} is no operator" in refused["message"]


# --- an old kernel ----------------------------------------------------------------------------------------------------


def test_on_a_kernel_without_peer_pidfds_everybody_is_still_who_they_are():
    old = [*PROGRAM, "without_peer_pidfds"]
    with started(config(), wrapper=old) as system:
        told = tool_says(system, "daemon", "visit", str(system.operator), given=CALLS)
        assert told["hello"]["kind"] == "tool"
        assert [("error" in answer) for answer in told["answers"]] == [True, False, True]
        child = json.loads(tool(system, PEERGATE, "spawn", "count", "--json")["out"])
        assert system.call("agent.wait", {"runId": child["runId"]})["status"] == "ok"
        assert "operators use operator.sock" in visitor_says(system.agents, calls=CALLS)["refused"]["message"]
        assert "refused" in visitor_says(system.operator, "0", "0", wrap=CONTAINER)
        assert system.cli("health").returncode == 0


# --- after a supervisor's death ---------------------------------------------------------------------------------------


def test_what_a_killed_supervisor_left_is_no_operator_anywhere_and_ends_with_the_next_start():
    """It was killed with its tools still knocking, with the uid of the owner of both systems."""
    with started(config(), uid=ORDINARY) as elsewhere:
        system = System(config(), wrapper=elsewhere.wrapper)
        os.chown(system.directory, ORDINARY, ORDINARY)
        os.chown(system.config, ORDINARY, ORDINARY)
        report = system.directory / "report"
        try:
            system.start()
            both = f"{elsewhere.operator}:{system.operator}"
            errand(system, "leave", argv=[*PROGRAM, "daemon", "linger", both, str(report)])
            reported = json.loads(eventually(lambda: report.exists() and report.read_text()))
            orphan = reported["pid"]
            assert reported["told"][str(system.operator)]["hello"]["kind"] == "tool"
            os.kill(system.pid, signal.SIGKILL)
            assert system.process is not None
            system.process.wait()
            eventually(lambda: "unreachable" in json.loads(report.read_text())["told"][str(system.operator)])
            assert alive(orphan)
            refused = json.loads(report.read_text())["told"][str(elsewhere.operator)]["refused"]
            assert "belongs to the system itself and to no worker" in refused["message"]
            system.start()
            assert not alive(orphan)
            last = json.loads(report.read_text())["told"][str(system.operator)]
            assert "unreachable" in last, "it ended before the door was opened"
            assert "that a dead supervisor of this state directory left" in system.log()
            assert system.stop() == 0
        finally:
            system.remove()


# --- forged and planted -----------------------------------------------------------------------------------------------


@contextmanager
def forging(files: Sequence[Path], pid: int) -> Iterator[None]:
    """Have the files name this pid, however often their owner writes them anew."""
    over = threading.Event()

    def forge() -> None:
        while not over.wait(0.002):
            for file in files:
                with suppress(OSError, ValueError):
                    told = json.loads(file.read_text())
                    file.write_text(json.dumps(told | {"pid": pid}))

    forger = threading.Thread(target=forge)
    forger.start()
    try:
        yield
    finally:
        over.set()
        forger.join()


def test_stop_signals_the_listener_and_nobody_a_file_names():
    with started(config()) as system, subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            with forging([system.runtime / "status.json", system.state / "lock"], bystander.pid):
                ended = system.cli("stop", "--json")
            assert json.loads(ended.stdout) == {"stopped": True, "pid": system.pid}
            assert alive(bystander.pid)
        finally:
            bystander.kill()


PLANTED = ("gateway", "supervisor", "agentproc", "trio", "msgspec", "msgpack", "sitecustomize", "usercustomize", "json")


def pid_of(system: System, kind: str) -> int | None:
    """As the supervisor tells it: no gateway is asked, as that one is being replaced."""
    unit = json.loads((system.runtime / "status.json").read_text())[kind]
    return unit["pid"] if unit["state"] == "ready" else None


def wait_for_another(system: System, kind: str, old: int | None) -> None:
    eventually(lambda: pid_of(system, kind) not in (None, old), 20)


def test_modules_planted_in_an_agents_directory_never_run_in_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every interpreter we start, at start, after deaths, on reload and upgrade; the start stands in that directory."""
    plot, marks = tmp_path / "work", tmp_path / "marks"
    plot.mkdir()
    marks.mkdir()
    for name in PLANTED:
        (plot / f"{name}.py").write_text(f"import os; open(os.path.join({str(marks)!r}, {name!r}), 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(plot))
    monkeypatch.setenv("PYTHONSTARTUP", str(plot / "json.py"))
    monkeypatch.setenv("PYTHONHOME", sys.prefix + "-none")
    monkeypatch.chdir(plot)
    settings = config()
    settings["agents"]["entries"]["errand"] |= {"cwd": str(plot), "env": {"PYTHONPATH": str(plot)}}
    with started(settings) as system:
        assert errand(system, "facts")["cwd"] == str(plot)
        for kind in ("zygote", "gateway"):
            old = pid_of(system, kind)
            assert old is not None
            os.kill(old, signal.SIGKILL)
            wait_for_another(system, kind, old)
        old = pid_of(system, "gateway")
        os.kill(system.pid, signal.SIGHUP)
        os.kill(system.pid, signal.SIGUSR2)
        wait_for_another(system, "gateway", old)
        assert errand(system, "facts", agent="other")
        assert list(marks.iterdir()) == []
        monkeypatch.delenv("PYTHONHOME")
        tool(system, sys.executable, "-c", "pass")  # an interpreter that is not isolated does run them
        assert (marks / "sitecustomize").exists()


@pytest.mark.parametrize("what", ["config", "state", "directory"])
def test_a_start_whose_files_others_may_write_is_refused_with_78(what: str):
    system = System(config())
    try:
        system.state.mkdir(mode=0o700)
        {"config": system.config, "state": system.state, "directory": system.directory}[what].chmod(0o777)
        with pytest.raises(AssertionError, match="not ready"):
            system.start()
        assert system.process is not None
        assert system.process.wait(10) == 78
        assert "chmod" in system.log()
    finally:
        system.remove()
