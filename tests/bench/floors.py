"""What this machine allows: the same steps with nothing of ours in the way. Measured in the same run as our own
figures."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.bench.load import closed_loop, frame, percentile, round_trips


def fork_to_trio(count: int = 40) -> float:
    """Milliseconds from fork to the first line inside trio.run, in a process that has imported what a worker imports:
    p50."""
    times = []
    for _ in range(count):
        reader, writer = os.pipe()
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            trio.run(_first_line, writer)
            os._exit(0)
        os.close(writer)
        os.read(reader, 1)
        times.append((time.perf_counter() - began) * 1000)
        os.close(reader)
        os.waitpid(pid, 0)
    return percentile(times, 50)


async def _first_line(writer: int) -> None:
    os.write(writer, b"x")


_ECHO = """
import socket, sys, trio
async def serve(connection):
    connection.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(connection)
        data = connection.recv(262144)
        if not data:
            return
        while data:
            try:
                data = data[connection.send(data):]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(connection)
async def main():
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                nursery.start_soon(serve, listener.accept()[0])
            except BlockingIOError:
                continue
trio.run(main)
"""


def echo() -> dict[str, float]:
    """A bare Trio echo of one frame of ours over a Unix socket: microseconds a round trip, and frames per second
    pipelined."""
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        path = Path(directory) / "echo.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(128)
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", _ECHO, str(listener.fileno())], pass_fds=[listener.fileno()]
        )
        try:
            body = frame("1", "health", {})
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                times = round_trips(client, [body] * 3000)
                rate = closed_loop([client], [body] * 30_000, window=64)
        finally:
            child.kill()
            child.wait()
            listener.close()
    return {"p50": percentile(times, 50) * 1e6, "rate": rate}


def group_commit(rows: int, batch: int) -> float:
    """Rows per second into SQLite, WAL, synchronous=FULL, `batch` rows a transaction, nothing else; where a measured
    system keeps its state, too."""
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        connection = sqlite3.connect(Path(directory) / "floor.db", isolation_level=None)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("create table t(id integer primary key, body text)")
        began = time.perf_counter()
        for start in range(0, rows, batch):
            connection.execute("begin immediate")
            connection.executemany("insert into t(body) values (?)", [("x" * 300,)] * min(batch, rows - start))
            connection.execute("commit")
        took = time.perf_counter() - began
        connection.close()
    return rows / took


def python_start(count: int = 10) -> float:
    """Milliseconds `python -I -c pass` takes: p50."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 50)
