"""Agents that are programs: a turn on standard input, a reply on standard output, nothing left behind."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from agentproc import trees
from agentproc.runtimes import runtime_for
from agentproc.runtimes.base import TurnFailed, TurnTimedOut
from tests.support.fake_turn import FakeTurn
from tests.support.system import alive, eventually

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def subreaper() -> Iterator[None]:
    """A worker is a subreaper; here this process stands for one, and no child of it may be left over."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(trees.children())
    yield
    left = set(trees.children()) - before
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert left == set()


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"type": "command", "argv": ["/bin/sh", "-c", script], **more}


def py(script: str, **more: Any) -> dict[str, Any]:
    return {"type": "command", "argv": [sys.executable, "-I", "-c", script], **more}


async def run(
    spec: dict[str, Any], message: str = "hello", *, fake: FakeTurn | None = None, output: int = 10**6
) -> Any:
    with trio.fail_after(20):
        fake = fake or FakeTurn(message)
        return await runtime_for(spec, output_bytes=output).run_turn(fake.context)


def pid_in(file: Path) -> int:
    return int(eventually(lambda: file.exists() and file.read_text().strip()))


async def test_a_program_there_are_no_descriptors_for_names_the_limit():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    allowed = next_one + 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, limits[1]))
    try:
        with pytest.raises(TurnFailed, match=rf"Too many open files \(limits.openFiles: {allowed} are allowed\)"):
            await run(sh("true"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_the_message_comes_on_standard_input_and_the_reply_is_standard_output():
    assert await run(sh("echo got: $(cat)")) == "got: hello"


async def test_a_program_that_reads_nothing_and_one_that_says_nothing_are_fine():
    assert await run(sh("echo hi"), "x" * 10**6) == "hi"
    assert await run(sh("cat >/dev/null")) is None


async def test_a_program_is_told_who_it_is_and_gets_its_own_environment(tmp_path: Path):
    script = 'echo "$PEERGATE_AGENT $PEERGATE_SESSION $PEERGATE_RUN $OWN $(pwd)"'
    reply = await run(sh(script, env={"OWN": "x", "PEERGATE_RUN": "forged"}, cwd=str(tmp_path)))
    assert reply == f"main agent:main:main run-1 x {tmp_path}"


async def test_it_leads_a_session_of_its_own():
    assert await run(py("import os; print(os.getsid(0) == os.getpid())")) == "True"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            sh("echo half an answer; echo the reason >&2; exit 3"),
            "/bin/sh exited with code 3; its last lines:\nthe reason",
        ),
        (sh("echo only this; exit 1"), "/bin/sh exited with code 1; its last lines:\nonly this"),
        (sh("exit 9"), "/bin/sh exited with code 9; it wrote nothing"),
        (sh("kill -KILL $$"), "/bin/sh was ended by SIGKILL; it wrote nothing"),
        (sh("kill -40 $$"), "/bin/sh was ended by signal 40; it wrote nothing"),
        ({"type": "command", "argv": ["/no/such/program"]}, "/no/such/program could not be started: "),
        (sh("true", cwd="/no/such/folder"), "/bin/sh could not be started in /no/such/folder: "),
    ],
)
async def test_a_program_that_fails_fails_the_run_with_its_last_words(spec: dict[str, Any], told: str):
    with pytest.raises(TurnFailed) as info:
        await run(spec)
    assert str(info.value).startswith(told)


async def test_its_last_words_are_bounded():
    with pytest.raises(TurnFailed) as info:
        await run(py("import sys; sys.stderr.write('x' * 10**6); sys.exit(1)"))
    assert len(str(info.value)) < 3000


async def test_a_flood_of_output_ends_the_run_and_the_program(tmp_path: Path):
    with pytest.raises(TurnFailed, match=r"wrote more than 5000 bytes \(limits.outputBytes\)"):
        await run(sh(f"echo $$ >{tmp_path}/pid; exec yes"), output=5000)
    assert not alive(pid_in(tmp_path / "pid"))


async def test_a_program_that_takes_too_long_is_ended():
    with pytest.raises(
        TurnTimedOut, match=r"/bin/sh did not finish within 0.2 s \(agents.entries.main.runtime.timeoutSeconds\)"
    ):
        await run(sh("sleep 60", timeoutSeconds=0.2))


TREE = """
import os, subprocess, sys, time
out = sys.argv[1] if len(sys.argv) > 1 else {folder!r}
def note(name, pid): open(os.path.join(out, name), "w").write(str(pid))
note("plain", subprocess.Popen(["sleep", "60"]).pid)
note("setsid", subprocess.Popen(["sleep", "60"], start_new_session=True).pid)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note("daemon", os.getpid())
        time.sleep(60)
    os._exit(0)
stopped = subprocess.Popen(["sleep", "60"])
os.kill(stopped.pid, 19)
note("stopped", stopped.pid)
{last}
"""


@pytest.mark.parametrize("last", ["time.sleep(60)", "sys.exit(0)"])
async def test_nothing_of_a_program_is_left_after_an_abort_or_its_end(tmp_path: Path, last: str):
    spec = py(TREE.format(folder=str(tmp_path), last=last))
    names = ("plain", "setsid", "daemon", "stopped")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, spec)
        pids = [await trio.to_thread.run_sync(pid_in, tmp_path / name) for name in names]
        if last.startswith("time"):
            nursery.cancel_scope.cancel()
    assert [pid for pid in pids if alive(pid)] == []


async def test_a_background_process_that_keeps_standard_output_open_does_not_keep_the_run():
    with trio.fail_after(10):
        assert await run(sh("sleep 60 & echo done")) == "done"


SPEAKER = """
import json, sys
opening = json.loads(sys.stdin.readline())
def write(**line): print(json.dumps(line), flush=True)
write(say="reading " + opening["message"])
write(invoke={"tool": "sessions_send", "args": {"sessionKey": "agent:scout:main", "message": "hi"}, "id": 7})
answer = json.loads(sys.stdin.readline())
write(reply=f"{opening['agentId']} {opening['runId']} {answer['id']} {answer['ok']} {answer['result']['reply']}")
"""


async def test_a_program_that_speaks_json_lines_tells_progress_and_uses_tools():
    async def scout(ctx: Any) -> str:
        return f"scout heard {ctx.message}"

    fake = FakeTurn("a book", {"scout": scout})
    assert await run(py(SPEAKER, protocol="jsonl"), fake=fake) == "main run-1 7 True scout heard hi"
    assert fake.said == ["reading a book"]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo not json", "a line that is no JSON: not json"),
        (
            "echo '{\"sing\": 1}'",
            'a line that is none of say, reply, invoke, once, done, failed, steer, ack: {"sing": 1}',
        ),
        ("head -c 20000 /dev/zero", "a line of more than 5000 bytes"),
        ('echo \'{"reply": "x"}\'; exit 4', "exited with code 4"),
    ],
)
async def test_a_program_that_breaks_the_rules_of_json_lines_is_told_how(script: str, told: str):
    with pytest.raises(TurnFailed) as info:
        await run(sh(script, protocol="jsonl"), output=5000)
    assert told in str(info.value)


async def test_a_tool_called_by_a_program_that_does_not_stay_is_used_all_the_same():
    line = json.dumps({"invoke": {"tool": "agents_list", "args": {}}})
    fake = FakeTurn("x")
    assert await run(sh(f"echo '{line}'; echo '{{\"reply\": \"bye\"}}'", protocol="jsonl"), fake=fake) == "bye"
    assert fake.calls == [("agents_list", {})]


async def test_descriptors_are_not_used_up():
    await run(sh("true"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await run(sh("true"))
    assert len(os.listdir("/proc/self/fd")) == before
