"""Cron by the command line of a real system, and an agent that reminds itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System, eventually, running

PEERGATE = str(Path(sys.executable).with_name("peergate"))
AGENTS = '''
"""Two agents: one that reminds itself of what it is told, and one that types commands."""

import trio


async def remember(ctx):
    if ctx.message.startswith("remind me of "):
        what = ctx.message.removeprefix("remind me of ")
        payload = {"kind": "agentTurn", "message": "it is time: " + what}
        job = await ctx.cron("add", job={"name": what, "schedule": {"kind": "at", "at": "1s"}, "payload": payload})
        return "made " + job["id"]
    if ctx.provenance.get("sourceTool") == "cron" and ":cron:" in ctx.session_key:
        return ctx.message.partition("] ")[2]
    return "heard: " + ctx.message


async def type_it(ctx):
    ended = await trio.run_process(["%s", *ctx.message.split()], capture_stdout=True, capture_stderr=True, check=False)
    return f"{ended.returncode}|{ended.stdout.decode().strip()}|{ended.stderr.decode().strip()}"
'''


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("agents")
    folder.joinpath("cron_agents.py").write_text(AGENTS % PEERGATE)

    def agent(entry: str) -> dict[str, Any]:
        return {"runtime": {"type": "python", "entry": f"cron_agents:{entry}", "path": str(folder)}}

    entries = {"main": agent("remember"), "scout": agent("remember"), "typist": agent("type_it")}
    with running({"agents": {"entries": entries}}) as started:
        yield started


def document(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def texts(system: System, session: str) -> list[str]:
    messages = document(system.cli("history", session, "--json"))["messages"]
    return [message["content"][0]["text"] for message in messages]


def typed(system: System, words: str) -> tuple[int, str, str]:
    """What a command that the agent typist types ends with and prints."""
    reply = document(system.cli("send", "typist", words, "--timeout", "60", "--json"))["reply"]
    code, out, err = reply.split("|", 2)
    return int(code), out, err


@pytest.mark.parametrize("agent", ["main", "scout"])
def test_an_agent_reminds_itself_and_gets_what_it_asked_for_once(system: System, agent: str):
    assert system.cli("send", agent, f"remind me of tea {agent}").stdout.startswith("made ")
    told = eventually(lambda: [text for text in texts(system, agent) if f"it is time: tea {agent}" in text], 20)
    assert told[0].startswith(f"Cron job tea {agent} (")
    entries = document(system.cli("cron", "runs", f"tea {agent}", "--json"))["entries"]
    mine = [entry for entry in entries if entry["sessionKey"].startswith(f"agent:{agent}:")]
    assert [(entry["status"], entry["summary"], entry["delivered"]) for entry in mine] == [
        ("ok", f"it is time: tea {agent}", True)
    ]
    eventually(lambda: sum(f"heard: Cron job tea {agent}" in text for text in texts(system, agent)) == 1)
    assert document(system.cli("cron", "list", "--all", "--json"))["jobs"] == []


def test_a_job_from_its_making_to_its_removal(system: System):
    words = ("--every", "1h", "--message", "look", "--session", "isolated")
    job = document(system.cli("cron", "add", "--name", "mail", *words, "--json"))
    assert (job["name"], job["schedule"]["everyMs"], job["sessionTarget"]) == ("mail", 3_600_000, "isolated")
    assert document(system.cli("cron", "list", "--json"))["jobs"][0] == job
    assert "every hour, next: " in system.cli("cron", "show", "mail").stdout
    ended = document(system.cli("cron", "run", "mail", "--wait", "--json"))
    assert (ended["entry"]["status"], ended["entry"]["summary"]) == ("ok", "look")
    (entry,) = document(system.cli("cron", "runs", "mail", "--json"))["entries"]
    assert abs(entry["slotMs"] - time.time() * 1000) < 60_000
    edited = document(system.cli("cron", "edit", "mail", "--every", "2h", "--disable", "--json"))
    assert (edited["schedule"]["everyMs"], edited["enabled"]) == (7_200_000, False)
    assert "mail" not in system.cli("cron", "list").stdout
    assert "every 2 hours, next: " in system.cli("cron", "enable", "mail").stdout
    assert system.cli("cron", "rm", "mail").returncode == 0
    assert system.cli("cron", "show", "mail").returncode == 1


def test_a_program_is_run_as_the_agent_and_its_failing_is_the_runs(system: System):
    good = ("--command", "sh -c 'echo $PEERGATE_AGENT $WORD'", "--env", "WORD=hello", "--agent", "scout")
    assert system.cli("cron", "add", "good", "--every", "1h", *good).returncode == 0
    assert system.cli("cron", "run", "good", "--wait").stdout == "scout hello\n"
    assert system.cli("cron", "add", "bad", "--every", "1h", "--command", "sh -c 'echo no >&2; exit 3'").returncode == 0
    ended = system.cli("cron", "run", "bad", "--wait")
    assert (ended.returncode, "exited with code 3" in ended.stdout) == (1, True)
    assert "error" in system.cli("cron", "runs", "bad").stdout
    for name in ("good", "bad"):
        assert system.cli("cron", "rm", name).returncode == 0


def test_a_refusal_names_its_flag(system: System):
    ended = system.cli("cron", "add", "a", "--cron", "61 * * * *", "-m", "b")
    assert (ended.returncode, ended.stderr.startswith("peergate: --cron: ")) == (1, True)
    ended = system.cli("cron", "add", "a", "--every", "1h", "-m", "b", "--agent", "nobody")
    assert "--agent: " in ended.stderr
    assert "main, scout, typist" in ended.stderr


def test_inside_an_agent_the_commands_are_about_its_own_jobs(system: System):
    assert system.cli("cron", "add", "operators", "--every", "1h", "-m", "x").returncode == 0
    code, out, _ = typed(system, "cron add own --every 1h --message x --json")
    assert (code, json.loads(out)["owner"]["agentId"]) == (0, "typist")
    assert [job["name"] for job in json.loads(typed(system, "cron list --json")[1])["jobs"]] == ["own"]
    code, _, err = typed(system, "cron rm operators")
    assert (code, "there is no job" in err) == (1, True)
    code, _, err = typed(system, "call cron.list {}")
    assert (code, "missing scope" in err) == (77, True)
    assert typed(system, "cron rm own")[0] == 0
    assert system.cli("cron", "rm", "operators").returncode == 0


def test_a_session_is_woken_by_a_run_or_with_its_next_one(system: System):
    assert system.cli("wake", "the door is open", "--mode", "next-heartbeat").returncode == 0
    assert system.cli("wake", "look").stdout == "a run begins\n"
    eventually(lambda: "heard: System: the door is open\n\nlook" in texts(system, "main"))
