"""The link: whole frames in, whole frames out, however the bytes travel, and never more memory than it may use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.link.base import LinkLost, OtherSender, SlowConsumer
from gateway.link.unix import UnixLink, connect_unix
from gateway.protocol.frames import FrameTooLarge, pack


def count_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def read_all(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    data = bytearray()
    try:
        while chunk := sock.recv(1 << 20):
            data += chunk
    except BlockingIOError:
        return bytes(data)
    return bytes(data)


async def test_frames_come_out_as_they_were_cut_not_as_they_arrived(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    for byte in pack(b"one") + pack(b"") + pack(b"three"):
        theirs.send(bytes([byte]))
    assert await link.receive() == [b"one", b"", b"three"]


async def test_what_is_left_of_a_read_comes_with_the_next(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    theirs.send(pack(b"a") * 5 + pack(b"b")[:3])
    assert await link.receive(2) == [b"a", b"a"]
    assert await link.receive(2) == [b"a", b"a"]
    assert await link.receive(2) == [b"a"]
    theirs.send(pack(b"b")[3:])
    assert await link.receive(2) == [b"b"]


async def test_a_frame_larger_than_the_limit_is_refused_from_its_header(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=10)
    theirs.send((11).to_bytes(4, "big"))
    with pytest.raises(FrameTooLarge, match="11 bytes"):
        await link.receive()


async def test_the_limit_counts_for_the_frame_that_is_cut_not_for_what_lies_behind_it(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=10)
    theirs.send(pack(b"hello") + pack(b"x" * 50))
    assert await link.receive(1) == [b"hello"]
    link.limit = 50
    assert await link.receive(1) == [b"x" * 50]


async def test_the_end_is_an_empty_list_and_half_a_frame_is_noticed(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    theirs.send(pack(b"whole") + b"\0\0")
    theirs.close()
    assert await link.receive() == [b"whole"]
    assert await link.receive() == []
    assert link.pending == 2


async def test_a_cancelled_receive_loses_nothing(nursery, pair, autojump_clock):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    theirs.send(pack(b"late")[:6])
    with trio.move_on_after(1):
        await link.receive()
    theirs.send(pack(b"late")[6:])
    assert await link.receive() == [b"late"]


async def test_answers_leave_in_one_piece_when_the_reader_comes_back(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100, gather=True)
    theirs.send(pack(b"1") + pack(b"2"))
    for answer in await link.receive():
        link.send_nowait(answer)
    assert read_all(theirs) == b""
    nursery.start_soon(link.receive)
    await trio.testing.wait_all_tasks_blocked()
    assert read_all(theirs) == pack(b"1") + pack(b"2")
    link.send_nowait(b"news")  # while the reader waits nothing is held back
    assert read_all(theirs) == pack(b"news")


async def test_what_was_gathered_leaves_before_the_last_words_are_over(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100, gather=True)
    theirs.send(pack(b"1"))
    await link.receive()
    link.send_nowait(b"answer")
    await link.flush()
    assert read_all(theirs) == pack(b"answer")


async def test_a_reader_who_pauses_gets_everything_in_order(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    bodies = [bytes([number]) * 50_000 for number in range(60)]
    for body in bodies:
        link.send_nowait(body)
    assert link.unsent > 0
    received = bytearray()
    with trio.fail_after(5):
        while len(received) < sum(len(body) + 4 for body in bodies):
            received += read_all(theirs)
            await trio.lowlevel.checkpoint()
    assert received == b"".join(map(pack, bodies))
    assert link.unsent == 0


async def test_a_reader_who_does_not_read_is_given_up_at_the_bound(nursery, pair):
    ours, _ = pair
    link = UnixLink(ours, nursery, limit=100, max_buffered=1_000_000)

    def send_without_end() -> None:
        for _ in range(100):
            link.send_nowait(b"x" * 50_000)

    with pytest.raises(SlowConsumer, match="unread"):
        send_without_end()
    assert link.unsent < 1_100_000


async def test_one_large_frame_may_exceed_the_bound(nursery, pair):
    ours, _ = pair
    link = UnixLink(ours, nursery, limit=100, max_buffered=1000)
    link.send_nowait(b"x" * 5_000_000)
    with pytest.raises(SlowConsumer):
        link.send_nowait(b"y")


async def test_a_peer_that_is_gone_is_told_on_either_side(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100)
    theirs.close()
    with pytest.raises(LinkLost):
        link.send_nowait(b"x")


async def test_closing_wakes_whoever_reads(nursery, pair):
    ours, _ = pair
    link = UnixLink(ours, nursery, limit=100)

    async def close():
        link.close()
        link.close()

    nursery.start_soon(close)
    with pytest.raises(LinkLost):
        await link.receive()


async def test_with_a_known_sender_its_frames_pass(nursery, pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    link = UnixLink(ours, nursery, limit=100, sender=os.getpid())
    theirs.send(pack(b"mine"))
    assert await link.receive() == [b"mine"]


async def test_a_frame_without_a_sender_is_refused(nursery, pair):
    ours, theirs = pair
    link = UnixLink(ours, nursery, limit=100, sender=os.getpid())
    theirs.send(pack(b"nobody's"))
    with pytest.raises(OtherSender):
        await link.receive()


async def test_a_descriptor_sent_along_is_refused_and_not_kept(nursery, pair):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    link = UnixLink(ours, nursery, limit=100, sender=os.getpid())
    before = count_descriptors()
    socket.send_fds(theirs, [pack(b"gift")], [0, 1, 2])
    with pytest.raises(OtherSender):
        await link.receive()
    assert count_descriptors() == before


@pytest.mark.parametrize("depth", [0, 3], ids=["short path", "path longer than sun_path"])
async def test_connecting_works_however_long_the_path(tmp_path, depth: int):
    directory = tmp_path.joinpath(*["d" * 60] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    fd = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{fd}/s")
        os.close(fd)
        listener.listen()
        with await connect_unix(str(directory / "s")) as client:
            assert client.fileno() >= 0


async def test_connecting_waits_while_the_backlog_is_full(tmp_path, nursery):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with await connect_unix(path):
            waiting: list[socket.socket] = []

            async def connect():
                waiting.append(await connect_unix(path))

            nursery.start_soon(connect)
            await trio.testing.wait_all_tasks_blocked()
            assert waiting == []
            listener.accept()[0].close()
            with trio.fail_after(5):
                while not waiting:
                    await trio.lowlevel.checkpoint()
            waiting[0].close()


async def test_connecting_where_nobody_listens_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        await connect_unix(str(tmp_path / "nothing"))
