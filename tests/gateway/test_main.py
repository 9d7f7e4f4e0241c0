"""The pieces of the gateway process that are no process: whom the configuration makes an operator, and its own
weight."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import closing
from pathlib import Path

import msgspec
import trio
import trio.testing

from gateway.config import Resolved
from gateway.control import SupervisorLink, Taken
from gateway.main import Gateway, policy_of
from gateway.protocol import scopes
from gateway.resources import give_memory_back, own_weight, raise_descriptor_limit
from gateway.services.admission import accept_all
from gateway.services.work import NewMessage
from gateway.stopping import Stop
from gateway.store import runs
from gateway.store.opening import open_writing
from supervisor.channel import Channel, pair
from supervisor.messages import Exited, Take
from tests.support.overseer import resolved

MAIN = "agent:main:main"


def open_door(path: Path) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen()
    return door


async def test_a_worker_that_ends_behind_a_gateway_that_has_closed_is_the_next_ones_business(tmp_path: Path):
    with closing(open_writing(tmp_path / "peergate.db")[0]) as db, db:
        accept_all(db, [(NewMessage("r1", MAIN, "hello"), 1.0)])
        runs.update(db, "r1", state="running", attempt=1, spawn="s1")
    ours, theirs = pair()
    supervisor, link, stop = Channel(ours), SupervisorLink(theirs), Stop()
    doors = {name: open_door(tmp_path / name) for name in ("agents", "operator")}
    take = Take(1, list(doors), str(tmp_path), str(tmp_path), os.getpid(), None)
    living = [{"spawn": "s1", "agent": "main", "session": MAIN, "pid": 1, "start": 1}]
    document = resolved({})
    taken = Taken(take, doors, document, living, {}, {})
    stop.say("test")
    async with trio.open_nursery() as background:
        await Gateway(link, taken, msgspec.json.decode(document, type=Resolved), stop).serve(background)
        supervisor.send_nowait(Exited("s1", "main", MAIN, None, 9))
        await trio.testing.wait_all_tasks_blocked(0.05)
        background.cancel_scope.cancel()
    supervisor.close()
    theirs.close()
    with closing(open_writing(tmp_path / "peergate.db")[0]) as db:
        assert [run.state for run in runs.unfinished(db)] == ["running"]


def test_the_configuration_says_who_is_whom():
    document = resolved(
        {
            "gateway.unix.operators": [1001],
            "gateway.unix.operatorGroup": 500,
            "gateway.unix.foreign": {"1000": "operator", "1002": ["operator.read"]},
            "supervisor.uids": {"first": 70000, "count": 10, "gid": 70000},
        }
    )
    policy = policy_of(msgspec.json.decode(document, type=Resolved))
    assert policy.owner == os.geteuid()
    assert (policy.operators, policy.operator_gid) == (frozenset({1001}), 500)
    assert policy.foreign == {
        1000: frozenset({scopes.READ, scopes.WRITE}),
        1002: frozenset({scopes.READ}),
    }
    assert 70009 in policy.agent_uids
    assert 70010 not in policy.agent_uids


def test_without_a_word_in_it_only_root_and_the_owner_are():
    policy = policy_of(msgspec.json.decode(resolved({}), type=Resolved))
    assert (policy.operators, policy.operator_gid, policy.foreign, len(policy.agent_uids)) == (frozenset(), None, {}, 0)


def test_it_knows_its_own_weight():
    rss, pss, descriptors = own_weight()
    assert rss >= pss > 1_000_000
    assert descriptors > 2


def test_a_hard_limit_the_kernel_would_not_give_again_stops_no_start(monkeypatch):
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")  # above fs.nr_open

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_what_lies_free_between_blocks_in_use_goes_back_to_the_kernel():
    blocks = [bytes(16_384) for _ in range(2_000)]
    kept = blocks[::2]
    del blocks
    before, *_ = own_weight()
    assert give_memory_back()
    after, *_ = own_weight()
    assert len(kept) == 1_000
    assert before - after > 8_000_000
