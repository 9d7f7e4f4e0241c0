"""The control channel: questions meet their answers, and a gateway whose supervisor is gone knows it."""

from __future__ import annotations

import array
import os
import socket

import pytest
import trio

from gateway.control import MAX_QUEUED, SpawnRefused, SupervisorGone, SupervisorLink
from gateway.descriptors import read_memfd
from supervisor.messages import (
    MAX_MESSAGE_BYTES,
    Beat,
    Claim,
    Claimed,
    Exited,
    Held,
    Hold,
    Identity,
    Live,
    Message,
    Processes,
    ProcessTable,
    Reload,
    Retire,
    Spawn,
    Spawned,
    SpawnFailed,
    StopWorker,
    Take,
    WhoHolds,
    Whois,
    decode,
    encode,
)

TAKE = Take(3, ["agents", "operator", "outer:0"], "/state", "/run", 1, None)


class Supervisor:
    """The other end, message by message."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def say(self, message: Message, fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([encode(message)], rights)

    async def hear(self) -> tuple[Message, list[int]]:
        await trio.lowlevel.wait_readable(self.sock)
        data, fds, _, _ = socket.recv_fds(self.sock, MAX_MESSAGE_BYTES, 4)
        return decode(data), fds


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield SupervisorLink(ours), Supervisor(theirs)


@pytest.fixture
async def serving(ends, nursery):
    """A link whose receive loop runs, and the supervisor."""
    await nursery.start(ends[0].serve)
    yield ends
    nursery.cancel_scope.cancel()


def memfd(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


async def test_taking_over_brings_doors_configuration_and_the_living(ends):
    link, supervisor = ends
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two, socket.socket() as tcp:
        document = memfd(b"{}")
        supervisor.say(TAKE, [one.fileno(), two.fileno(), tcp.fileno(), document])
        os.close(document)
        supervisor.say(Live([{"spawn": "s1"}], {"scout": "5 deaths"}, last=False))
        supervisor.say(Live([{"spawn": "s2"}], {"main": "held"}))
        taken = await link.wait_taken()
    assert (taken.take, taken.document) == (TAKE, b"{}")
    assert [row["spawn"] for row in taken.rows] == ["s1", "s2"]
    assert taken.quarantined == {"scout": "5 deaths", "main": "held"}
    assert (list(taken.doors), list(taken.outer)) == (["agents", "operator"], ["outer:0"])
    assert taken.outer["outer:0"].family == socket.AF_INET
    for door in (*taken.doors.values(), *taken.outer.values()):
        assert not os.get_inheritable(door.fileno())
        door.close()


@pytest.mark.parametrize("first", [Beat(), TAKE], ids=["another message", "Take without its descriptors"])
async def test_anything_but_take_first_ends_the_gateway(ends, first: Message):
    link, supervisor = ends
    supervisor.say(first)
    with pytest.raises(SupervisorGone):
        await link.wait_taken()


async def test_answers_find_their_questions_in_any_order(serving, nursery):
    link, supervisor = serving
    told: dict[str, object] = {}

    async def ask(name: str) -> None:
        told[name] = (await link.claim(name, "t")).reason

    nursery.start_soon(ask, "a")
    nursery.start_soon(ask, "b")
    heard = [(await supervisor.hear())[0] for _ in range(2)]
    for question in reversed(heard):
        assert isinstance(question, Claim)
        supervisor.say(Claimed(question.id, False, question.spawn.upper()))
    await trio.testing.wait_all_tasks_blocked()
    assert told == {"a": "A", "b": "B"}


async def test_a_question_about_a_tcp_peer_names_both_ends(serving, nursery):
    link, supervisor = serving

    async def answer() -> None:
        question, _ = await supervisor.hear()
        assert question == WhoHolds(question.id, "127.0.0.1", 18789, "127.0.0.1", 40000)
        supervisor.say(Held(question.id, "outside", 1000, [77], "c00c1e"))

    nursery.start_soon(answer)
    held = await link.holder(("127.0.0.1", 18789), ("127.0.0.1", 40000))
    assert (held.kind, held.uid, held.pids, held.cookie) == ("outside", 1000, [77], "c00c1e")


async def test_whois_lends_the_pidfd(serving, nursery):
    link, supervisor = serving
    pidfd = os.pidfd_open(os.getpid())

    async def answer() -> None:
        question, fds = await supervisor.hear()
        assert question == Whois(question.id, 5, True)
        assert os.fstat(fds[0]).st_ino == os.fstat(pidfd).st_ino
        os.close(fds[0])
        supervisor.say(Identity(question.id, "tool", "s1"))

    nursery.start_soon(answer)
    assert (await link.whois(5, pidfd)).kind == "tool"
    os.close(pidfd)


async def test_a_spawn_is_answered_or_refused(serving, nursery):
    link, supervisor = serving

    async def answer() -> None:
        for make in (lambda id: Spawned(id, "s1", 7, 9), lambda id: SpawnFailed(id, "held", True, 50)):
            question, _ = await supervisor.hear()
            assert question == Spawn(question.id, "main", "agent:main:main")
            supervisor.say(make(question.id))

    nursery.start_soon(answer)
    assert (await link.spawn("main", "agent:main:main")).pid == 7
    with pytest.raises(SpawnRefused, match="held") as caught:
        await link.spawn("main", "agent:main:main")
    assert (caught.value.quarantined, caught.value.retry_ms) == (True, 50)


async def test_a_long_process_table_comes_in_pieces(serving, nursery):
    link, supervisor = serving

    async def answer() -> None:
        question, _ = await supervisor.hear()
        assert isinstance(question, Processes)
        supervisor.say(ProcessTable(question.id, [{"pid": 1}], last=False))
        supervisor.say(ProcessTable(question.id, [{"pid": 2}]))

    nursery.start_soon(answer)
    assert await link.processes() == [{"pid": 1}, {"pid": 2}]


async def test_what_the_supervisor_says_of_its_own_accord_is_heard_in_order(serving):
    link, supervisor = serving
    heard: list[object] = []
    link.on(Exited, lambda said: heard.append(said.spawn))
    link.on(Exited, lambda said: heard.append("again"))
    link.on_with_descriptors(Reload, lambda said, fds: heard.append(b"".join(map(read_memfd, fds))))
    supervisor.say(Exited("s1", "main", "k", 0, None))
    document = memfd(b"{}")
    supervisor.say(Reload(), [document])
    supervisor.say(Beat())
    os.close(document)
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["s1", "again", b"{}"]


async def test_one_that_is_not_ready_hears_only_what_it_listens_to_already(serving):
    link, supervisor = serving
    heard: list[object] = []
    link.on(Retire, lambda said: heard.append(said.reason))
    link.keep()
    document = memfd(b"{}")
    supervisor.say(Exited("s1", "main", "k", 0, None))
    supervisor.say(Reload(), [document])
    supervisor.say(Retire("stop"))
    os.close(document)
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["stop"]
    link.on(Exited, lambda said: heard.append(said.spawn))
    link.on_with_descriptors(Reload, lambda said, fds: heard.append(b"".join(map(read_memfd, fds))))
    link.release()
    supervisor.say(Exited("s2", "main", "k", 0, None))
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["stop", "s1", b"{}", "s2"]


async def test_one_that_is_not_ready_for_far_too_long_leaves_it_to_the_next(ends):
    link, supervisor = ends
    link.keep()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_too_much, supervisor)
        with pytest.raises(SupervisorGone, match=f"{MAX_QUEUED} messages unheard"):
            await link.serve()


async def _say_too_much(supervisor: Supervisor) -> None:
    for _ in range(MAX_QUEUED + 1):
        await trio.lowlevel.wait_writable(supervisor.sock)
        supervisor.say(Exited("s1", "main", "k", 0, None))


async def test_orders_travel_without_an_answer(serving):
    link, supervisor = serving
    link.stop_worker("s1", "asked", 2.0)
    link.hold("main", True, "asked")
    assert (await supervisor.hear())[0] == StopWorker("s1", "asked", 2.0)
    assert (await supervisor.hear())[0] == Hold("main", True, "asked")


async def test_a_supervisor_that_does_not_answer_is_not_waited_for_for_ever(serving, autojump_clock):
    link, _ = serving
    with pytest.raises(trio.TooSlowError):
        await link.whois(1, None)
    assert link._questions == {}


async def test_a_supervisor_that_reads_late_gets_everything_in_order(serving):
    link, supervisor = serving
    for number in range(900):
        link.send_nowait(Hold("main", True, f"{number}" + "x" * 2000))
    for number in range(900):
        message, _ = await supervisor.hear()
        assert isinstance(message, Hold)
        assert message.reason.startswith(f"{number}x")


async def test_a_supervisor_that_never_reads_is_given_up(serving):
    link, _ = serving

    def send_without_end() -> None:
        for _ in range(3 * MAX_QUEUED):
            link.send_nowait(Hold("main", True, "x" * 2000))

    with pytest.raises(SupervisorGone, match="unread"):
        send_without_end()


@pytest.mark.parametrize("how", ["closed", "garbage"])
async def test_without_a_supervisor_questions_fail_and_serving_ends(ends, how: str):
    link, supervisor = ends
    outcomes: list[str] = []

    async def ask() -> None:
        with pytest.raises(SupervisorGone):
            await link.processes()
        outcomes.append("told")

    async def serve() -> None:
        with pytest.raises(SupervisorGone):
            await link.serve()
        outcomes.append("ended")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        if how == "closed":
            supervisor.sock.close()
        else:
            supervisor.sock.send(b"{}")
    assert sorted(outcomes) == ["ended", "told"]
    with pytest.raises(SupervisorGone):
        link.send_nowait(Beat())
