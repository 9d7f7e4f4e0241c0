"""The real gateway in a process of its own, behind doors that outlive it: friends, strangers, attackers, successors."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.client import CallFailed, ConnectionLost, open_client
from gateway.protocol.frames import pack
from supervisor.messages import Beat, Exited, Identity, Retired
from tests.support import peers
from tests.support.doors import encode_request
from tests.support.overseer import Overseer, overseen

ME = os.getpid()
WORKER = Identity(0, "worker", "s1", "main", "agent:main:main")
TOOL = Identity(0, "tool", "s1", "main", "agent:main:main")


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory every uid may enter; pytest's own may be root's alone."""
    with tempfile.TemporaryDirectory(prefix="peergate-doors-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def knock(path: str, *data: bytes) -> socket.socket:
    """A visitor who says what it likes, as far as it is listened to; closed by the caller."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)  # blocking: a full backlog makes it wait instead of failing (unix(7))
    sock.settimeout(20)
    with suppress(BrokenPipeError, ConnectionResetError):
        for one in data:
            sock.sendall(one)
    return sock


async def knock_and_hear(path: str, *data: bytes, then_shut: bool = False) -> bytes:
    """The same, and everything it hears until the gateway hangs up."""

    def visit() -> bytes:
        with knock(path, *data) as sock:
            if then_shut:
                sock.shutdown(socket.SHUT_WR)
            return heard_by(sock)

    return await trio.to_thread.run_sync(visit)


def let_everybody_in(path: str) -> None:
    Path(path).chmod(0o666)


def heard_by(sock: socket.socket) -> bytes:
    """Everything until the gateway hangs up."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        return data
    return data


async def refusals(overseer: Overseer, wanted: dict[str, int]) -> list[dict[str, Any]]:
    """The table, newest first, once it counts what is `wanted`; it is written a moment after the fact."""
    async with open_client(overseer.path("operator")) as client:
        answer: dict[str, Any] = {}
        with trio.move_on_after(5):
            while answer.get("counts") != wanted:
                answer = await client.call("refusals.list", {"limit": 500})
                await trio.sleep(0.02)
        assert answer["counts"] == wanted
        rows: list[dict[str, Any]] = answer["refusals"]
        return rows


async def test_root_is_greeted_and_everything_it_may_call_has_a_handler(tmp_path: Path):
    async with overseen(tmp_path) as overseer, open_client(overseer.path("operator")) as client:
        assert client.hello["principal"] == {"kind": "operator", "uid": os.geteuid(), "pid": ME}
        assert (await client.call("health"))["ok"]
        assert (await client.call("status"))["gateway"]["doors"] == ["agents", "operator"]
        beat = await overseer.wait_for(Beat)
        assert isinstance(beat, Beat)
        assert 0 < beat.pss <= beat.rss
        assert beat.descriptors > 5


async def test_a_worker_comes_in_by_its_ticket_and_goes_with_its_process(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        overseer.identities[ME] = WORKER
        overseer.tickets["s1"] = "t1"
        async with open_client(overseer.path("agents"), ticket="t1") as worker:
            assert worker.hello["principal"]["kind"] == "worker"
            async with open_client(overseer.path("agents")) as tool:
                assert tool.hello["principal"] == {
                    "kind": "tool", "uid": os.geteuid(), "pid": ME, "agentId": "main", "sessionKey": "agent:main:main",
                }  # fmt: skip
                overseer.channel.send_nowait(Exited("s1", "main", "agent:main:main", 0, None))
                assert await worker.wait_closed() == await tool.wait_closed() == "its worker ended"


async def test_a_used_ticket_opens_no_door(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        overseer.identities[ME] = WORKER
        overseer.tickets["s1"] = "t1"
        async with open_client(overseer.path("agents"), ticket="t1"):
            with pytest.raises(CallFailed, match="wrong ticket"):
                async with open_client(overseer.path("agents"), ticket="t1"):
                    raise AssertionError("it was let in twice")


async def test_a_tool_with_roots_uid_is_no_operator_at_any_door_and_its_attempt_is_remembered(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        overseer.identities[ME] = TOOL
        for door in ("agents", "operator"):
            async with open_client(overseer.path(door)) as tool:
                for method in ("status", "config.get", "agents.stop", "sessions.list", "worker.next"):
                    with pytest.raises(CallFailed) as caught:
                        await tool.call(method, {"agentId": "main"} if method == "agents.stop" else {})
                    assert caught.value.code == "FORBIDDEN"
        del overseer.identities[ME]
        rows = await refusals(overseer, {"FORBIDDEN": 10})
        assert all("tool of agent main" in row["peer"] for row in rows)


async def test_an_operator_at_the_agents_door_is_told_where_to_go(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        with pytest.raises(CallFailed, match=r"operator\.sock"):
            async with open_client(overseer.path("agents")):
                raise AssertionError("it was let in")


async def test_attackers_of_every_kind_end_their_own_connections_and_no_others(tmp_path: Path):
    dice = random.Random(5)
    hello = encode_request("0", "connect")
    attacks: dict[str, tuple[bytes, ...]] = {
        "garbage": (dice.randbytes(5000),),
        "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",),
        "announces 4 GiB": (b"\xff\xff\xff\xff",),
        "nested arrays": (hello, pack(b"\x91" * 1_000_000)),
        "nested parameters": (
            hello,
            pack(b"\x84\xa4type\xa3req\xa2id\xa11\xa6method\xa6health\xa6params" + b"\x91" * 900_000),
        ),
        "empty frames": (hello, bytes(4) * 1000),
        "calls first": (encode_request("1", "health"),),
        "future protocol": (encode_request("0", "connect", {"minProtocol": 99, "maxProtocol": 99}),),
        "not utf-8": (hello, pack(b"\x83\xa4type\xa3req\xa2id\xa1\xff\xa6method\xa1x")),
    }
    async with overseen(tmp_path) as overseer, open_client(overseer.path("operator")) as friend:
        for name, data in attacks.items():
            assert b"closed" in await knock_and_hear(overseer.path("operator"), *data), name
            assert (await friend.call("health"))["ok"], name
        half = encode_request("1", "health")[:-3]
        assert b"closed" in await knock_and_hear(overseer.path("operator"), hello, half, then_shut=True)
        assert (await friend.call("health"))["connections"] == 1
        await refusals(overseer, {"BAD_FRAME": 5, "HELLO_TOO_LARGE": 3, "NOT_CONNECT": 1, "PROTOCOL_MISMATCH": 1})


async def test_a_flood_of_calls_without_reading_ends_only_the_flooder(tmp_path: Path):
    flood = encode_request("1", "status") * 4000
    async with overseen(tmp_path) as overseer, open_client(overseer.path("operator")) as friend:
        with knock(overseer.path("operator"), encode_request("0", "connect")) as flooder:
            flooder.setblocking(False)
            rest = flood
            with trio.fail_after(30), suppress(BrokenPipeError, ConnectionResetError):
                while True:
                    with suppress(BlockingIOError):
                        rest = rest[flooder.send(rest) :] or flood
                    with trio.fail_after(2):
                        assert (await friend.call("health"))["ok"]
        await refusals(overseer, {"SLOW_CONSUMER": 1})


async def test_clients_hear_why_it_stops_and_the_successor_serves_who_waited(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        async with open_client(overseer.path("operator"), events=True) as client:
            assert await overseer.retire() == 0
            assert (await client.events.receive()).event == "shutdown"
            assert await client.wait_closed() == "service restart"
        assert any(isinstance(message, Retired) for message in overseer.heard)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_health, overseer, 2)
            await trio.sleep(0.05)
            await overseer.start()


async def ask_health(overseer: Overseer, generation: int) -> None:
    async with open_client(overseer.path("operator")) as client:
        assert (await client.call("health"))["generation"] == generation


async def test_killed_at_once_its_place_is_taken_and_nobody_who_waits_is_refused(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        async with open_client(overseer.path("operator")) as client:
            overseer.process.send_signal(signal.SIGKILL)
            with pytest.raises(ConnectionLost):
                await client.call("health")
        await overseer.ended()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask_health, overseer, 2)
            await overseer.start()


async def test_sigterm_is_as_good_as_retire(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        overseer.process.send_signal(signal.SIGTERM)
        await overseer.wait_for(Retired)
        assert await overseer.ended() == 0


async def test_without_its_supervisor_it_does_not_go_on(tmp_path: Path):
    async with overseen(tmp_path) as overseer:
        overseer.channel.close()
        assert await overseer.ended() == 70


async def test_a_reload_changes_who_is_an_operator(public_place: Path):
    async with overseen(public_place) as overseer:
        let_everybody_in(overseer.path("operator"))
        assert b"54321 is no operator" in await visit_as(overseer, 54321)
        overseer.reload({"gateway.unix.operatorGroup": 54321})
        assert b"hello-ok" in await visit_as(overseer, 54321)


async def test_a_container_has_a_door_of_its_own_and_only_that(public_place: Path):
    mapped = {"gateway__unix__foreign": {"54321": ["operator.read"]}, "gateway__unix__operators": [54321]}
    container = ["unshare", "--pid", "--fork", "--kill-child"]
    async with overseen(public_place, "operator", "foreign", **mapped) as overseer:
        for door in ("operator", "foreign"):
            let_everybody_in(overseer.path(door))
        assert b"\xa4role\xa7foreign" in await visit_as(overseer, 54321, door="foreign", wrap=container)
        assert b"\xa4role\xa8operator" in await visit_as(overseer, 54321)
        assert b"another PID namespace" in await visit_as(overseer, 54321, wrap=container)
        assert b"gateway.unix.foreign" in await visit_as(overseer, 0, door="foreign", wrap=container)
        assert b"operator.sock" in await visit_as(overseer, 54321, door="foreign")


async def visit_as(overseer: Overseer, uid: int, *, door: str = "operator", wrap: Sequence[str] = ()) -> bytes:
    """What a process with this uid and gid is answered at a door."""
    answered = await trio.run_process(
        [*wrap, sys.executable, "-I", peers.__file__, "greet", overseer.path(door), "", str(uid), str(uid)],
        capture_stdout=True,
    )
    return bytes(answered.stdout)


def descriptors(wanted: int) -> int:
    """How many of `wanted` connections this process may hold, after raising its limit as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - 500)


@pytest.mark.slow
async def test_ten_thousand_idle_connections_are_held_and_told(tmp_path: Path):
    many = descriptors(10_000)
    hello = encode_request("0", "connect", {"events": True})
    async with overseen(tmp_path) as overseer, open_client(overseer.path("operator")) as friend:
        crowd = await trio.to_thread.run_sync(lambda: [knock(overseer.path("operator"), hello) for _ in range(many)])
        while (await friend.call("health"))["connections"] < many + 1:
            await trio.sleep(0.05)
        assert (await friend.call("status"))["gateway"]["listeners"] == many
        overseer.process.send_signal(signal.SIGTERM)
        assert await overseer.ended(patience=120) == 0
        for sock in crowd:
            assert b"shutdown" in heard_by(sock)
            sock.close()
