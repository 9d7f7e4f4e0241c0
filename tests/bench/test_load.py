"""What a load counts as served: with a server of a few lines, ended and started again in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from tests.bench.load import closed_loop, connect, frame, served_again

DOOR = Path("door")


class Server:
    """Answers every frame with itself. Its listener outlives `cut`, as the supervisor's outlives a gateway."""

    def __init__(self, path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.taken: list[socket.socket] = []
        self.answered = 0
        self.only_greets = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Lose every connection."""
        taken, self.taken = self.taken, []
        for one in taken:
            with contextlib.suppress(OSError):  # it has ended by itself
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Turn away whoever comes from now on."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                one = self.listener.accept()[0]
            except OSError:
                return
            self.taken.append(one)
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            while data := one.recv(65_536):
                if b"hello" in data or not self.only_greets:
                    with self._lock:
                        self.answered += 1
                    one.sendall(data)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    one = Server(DOOR)
    yield one
    if one.listener.fileno() >= 0:
        one.close()


def test_every_client_that_was_cut_off_is_greeted_and_answered_again(server):
    before = []

    def end() -> None:
        before.append(server.answered)
        server.cut()

    served_again(DOOR, 5, end, seconds=10)
    assert before == [5]
    assert server.answered - before[0] == 2 * 5


def test_a_client_that_is_turned_away_is_an_error_and_not_a_slow_one(server):
    with pytest.raises(ConnectionRefusedError):
        served_again(DOOR, 2, server.close, seconds=10)


def test_clients_that_are_greeted_and_never_answered_are_not_served(server):
    server.only_greets = True
    with pytest.raises(TimeoutError, match="2 clients"):
        served_again(DOOR, 2, server.cut, seconds=0.3)


def test_a_closed_loop_counts_each_call_once(server):
    clients = [connect(DOOR) for _ in range(3)]
    assert closed_loop(clients, [frame(str(n), "health", {}) for n in range(30)]) > 0
    assert server.answered == 3 + 30
    for client in clients:
        client.close()
