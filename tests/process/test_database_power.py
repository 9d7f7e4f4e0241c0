"""A power cut: what a disk holds at any moment has every row that was acknowledged before it.

A disk that loses power keeps what was synced, and of what was not it keeps some sectors and loses others. Two ways to
see it: an ext4 on a loop device whose image is copied while the writer stands still (what was not flushed is not in
it), and, where there are no loop devices, the files themselves with everything behind the last commit torn."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.opening import open_writing
from tests.support.disks import ext4, mounted
from tests.support.system import eventually

_WRITER = """
import os, sys
from pathlib import Path
import trio
from gateway.store.database import open_database

async def write(database, number, limiter):
    add = "INSERT INTO refusals (id, at, code, door, peer, reason) VALUES (?, 1, 'x', 'y', 'z', ?)"
    async with limiter:
        await database.write(lambda db: db.execute(add, (number, "r" * 300)))
    # What is acknowledged is on the log below before anybody else can see it: one write(2), appended.
    os.write(1, b"%d\\n" % number)

async def main():
    async with open_database(Path(sys.argv[1])) as database:
        limiter = trio.CapacityLimiter(16)
        number = 0
        while True:
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    number += 1
                    nursery.start_soon(write, database, number, limiter)

trio.run(main)
"""
CUTS = 12
SECTOR = 512


def acknowledged(log: Path) -> set[int]:
    return {int(line) for line in log.read_bytes().rpartition(b"\n")[0].split()}


def cut_power(path: Path, log: Path, target: Path) -> set[int]:
    """Copy the files as they are at one moment after what is returned was acknowledged."""
    known = acknowledged(log)
    # The log first: a checkpoint between the copies moves pages into the database, which must not be missing there.
    Path(f"{target}-wal").write_bytes(Path(f"{path}-wal").read_bytes())
    target.write_bytes(path.read_bytes())
    return known


def tear_end(log: Path, dice: random.Random) -> None:
    """What was written behind the last commit frame is not synced: some sectors of it are lost."""
    data = bytearray(log.read_bytes())
    frame = 24 + 4096
    salts, end = bytes(data[16:24]), 32
    for at in range(32, len(data) - frame + 1, frame):
        if data[at + 8 : at + 16] != salts:
            break
        if data[at + 4 : at + 8] != bytes(4):
            end = at + frame
    for at in range(end, len(data), SECTOR):
        if dice.random() < 0.5:
            data[at : at + SECTOR] = bytes(len(data[at : at + SECTOR]))
    log.write_bytes(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts disks")
def test_a_disk_that_lost_power_has_every_acknowledged_row(tmp_path: Path):
    with ext4(tmp_path / "disk.img", tmp_path / "disk") as disk, (tmp_path / "acknowledged").open("wb") as out:
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(disk.where / "live.db")], stdout=out)
        try:
            cuts = list(_copy_the_device(tmp_path, writer))
        finally:
            writer.kill()
            writer.wait()
    for image, known in cuts:
        with mounted(image, tmp_path / "copy") as where:
            db, _ = open_writing(where / "live.db", thorough=True)
            with contextlib.closing(db):
                found = {row for (row,) in db.execute("SELECT id FROM refusals")}
        assert known <= found, f"{image.name} lost {len(known - found)} of {len(known)}"
    assert len({len(known) for _, known in cuts}) == len(cuts) == 4


def _copy_the_device(directory: Path, writer: subprocess.Popen[bytes]) -> Iterator[tuple[Path, set[int]]]:
    log = directory / "acknowledged"
    for number in range(4):
        before = len(acknowledged(log))
        eventually(lambda seen=before: len(acknowledged(log)) > seen + 200, 60)
        writer.send_signal(signal.SIGSTOP)
        known = acknowledged(log)
        yield Path(shutil.copy(directory / "disk.img", directory / f"cut{number}.img")), known
        writer.send_signal(signal.SIGCONT)


def test_every_acknowledged_row_survives_power_cuts_while_writing(tmp_path: Path):
    path, log = tmp_path / "live.db", tmp_path / "acknowledged"
    with log.open("wb") as out:
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=out)
    try:
        cuts = list(_cut_again_and_again(path, log, writer))
    finally:
        writer.kill()
        writer.wait()
    checked = 0
    for number, (copy, known) in enumerate(cuts):
        tear_end(Path(f"{copy}-wal"), random.Random(number))
        db, _ = open_writing(copy, thorough=True)
        with contextlib.closing(db):
            found = {row for (row,) in db.execute("SELECT id FROM refusals")}
        assert known <= found, f"cut {number} lost {sorted(known - found)[:5]}"
        checked += len(known)
    assert len(cuts) == CUTS
    assert checked > 1000
    assert len({len(known) for _, known in cuts}) > CUTS // 2, "the writer stood still"


def _cut_again_and_again(path: Path, log: Path, writer: subprocess.Popen[bytes]) -> Iterator[tuple[Path, set[int]]]:
    deadline = time.monotonic() + 60
    while len(acknowledged(log)) < 50:
        assert writer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for number in range(CUTS):
        copy = path.with_name(f"cut{number}.db")
        # A checkpoint in the middle of a copy would mix two moments; a device has one. Then the copy is made again.
        for _ in range(50):
            stamp = _salts(path)
            known = cut_power(path, log, copy)
            if _salts(path) == stamp:
                yield copy, known
                break
        else:
            pytest.fail("the log began anew during every copy")
        time.sleep(0.02)


def _salts(path: Path) -> bytes:
    """Which log it is, and how far it was moved into the database (walformat §2.1: nBackfill at 96)."""
    return Path(f"{path}-wal").read_bytes()[16:24] + Path(f"{path}-shm").read_bytes()[96:100]
