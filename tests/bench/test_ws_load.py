"""What a load over WebSockets sends, and what it counts as an answer: with a server of a few lines."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from wsproto.frame_protocol import FrameProtocol

from tests.bench.ws_load import ANSWER, Address, Guest, arrivals, call, closed_loop, round_trips, text

OPEN = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Server:
    """Opens every connection, then answers each read with `answer` of it."""

    def __init__(self) -> None:
        self.answer = lambda data: data
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                one = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            one.recv(65_536)
            one.sendall(OPEN)
            while data := one.recv(65_536):
                one.sendall(self.answer(data))


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.listener.shutdown(socket.SHUT_RDWR)
    one.listener.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 60_000])
def test_a_frame_is_what_a_server_reads(size):
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(text(b"x" * size))
    (frame,) = protocol.received_frames()
    assert frame.payload == "x" * size
    assert frame.message_finished


def test_each_answer_is_counted_once_however_it_is_cut(server):
    answers = b"".join(text(b'{"type":"res","id":"%d"}' % n + b" " * 200, masked=False) for n in range(3))
    pieces = iter([answers[:1], answers[1:5], answers[5:300], answers[300:]])
    server.answer = lambda data: next(pieces)
    guest = Guest(server.address)
    counted = []
    for _ in range(4):
        guest.socket.sendall(b"?")
        counted.append(guest.count(ANSWER))
    assert counted == [0, 0, 1, 2]
    guest.close()


def test_an_event_is_no_answer(server):
    said = text(b'{"type":"event","event":"tick"}', masked=False) + text(b'{"type":"res"}', masked=False)
    server.answer = lambda data: said
    guest = Guest(server.address)
    guest.socket.sendall(b"?")
    assert guest.count(ANSWER) == 1
    assert len(round_trips(guest, [b"?", b"?"])) == 2
    guest.socket.sendall(b"?")
    assert len(arrivals([guest], b'{"type":"event"', 1)) == 1
    guest.close()


def test_a_closed_loop_ends_when_the_last_answer_has_come(server):
    guests = [Guest(server.address) for _ in range(3)]
    frames = [call(str(n), "health", {}, masked=False) for n in range(40)]
    done, took = closed_loop(guests, frames, seconds=5, window=4)
    assert done == 3 * 40  # each connection ran out of frames
    assert took < 5
    for guest in guests:
        guest.close()


def test_a_connection_that_is_cut_off_is_an_error_and_not_a_slow_one(server):
    guest = Guest(server.address)
    server.answer = lambda data: b""
    guest.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        guest.hear()
    guest.close()


def test_a_door_that_refuses_the_upgrade_is_an_error(server, monkeypatch):
    monkeypatch.setattr("tests.bench.test_ws_load.OPEN", b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    with pytest.raises(ConnectionError, match="503"):
        Guest(server.address)
