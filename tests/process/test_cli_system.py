"""The command line against a real system: started, asked, typed inside an agent, hung, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System, alive, eventually, running

PEERGATE = str(Path(sys.executable).with_name("peergate"))
SHELL = f"""
import subprocess, sys
message = sys.stdin.read().split()
ended = subprocess.run([{PEERGATE!r}, *message], capture_output=True, text=True)
print(ended.returncode, ended.stdout.strip(), ended.stderr.strip(), sep="|")
"""
CONFIG: dict[str, Any] = {
    "agents": {
        "entries": {
            "main": {"runtime": {"type": "python", "entry": "agentproc.builtin.main:turn"}},
            "scout": {"runtime": {"type": "python", "entry": "agentproc.builtin.main:turn"}},
            "typist": {"runtime": {"type": "command", "argv": [sys.executable, "-c", SHELL]}},
        }
    },
    "tools": {"agentToAgent": {"enabled": True}},
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running(CONFIG) as started:
        yield started


def document(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def typed(system: System, *words: str) -> tuple[int, str, str]:
    """What a command typed by the agent `typist` in its own shell ended with and printed."""
    reply = document(system.cli("send", "typist", " ".join(words), "--timeout", "60", "--json"))["reply"]
    code, out, err = reply.split("|", 2)
    return int(code), out, err


def test_every_reading_command_answers(system: System):
    for words in (("health",), ("status",), ("agents",), ("sessions",), ("config", "get", "--running"), ("doctor",)):
        document(system.cli(*words, "--json"))
        assert system.cli(*words).stdout
    assert document(system.cli("health", "--json"))["ok"] is True


def test_ps_tells_the_real_tree(system: System):
    rows = document(system.cli("ps", "--json"))
    kinds = {row["kind"]: row for row in rows}
    assert kinds["supervisor"]["pid"] == system.pid
    assert kinds["gateway"]["ppid"] == kinds["zygote"]["ppid"] == system.pid
    assert all(row["rssBytes"] > 0 for row in rows)


def test_status_says_whom_to_signal_and_the_gateway_survives_who_takes_it_for_the_supervisor(system: System):
    gateway = system.gateway_pid()
    told = document(system.cli("status", "--json"))
    assert (told["pid"], told["supervisorPid"]) == (gateway, system.pid)
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT):
        os.kill(gateway, number)
        eventually(
            lambda name=number.name: f"{name} is for the supervisor: kill -{name[3:]} {system.pid}" in system.log()
        )
    assert system.gateway_pid() == gateway


def test_an_operator_sends_spawns_waits_and_reads(system: System):
    assert system.cli("send", "main", "hello there").stdout.startswith("You said: hello there")
    child = document(system.cli("spawn", "say something", "--json"))
    ended = document(system.cli("wait", child["runId"], "--json"))
    assert (ended["status"], ended["sessionKey"]) == ("ok", child["childSessionKey"])
    messages = document(system.cli("history", "main", "--json"))["messages"]
    assert messages[0]["role"] == "user"
    assert child["childSessionKey"] in system.cli("sessions").stdout


def test_an_agent_that_types_peergate_send_acts_as_itself(system: System):
    code, out, err = typed(system, "send", "scout", "from-the-shell")
    assert (code, err) == (0, "")
    assert out.startswith("You said: from-the-shell")
    messages = document(system.cli("history", "scout", "--json"))["messages"]
    heard = next(message for message in messages if "from-the-shell" in str(message["content"]))
    assert heard["provenance"]["sourceSessionKey"] == "agent:typist:main"


def test_an_agent_in_its_shell_has_the_session_tools_and_nothing_else(system: System):
    assert typed(system, "sessions", "--json")[0] == 0
    assert typed(system, "agents", "--json")[0] == 0
    code, _, err = typed(system, "agents", "stop", "scout")
    assert code == 77
    assert "operator.admin" in err
    assert typed(system, "send", "scout", "x", "--session-key", "main")[0] != 0
    code, _, err = typed(system, "stop")
    assert (code, "a program of an agent (here typist) may not stop the system" in err) == (77, True)
    assert alive(system.pid)


def test_events_and_logs_are_streamed(system: System):
    environment = {**os.environ, "PEERGATE_RUNTIME_DIR": str(system.runtime)}
    words = [PEERGATE, "events", "--only", "session.message", "-n", "1", "--json"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as listener:
        eventually(lambda: document(system.cli("status", "--json"))["gateway"]["listeners"] > 0)
        system.cli("send", "main", "hear this")
        told, _ = listener.communicate(timeout=30)
    assert json.loads(told)["payload"]["sessionKey"] == "agent:main:main"
    assert document(system.cli("logs", "--json", "-n", "3"))["lines"]


def test_a_send_survives_the_gateways_death(system: System):
    before = len(document(system.cli("call", "runs.list", '{"sessionKey": "agent:scout:main", "limit": 1000}'))["runs"])
    environment = {**os.environ, "PEERGATE_RUNTIME_DIR": str(system.runtime)}
    words = [PEERGATE, "send", "scout", "through the storm", "--json"]
    gateway = system.gateway_pid()
    os.kill(gateway, signal.SIGSTOP)  # it accepts nothing, so the message is certainly on its way when it dies
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as sender:
        time.sleep(0.4)
        os.kill(gateway, signal.SIGKILL)
        told, _ = sender.communicate(timeout=40)
    assert json.loads(told)["status"] == "ok"
    runs = document(system.cli("call", "runs.list", '{"sessionKey": "agent:scout:main", "limit": 1000}'))["runs"]
    assert len(runs) == before + 1


def test_a_hung_gateway_is_told_within_seconds_and_ps_still_works(system: System):
    gateway = system.gateway_pid()
    os.kill(gateway, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        ended = system.cli("health")
        assert time.monotonic() - begun < 8
        assert ended.returncode == 69
        assert f"pid {gateway}" in ended.stderr
        listed = system.cli("ps", "--json")
    finally:
        os.kill(gateway, signal.SIGCONT)
    assert {row["kind"] for row in document(listed)} >= {"supervisor", "zygote", "gateway"}
    eventually(lambda: system.cli("health").returncode == 0)


def test_reload_says_what_became_of_it(system: System):
    assert document(system.cli("reload", "--json")) == {"signalled": True, "pid": system.pid, "reloaded": True}
    right = system.config.read_text()
    job = {"schedule": {"kind": "cron", "expr": "61 * * * *"}, "payload": {"kind": "agentTurn", "message": "x"}}
    system.config.write_text(json.dumps({**json.loads(right), "cron": {"jobs": {"tidy": job}}}))
    try:
        told = system.cli("reload")
        assert told.returncode == 78
        assert 'cron.jobs.tidy: found a job that cannot be: cron expression "61 * * * *"' in told.stderr
        assert "peergate config validate" in told.stderr
    finally:
        system.config.write_text(right)
    told = system.cli("reload", "--timeout", "0", "--json")
    assert document(told) == {"signalled": True, "pid": system.pid, "reloaded": None}
    assert system.cli("reload").stdout.strip() == "reloaded"
    eventually(lambda: system.cli("health").returncode == 0)


def test_up_says_ready_holds_its_state_and_stops_when_told(tmp_path: Path):
    system = System(CONFIG)
    environment = {**os.environ, "PEERGATE_RUNTIME_DIR": str(system.runtime), "PEERGATE_STATE_DIR": str(system.state)}
    words = [PEERGATE, "up", "--json", "--config", str(system.config)]
    try:
        with subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as up:
            assert up.stdout is not None
            told = json.loads(up.stdout.readline())
            assert told["ready"] is True
            assert told["pid"] == up.pid
            assert told["operatorSocket"] == str(system.operator)
            second = system.cli("up", "--runtime-dir", str(tmp_path / "other"), "--json")
            assert second.returncode == 1
            assert str(up.pid) in second.stderr
            assert json.loads(second.stdout)["ready"] is False
            assert document(system.cli("stop", "--json")) == {"stopped": True, "pid": up.pid}
            assert up.wait(10) == 0
        assert system.cli("health").returncode == 69
        assert "ready" in system.cli("logs").stdout
    finally:
        system.remove()


def test_a_wrong_configuration_stops_the_start_with_78(tmp_path: Path):
    system = System({"gatway": {}})
    try:
        ended = system.cli("up")
        assert ended.returncode == 78
        assert 'did you mean "gateway"' in ended.stderr
        assert "Traceback" not in ended.stderr
    finally:
        system.remove()


AS_ANOTHER = """
import os, sys
import supervisor.cli, textwrap
supervisor.cli.run(["health"])  # loads what it needs: the interpreter's own files may be closed to the other uid
os.setgroups([]); os.setgid(4242); os.setuid(4242)
sys.exit(supervisor.cli.run(["health", "--runtime-dir", sys.argv[1]]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another uid")
def test_another_uid_is_told_that_it_may_not(system: System):
    words = [sys.executable, "-c", AS_ANOTHER, str(system.runtime)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 77
    assert "uid 4242 may not use" in ended.stderr
    assert "gateway.unix.operators" in ended.stderr
