"""The real supervisor with tiny workers: births, deaths, trees, limits, heartbeats, quarantine, identity, output."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.system import alive, eventually
from tests.support.tiny_system import Tiny, agents, tiny

METHODS = ["zygote", "exec"]
UIDS = {"first": 61_000, "count": 3, "gid": 61_000}


@pytest.fixture
def system():
    with tiny(agents("wait", "tree", "crash", "done", "deaf", "silent", "ticket", "chatty")) as started:
        yield started


def descendants(pid: int) -> list[int]:
    children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def uid_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("\nUid:")[1].split()[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_is_born_served_and_stopped_by_either_method(method: str):
    with tiny({**agents("wait"), "supervisor": {"spawn": {"method": method}}}) as system:
        worker = system.spawn("wait")
        assert worker["t"] == "Spawned"
        # Its parent is the supervisor as soon as the intermediate process has let go of it.
        eventually(
            lambda: [
                row for row in system.processes("worker") if (row["pid"], row["ppid"]) == (worker["pid"], system.pid)
            ]
        )
        (row,) = [row for row in system.processes("worker") if row["pid"] == worker["pid"]]
        assert (row["agentId"], row["sessionKey"], row["ppid"]) == ("wait", "agent:wait:main", system.pid)
        eventually(lambda: [row for row in system.processes("worker") if row["pssBytes"] == 4321])
        system.ask("stop", spawn=worker["spawn"], reason="enough", grace=2.0)
        exited = system.wait_for_note("Exited", spawn=worker["spawn"])
        assert (exited["code"], exited["signal"], exited["reason"]) == (0, None, "enough")
        assert system.processes("worker")[0]["agentId"] is None if system.processes("worker") else True


def test_a_session_has_one_worker_however_often_it_is_asked_for(system: Tiny):
    first, again, other = system.spawn("wait"), system.spawn("wait"), system.spawn("wait", "agent:wait:b")
    assert first["spawn"] == again["spawn"] != other["spawn"]


def test_the_whole_tree_ends_with_its_worker_whether_it_is_stopped_or_killed(system: Tiny):
    for how in ("stopped", "killed"):
        worker = system.spawn("tree")
        tools = eventually(lambda pid=worker["pid"]: descendants(pid) if len(descendants(pid)) >= 3 else None)
        eventually(lambda: len([row for row in system.processes("tool") if row["agentId"] == "tree"]) >= 3)
        if how == "stopped":
            system.ask("stop", spawn=worker["spawn"], reason="enough", grace=2.0)
        else:
            os.kill(worker["pid"], signal.SIGKILL)
        system.wait_for_note("Exited", spawn=worker["spawn"])
        assert [pid for pid in tools if alive(pid)] == []


def test_one_that_ignores_sigterm_is_killed_when_its_grace_is_over(system: Tiny):
    worker = system.spawn("deaf")
    system.wait_for_record("deaf is here")
    system.ask("stop", spawn=worker["spawn"], reason="enough", grace=0.3)
    assert system.wait_for_note("Exited", spawn=worker["spawn"])["signal"] == signal.SIGKILL


def test_one_that_is_silent_is_ended_with_its_stacks_in_the_log(system: Tiny):
    worker = system.spawn("silent")
    exited = system.wait_for_note("Exited", spawn=worker["spawn"])
    assert exited["signal"] == signal.SIGABRT
    assert "no heartbeat for 3 s" in exited["reason"]
    assert system.wait_for_record("most recent call first")["agent"] == "silent"


def test_five_deaths_in_a_minute_are_quarantine_for_that_agent_alone_until_it_is_released(system: Tiny):
    for _ in range(5):
        worker = system.spawn("crash")
        assert system.wait_for_note("Exited", spawn=worker["spawn"])["code"] == 3
    refused = system.spawn("crash")
    assert (refused["t"], refused["quarantined"]) == ("SpawnFailed", True)
    assert "peergate agents release crash" in system.wait_for_note("Notice", code="AGENT_QUARANTINED")["fix"]
    assert eventually(lambda: system.status()["agents"]["crash"]["quarantined"])
    assert system.spawn("wait")["t"] == "Spawned"
    system.ask("hold", agent="crash", on=False, reason="mended")
    assert system.spawn("crash")["t"] == "Spawned"


def test_one_that_is_done_did_not_die(system: Tiny):
    for _ in range(6):
        worker = system.spawn("done")
        assert worker["t"] == "Spawned"
        system.wait_for_note("Exited", spawn=worker["spawn"], code=0)


def test_holding_an_agent_ends_its_workers_and_no_other(system: Tiny):
    held, other = system.spawn("wait"), system.spawn("tree")
    system.ask("hold", agent="wait", on=True, reason="an operator said so")
    assert system.wait_for_note("Exited", spawn=held["spawn"])["reason"] == "an operator said so"
    assert system.spawn("wait")["quarantined"] is True
    assert alive(other["pid"])


@pytest.mark.parametrize(
    ("word", "limit", "value"),
    [("hog", "memoryBytes", 150 << 20), ("crowd", "pids", 5), ("chatty", "outputBytes", 10_000)],
)
def test_a_tree_over_its_limit_is_killed_and_the_limit_is_named(word: str, limit: str, value: int):
    with tiny(agents(word, limits={limit: value})) as system:
        worker = system.spawn(word)
        exited = system.wait_for_note("Exited", spawn=worker["spawn"])
        assert exited["signal"] == signal.SIGKILL
        assert f"limits.{limit}" in exited["reason"]


def test_who_is_who(system: Tiny):
    worker = system.spawn("tree")
    tool = eventually(lambda: descendants(worker["pid"]))[0]
    for pid, kind in ((worker["pid"], "worker"), (tool, "tool"), (system.pid, "ours"), (os.getpid(), "none")):
        found = system.ask("whois", pid=pid)
        assert (found["kind"], found["agent"]) == (kind, "tree" if kind in ("worker", "tool") else "")


def test_a_wrong_ticket_burns_the_right_one_and_a_worker_may_ask_for_another(system: Tiny):
    worker = system.spawn("ticket")
    assert system.wait_for_record("fresh ticket Ticket")["agent"] == "ticket"
    assert system.ask("claim", spawn=worker["spawn"], ticket="0" * 64)["ok"] is False
    assert "no unused ticket" in system.ask("claim", spawn=worker["spawn"], ticket="0" * 64)["reason"]


def test_output_is_kept_line_by_line_up_to_the_throttle_and_what_was_dropped_is_said(system: Tiny):
    system.spawn("chatty")
    dropped = system.wait_for_record("of output dropped")
    assert (dropped["agent"], dropped["session"]) == ("chatty", "agent:chatty:main")
    kept = [record["msg"] for record in system.records() if record["msg"].startswith("line ")]
    assert kept[:3] == ["line 0", "line 1", "line 2"]
    assert 100 <= len(kept) < 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_each_agent_has_a_uid_of_its_own_for_ever_and_finds_it_empty():
    squatter = subprocess.Popen(["sleep", "60"], user=UIDS["first"], group=UIDS["gid"])
    config = agents("wait", "deaf", "done")  # a stranger's uid need not be allowed to start our interpreter: no tools
    config["supervisor"]["uids"] = UIDS
    try:
        with tiny(config) as system:
            first, second = system.spawn("wait"), system.spawn("deaf")
            assert squatter.wait(5) == -signal.SIGKILL
            eventually(lambda: (uid_of(first["pid"]), uid_of(second["pid"])) == (61_000, 61_001))
            assert system.agents.stat().st_gid == UIDS["gid"]
            assert json.loads((system.state / "uids.json").read_text()) == {"wait": 61_000, "deaf": 61_001}
    finally:
        squatter.kill()
        squatter.wait()


def test_what_a_killed_supervisor_left_behind_is_ended_by_the_next_before_it_listens():
    system = Tiny(agents("tree"))
    try:
        worker = system.begin().spawn("tree")
        tools = eventually(lambda: descendants(worker["pid"]) if len(descendants(worker["pid"])) >= 3 else None)
        assert system.process is not None
        system.process.kill()
        system.process.wait()
        assert [pid for pid in tools if alive(pid)]
        system.begin()
        assert [pid for pid in tools if alive(pid)] == []
        assert "killed" in system.wait_for_record("a dead supervisor")["msg"]
        assert system.stop() == 0
    finally:
        system.remove()


def test_many_workers_come_and_go_without_a_descriptor_or_a_zombie_left(system: Tiny):
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{system.pid}/fd"))

    def round_trip(number: int) -> None:
        worker = system.spawn("done", f"agent:done:{number}")
        system.wait_for_note("Exited", spawn=worker["spawn"])

    round_trip(0)
    eventually(lambda: len(system.processes("worker")) == 2)  # the spares are there again
    before = descriptors()
    for number in range(1, 20):
        round_trip(number)
    eventually(lambda: descriptors() <= before + 1)
    states = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in descendants(system.pid)]
    assert "Z" not in states


def test_a_stopped_supervisor_judges_no_heartbeat_when_it_goes_on(system: Tiny):
    worker = system.spawn("wait")
    system.signal(signal.SIGSTOP)
    time.sleep(4)  # longer than three heartbeats
    system.signal(signal.SIGCONT)
    time.sleep(1.5)
    assert alive(worker["pid"])
    assert system.notes("Exited") == []


def test_the_backlog_of_a_hung_gateway_is_still_there_for_the_next(system: Tiny):
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.connect(str(system.operator))
        stuck.sendall(b'{"do": "hang"}\n')
        time.sleep(0.2)
        os.kill(system.pid_of("gateway"), signal.SIGKILL)
        assert system.ask("generation") == 2


@pytest.mark.parametrize("line", ['{"level": [], "msg": "hello"}', '{"level": "info", "msg": "hello", "self": 1}'])
def test_nothing_an_agent_prints_hurts_the_supervisor(line: str, tmp_path: Path):
    script = tmp_path / "printer.py"
    script.write_text(f"print({line!r}, flush=True); print('and went on', flush=True)")
    config = agents("itself")
    config["agents"]["entries"]["itself"]["runtime"]["argv"].append(str(script))
    with tiny(config) as system:
        worker = system.spawn("itself")
        assert system.wait_for_record("and went on")["pid"] == worker["pid"]
        assert "hello" in system.wait_for_record("hello")["msg"]
        assert alive(worker["pid"])


@pytest.mark.parametrize("size", ['"x"', "10**30", "[1]", "-1", "True"])
def test_a_heartbeat_that_says_nonsense_is_no_heartbeat(size: str, tmp_path: Path):
    script = tmp_path / "liar.py"
    script.write_text(
        "import json, os, socket\n"
        f"said = json.dumps(dict(t='Beat', rss=1, pss={size}, descriptors=1, connected=True, status=''))\n"
        "socket.socket(fileno=os.dup(3)).send(said.encode())\n"
    )
    config = agents("itself")
    config["agents"]["entries"]["itself"]["runtime"]["argv"].append(str(script))
    with tiny(config) as system:
        worker = system.spawn("itself")
        assert "its lifeline is broken" in system.wait_for_note("Exited", spawn=worker["spawn"])["reason"]
