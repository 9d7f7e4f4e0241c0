"""The outer door as a place: who comes is a task of its own, counted, bounded in time, and gone without a trace."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.auth.proxies import networks_from
from gateway.link.tcp import Tcp
from gateway.listen.http import HEAD_SECONDS, IDLE_SECONDS, LINGER_SECONDS
from gateway.listen.tcp import MAX_OPEN_PER_ADDRESS, TLS_SECONDS, Crowd, ends_of, plain
from gateway.protocol.limits import MAX_UNGREETED_PER_DOOR
from tests.gateway.link.ends import REQUEST, TEXT, Wire, frame
from tests.gateway.listen.street import Street, Visitor

PROBE = b"GET /healthz HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


@pytest.fixture
async def street(nursery):
    one = Street(nursery)
    yield one
    nursery.cancel_scope.cancel()
    one.close()


@pytest.fixture
async def safe(nursery, tmp_path):
    """A street whose door speaks TLS."""
    one = Street(nursery, tls=tmp_path)
    yield one
    nursery.cancel_scope.cancel()
    one.close()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def tasks(nursery: trio.Nursery) -> int:
    return len(nursery.child_tasks)


async def shaken(street: Street) -> Visitor:
    """Somebody who has agreed on TLS."""
    bare = street.visitor()
    inside = Tcp(bare.stream._sock, street.client_context, server_side=False, server_hostname="gateway.test")
    with trio.fail_after(10):
        await inside.handshake()
    return Visitor(inside)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_visitor_has_two_ends_and_a_door(nursery, host: str):
    street = Street(nursery, host=host)
    wire = Wire(street.visitor().stream._sock)
    wire.stream.write(REQUEST)
    await wire.head()
    ((visit, _),) = street.came
    assert (visit.door, visit.local) == ("outer:0", (host, street.port))
    assert visit.remote == wire.stream._sock.getsockname()[:2]
    nursery.cancel_scope.cancel()
    street.close()


def test_an_address_is_compared_as_what_it_is():
    assert [plain(one) for one in ("::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1")] == [
        "10.0.0.1",
        "fe80::1",
        "10.0.0.1",
    ]


def test_who_has_gone_before_we_looked_has_no_ends():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        visitor = socket.create_connection(listener.getsockname())
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()
        ours = listener.accept()[0]
        with ours:
            assert ends_of(ours) is None


async def test_it_leaves_nothing_behind_after_a_thousand_probes(street, nursery):
    await street.ask(PROBE)
    await settle()
    before, running = descriptors(), tasks(nursery)
    for number in range(1000):
        visitor = street.visitor()
        if number % 4 == 0:
            visitor.stream.write(PROBE)
        elif number % 4 == 1:
            visitor.stream.write(b"\x16\x03\x01")
        elif number % 4 == 2:
            visitor.stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.stream.close()
        if number % 50 == 49:
            await settle()
    await settle()
    assert (descriptors(), tasks(nursery), len(street.crowd)) == (before, running, 0)


async def test_a_fault_of_ours_ends_one_conversation(street, caplog):
    wires = [Wire(street.visitor().stream._sock) for _ in range(2)]
    for wire in wires:
        wire.stream.write(REQUEST)
        await wire.head()
    wires[0].stream.write(frame(TEXT, b"break"))
    with pytest.raises(EOFError):
        await wires[0].hear()
    wires[1].stream.write(frame(TEXT, b"well"))
    assert await wires[1].hear() == (TEXT, b"well")
    assert caplog.text.count("a conversation failed") == 1


async def test_one_address_cannot_take_the_whole_door(street, autojump_clock):
    silent = [street.visitor() for _ in range(MAX_OPEN_PER_ADDRESS)]
    await settle()
    assert len(street.crowd) == MAX_OPEN_PER_ADDRESS
    assert await street.visitor().is_hung_up_on()
    silent[0].stream.close()
    await settle()
    assert (await street.ask(PROBE))[0] == 200


async def test_a_proxy_is_everybody(street, autojump_clock):
    street.proxies = ("anything",)
    for _ in range(MAX_OPEN_PER_ADDRESS + 5):
        street.visitor()
    await settle()
    assert (await street.ask(PROBE))[0] == 200


async def test_when_the_door_is_full_who_has_waited_longest_makes_room(street, autojump_clock):
    street.proxies = ("anything",)
    crowd = [street.visitor() for _ in range(MAX_UNGREETED_PER_DOOR - 1)]
    await settle()
    late = street.visitor()
    await settle()
    assert await crowd[0].is_hung_up_on()
    assert len(street.crowd) == MAX_UNGREETED_PER_DOOR - 1
    for visitor in (late, crowd[1]):
        visitor.stream.write(PROBE)
        assert (await visitor.answer())[0] == 200


async def test_whoever_fills_the_door_makes_room_and_not_who_came_before_them(street):
    street.proxies, street.greets = networks_from(["127.0.0.1"]), False
    alone = Wire(street.visitor().stream._sock)
    alone.stream.write(REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"))
    await alone.head()
    crowd = [street.visitor() for _ in range(MAX_UNGREETED_PER_DOOR - 1)]
    assert await crowd[0].is_hung_up_on()
    alone.stream.write(frame(TEXT, b"still here"))
    assert await alone.hear() == (TEXT, b"still here")


async def test_retiring_ends_those_who_are_not_in_and_leaves_the_others(street):
    inside = Wire(street.visitor().stream._sock)
    inside.stream.write(REQUEST)
    await inside.head()
    await settle()
    street.greets = False
    waiting, probing = Wire(street.visitor().stream._sock), street.visitor()
    waiting.stream.write(REQUEST)
    await waiting.head()
    await settle()
    street.accepting.cancel()
    street.door.retire()
    with pytest.raises(EOFError):
        await waiting.hear()
    assert await probing.is_hung_up_on()
    inside.stream.write(frame(TEXT, b"still"))
    assert await inside.hear() == (TEXT, b"still")
    assert street.listener.fileno() >= 0
    later = street.visitor()  # in the queue, for the next gateway
    await settle()
    assert later.stream._sock.getpeername()[1] == street.port


def test_a_crowd_counts_each_address_for_itself():
    crowd = Crowd()
    assert [crowd.enter("a"), crowd.enter("a"), crowd.enter("b")] == [1, 2, 1]
    crowd.leave("a")
    assert (crowd["a"], crowd["b"], crowd["c"], len(crowd)) == (1, 1, 0, 2)
    crowd.leave("a")
    crowd.leave("b")
    assert (len(crowd), crowd._counts) == (0, {})


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_over_tls_it_is_the_same_door(safe):
    visitor = await shaken(safe)
    visitor.stream.write(PROBE)
    assert (await visitor.answer())[0] == 200
    inside = (await shaken(safe)).stream
    inside.write(REQUEST + b"")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await inside.receive_some(1)
    inside.write(frame(TEXT, b"hello"))
    assert await inside.receive_some() == b"\x81\x05hello"
    assert inside.tls is not None
    assert inside.tls.version() == "TLSv1.3"


async def test_who_forgets_tls_is_told(safe):
    status, _, body = await safe.ask(PROBE)
    assert (status, b"https://" in body) == (400, True)


async def test_who_speaks_tls_to_a_plain_door_is_hung_up_on(street, tmp_path):
    visitor = street.visitor()
    visitor.stream.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506))
    assert (await visitor.answer())[0] == 400
    assert await visitor.is_hung_up_on()


async def test_a_handshake_that_is_never_finished_ends(safe, autojump_clock):
    visitor = safe.visitor()
    visitor.stream.write(b"\x16\x03\x01\x02\x00\x01")
    assert await visitor.is_hung_up_on()
    assert trio.current_time() == pytest.approx(TLS_SECONDS, abs=0.1)
    await settle()
    assert len(safe.crowd) == 0


async def test_a_thousand_who_begin_tls_and_leave_leave_nothing(safe, nursery):
    await settle()
    before, running = descriptors(), tasks(nursery)
    for number in range(1000):
        visitor = safe.visitor()
        visitor.stream.write((b"\x16\x03\x01\x02\x00\x01", b"\0\0\0\0", b"")[number % 3])
        visitor.stream.close()
        if number % 50 == 49:
            await settle()
    await settle()
    assert (descriptors(), tasks(nursery), len(safe.crowd)) == (before, running, 0)


async def test_while_there_is_no_certificate_nobody_is_let_in(safe):
    good, safe.context = safe.context, None
    assert await safe.visitor().is_hung_up_on()
    safe.context = good
    assert (await shaken(safe)).stream.tls is not None


async def test_who_reads_no_answers_is_hung_up_on(street, autojump_clock):
    street.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what is accepted has it too
    visitor = street.visitor(buffer=2048)
    visitor.stream.write(200 * PROBE)
    await trio.testing.wait_all_tasks_blocked()
    assert len(street.crowd) == 1
    await trio.sleep(IDLE_SECONDS + HEAD_SECONDS + LINGER_SECONDS + 1)
    assert len(street.crowd) == 0
