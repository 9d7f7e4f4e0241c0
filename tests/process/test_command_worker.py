"""A whole worker process: it beats, asks for tickets, works, and leaves when its supervisor does."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.messages import Assign, Beat, Message, Ticket, TicketPlease, decode, encode
from tests.support.fake_gateway import open_fake_gateway
from tests.support.system import alive

START = """
import json, socket, sys
sys.path.insert(0, sys.argv[3])
from agentproc.main import run
run(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
"""
ROOT = Path(__file__).resolve().parents[2]


class Born:
    """A worker process and the supervisor's end of its lifeline."""

    def __init__(self, door: Path, **changes: Any) -> None:
        values: dict[str, Any] = {
            "spawn": "s", "agent": "main", "session": "agent:main:main", "socket": str(door), "ticket": "first",
            "runtime": {"type": "python"}, "env": {}, "cwd": None, "limits": {}, "idle_seconds": 30,
            "heartbeat_seconds": 0.05,
        }  # fmt: skip
        assignment = json.dumps(vars(Assign(**(values | changes))))
        self.lifeline, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-c", START, str(theirs.fileno()), assignment, str(ROOT)]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        theirs.close()

    def receive(self) -> Message:
        assert select.select([self.lifeline], [], [], 20)[0], "nothing on the lifeline"
        return decode(self.lifeline.recv(65536))

    def until(self, kind: type[Message]) -> Message:
        while not isinstance(message := self.receive(), kind):
            pass
        return message

    def wait(self) -> int:
        return self.process.wait(20)


@pytest.fixture
def births() -> Iterator[list[Born]]:
    born: list[Born] = []
    yield born
    for one in born:
        one.lifeline.close()
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        assert one.process.stderr is not None
        one.process.stderr.close()


async def in_thread(function: Any, *args: Any) -> Any:
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


async def test_a_worker_works_beats_and_asks_for_a_ticket_for_each_further_connect(tmp_path: Path, births: list[Born]):
    with trio.fail_after(30):
        async with open_fake_gateway(tmp_path) as fake:
            worker = Born(fake.path)
            births.append(worker)
            await fake.hand_out({"runId": "r1", "message": "help"})
            assert "I am the built-in agent" in (await fake.wait_for("worker.finish"))["text"]
            beat = await in_thread(worker.until, Beat)
            assert beat.rss > 10**6
            assert beat.descriptors > 3
            await fake.hang_up()
            await in_thread(worker.until, TicketPlease)
            worker.lifeline.send(encode(Ticket("second")))
            await fake.wait_for("connect", 2)
            assert [hello["ticket"] for hello in fake.asked("connect")] == ["first", "second"]
            worker.process.send_signal(signal.SIGTERM)
            assert await in_thread(worker.wait) == 0


async def test_a_worker_whose_loop_is_blocked_still_beats(tmp_path: Path, births: list[Born]):
    (tmp_path / "their_busy.py").write_text("import time\nasync def turn(ctx):\n    time.sleep(60)\n")
    with trio.fail_after(30):
        async with open_fake_gateway(tmp_path) as fake:
            runtime = {"type": "python", "entry": "their_busy:turn", "path": str(tmp_path)}
            worker = Born(fake.path, runtime=runtime)
            births.append(worker)
            await fake.hand_out({"runId": "r1", "message": "x"})
            await fake.wait_for("worker.next")
            for _ in range(5):
                await in_thread(worker.until, Beat)


async def test_a_worker_leaves_at_once_with_its_tools_when_the_lifeline_ends(tmp_path: Path, births: list[Born]):
    source = (
        "import subprocess, time\nasync def turn(ctx):\n    await ctx.say(str(subprocess.Popen(['sleep', '60']).pid))\n"
    )
    (tmp_path / "their_tool.py").write_text(source + "    import trio; await trio.sleep(1)\n    time.sleep(60)\n")
    with trio.fail_after(30):
        async with open_fake_gateway(tmp_path) as fake:
            runtime = {"type": "python", "entry": "their_tool:turn", "path": str(tmp_path)}
            worker = Born(fake.path, runtime=runtime)
            births.append(worker)
            await fake.hand_out({"runId": "r1", "message": "x"})
            emitted = await fake.wait_for("worker.emit")
            tool = int(emitted["events"][0]["data"]["delta"])
            assert alive(tool)
            worker.lifeline.close()
            assert await in_thread(worker.wait) == 0
            assert not alive(tool)


async def test_a_directory_that_is_not_there_fails_the_run_and_not_the_worker(tmp_path: Path, births: list[Born]):
    with trio.fail_after(30):
        async with open_fake_gateway(tmp_path) as fake:
            births.append(Born(fake.path, cwd="/no/such/folder"))
            await fake.hand_out({"runId": "r1", "message": "x"})
            finish = await fake.wait_for("worker.finish")
            assert finish["status"] == "failed"
            assert "/no/such/folder" in finish["error"]
            assert "agents.entries.main.cwd" in finish["error"]


async def test_a_program_finds_the_gateway_by_its_environment(tmp_path: Path, births: list[Born]):
    with trio.fail_after(30):
        async with open_fake_gateway(tmp_path) as fake:
            script = 'echo "$PEERGATE_SOCKET $PEERGATE_RUNTIME_DIR"'
            births.append(Born(fake.path, runtime={"type": "command", "argv": ["/bin/sh", "-c", script]}))
            await fake.hand_out({"runId": "r1", "message": "x"})
            assert (await fake.wait_for("worker.finish"))["text"] == f"{fake.path} {os.path.dirname(fake.path)}"
