"""What one agent can do to the system and to another agent: with one uid for all of them, and with a uid for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.identity import (
    ORDINARY,
    PROGRAM,
    config,
    errand,
    reachable,
    started,
    tool,
    tool_says,
)
from tests.support.identity_agents import ATTACKS
from tests.support.system import System, alive

UIDS = {"first": 61_100, "count": 10, "gid": 61_100}
ALICE, BOB = UIDS["first"], UIDS["first"] + 1
DENIED = {"EPERM", "EACCES"}


def done(told: dict[str, str]) -> set[str]:
    """The attacks that were not denied."""
    return {attack for attack, outcome in told.items() if outcome not in DENIED}


def pids_of(system: System) -> dict[str, int]:
    """Everybody worth attacking, by name. The worker of `errand` is the attacker's own."""
    rows = system.ps()
    named = {row["kind"]: row["pid"] for row in rows if row["kind"] in ("supervisor", "zygote", "gateway")}
    workers = {f"worker of {row['agentId']}": row["pid"] for row in rows if row["kind"] == "worker" and row["agentId"]}
    return named | workers


# --- one uid for everybody --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    """A system of an ordinary uid, which its agents share; both have a worker."""
    with started(config(), uid=ORDINARY) as system:
        errand(system, "facts", agent="errand")
        errand(system, "facts", agent="other")
        yield system


def test_a_tool_of_the_same_uid_can_do_nothing_to_the_system_nor_to_a_worker(shared: System):
    victims = pids_of(shared)
    assert len(victims) == 5
    told = tool_says(shared, "attack", json.dumps({"pids": victims}))
    own = {attack: told.pop(f"{attack} own child") for attack in ATTACKS}
    assert set(own.values()) == {"done"}, "the attacks work where nothing stands in their way"
    assert done(told) == {"signal worker of errand"}, "its own worker shares its domain, and that is all it reaches"
    assert len(told) == len(victims) * len(ATTACKS)
    assert all(alive(pid) for pid in victims.values())


def test_a_worker_itself_can_do_nothing_to_the_system_nor_to_another_worker(shared: System):
    victims = pids_of(shared)
    del victims["worker of errand"]
    told = errand(shared, "attack", pids=victims)
    assert done(told) == set()


def test_not_even_a_program_of_the_same_uid_outside_reads_or_takes_anything(shared: System):
    """Outside there is no domain: what protects is that our processes are not dumpable. (Signals are the owner's
    right.)"""
    victims = pids_of(shared)
    ended = subprocess.run(
        [*PROGRAM, "attack", json.dumps({"pids": victims}), str(ORDINARY), str(ORDINARY)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    told = json.loads(ended.stdout)
    own = {attack: told.pop(f"{attack} own child") for attack in ATTACKS}
    assert set(own.values()) == {"done"}, "the attacks work where nothing stands in their way"
    assert {attack.split()[0] for attack in done(told)} == {"signal"}


# --- a uid for each ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of root's with two agents, each with a uid and a directory of its own, both at work."""
    settings = config("alice", "bob", supervisor={"uids": UIDS})
    crowded = [*reachable(), "setpriv", "--groups=4242,4243"]  # groups that no agent may inherit
    with started(settings, wrapper=crowded) as system:
        system.stop()
        for agent, uid in (("alice", ALICE), ("bob", BOB)):
            home = system.directory / agent
            home.mkdir(mode=0o700)
            (home / "secret").write_text("x")
            for path in (home, home / "secret"):
                os.chown(path, uid, UIDS["gid"])
            settings["agents"]["entries"][agent] |= {"cwd": str(home), "env": {"TOKEN": agent}}
        system.config.write_text(json.dumps(settings))
        system.start()
        errand(system, "facts", agent="alice")
        errand(system, "facts", agent="bob")
        yield system


def test_each_agent_is_its_own_uid_without_any_other_group(apart: System):
    for agent, uid in (("alice", ALICE), ("bob", BOB)):
        facts = errand(apart, "facts", agent=agent)
        assert (facts["uids"], facts["gids"], facts["groups"]) == ([uid] * 3, [UIDS["gid"]] * 3, [])
        assert facts["cwd"] == str(apart.directory / agent)
    assert json.loads((apart.state / "uids.json").read_text()) == {"alice": ALICE, "bob": BOB}


@pytest.mark.parametrize("how", ["worker", "tool"])
def test_one_agent_reaches_nothing_of_another_nor_of_ours(apart: System, how: str):
    victims = {name: pid for name, pid in pids_of(apart).items() if name != "worker of bob"}
    assert "worker of alice" in victims
    kept = [apart.state, apart.state / "peergate.db", apart.state / "uids.json", apart.state / "logs"]
    theirs = [apart.directory / "alice", apart.directory / "alice" / "secret"]
    paths = [*map(str, [*kept, *theirs, apart.config])]
    own = str(apart.directory / "bob" / "secret")
    order = {"pids": victims, "paths": [*paths, own]}
    told = (
        errand(apart, "attack", agent="bob", **order)
        if how == "worker"
        else tool_says(apart, "attack", json.dumps(order), agent="bob")
    )
    assert told.pop(f"look {own}") == "done"
    own_child = {told.pop(f"{attack} own child", "done") for attack in ATTACKS}
    assert own_child == {"done"}
    assert done(told) == set()


def test_an_agents_uid_is_a_tool_by_descent_and_a_stranger_without_it(apart: System):
    told = tool_says(apart, "daemon", "visit", str(apart.agents), agent="bob", given=[("status", {})])
    assert (told["hello"]["kind"], told["hello"]["uid"], told["hello"]["agentId"]) == ("tool", BOB, "bob")
    assert "error" in told["answers"][0]
    stranger = subprocess.run(
        [*PROGRAM, "visit", str(apart.agents), str(BOB), str(UIDS["gid"])],
        input="[]", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    refused = json.loads(stranger.stdout)["refused"]  # the file lets the group pass: the decision is behind it
    assert f"uid {BOB}" in refused["message"]
    assert tool_says(apart, "visit", str(apart.operator), agent="bob", given=[]) == {"unreachable": "PermissionError"}


def test_a_uid_is_emptied_before_its_agent_uses_it_and_never_goes_to_another(apart: System):
    """After a restart with the agents' names exchanged for a third one."""
    settings = json.loads(apart.config.read_text())
    settings["agents"]["entries"]["carol"] = settings["agents"]["entries"].pop("alice") | {"cwd": "/"}
    squatter = subprocess.Popen(["sleep", "60"], user=UIDS["first"] + 2, group=UIDS["gid"])
    before = apart.config.read_text()
    try:
        apart.stop()
        apart.config.write_text(json.dumps(settings))
        apart.start()
        assert errand(apart, "facts", agent="carol")["uids"] == [UIDS["first"] + 2] * 3
        assert squatter.wait(10) == -signal.SIGKILL
        told = errand(apart, "attack", agent="carol", paths=[str(apart.directory / "alice" / "secret")])
        assert done(told) == set()
    finally:
        squatter.kill()
        squatter.wait()
        apart.stop()
        apart.config.write_text(before)
        apart.start()


def test_the_environment_of_a_worker_is_its_own_and_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEERGATE_GATEWAY_PASSWORD", "sesame")
    monkeypatch.setenv("SOME_API_KEY", "sesame")
    settings: dict[str, Any] = config()
    settings["agents"]["entries"]["errand"] |= {"env": {"TOKEN": "errand"}}
    with started(settings) as system:
        printed = tool(system, "env")["out"]
        assert "TOKEN=errand" in printed
        assert "sesame" not in printed
        assert "TOKEN" not in tool(system, "env", agent="other")["out"]
