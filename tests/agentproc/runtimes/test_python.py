"""Finding an agent's function, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from agentproc.context import Context
from agentproc.runtimes import runtime_for
from agentproc.runtimes.base import TurnFailed
from agentproc.runtimes.python import PythonRuntime
from tests.support.fake_turn import FakeTurn


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory for agents; what they brought into the interpreter is taken out again."""
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("their_"):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


def context() -> Context:
    return FakeTurn("hello").context


async def run(folder: Path, entry: str) -> str | None:
    return await PythonRuntime(entry, str(folder)).run_turn(context())


async def test_an_agent_is_found_in_its_directory_and_answers(folder: Path):
    write(folder, "their_agent", "async def turn(ctx):\n    return ctx.message + '!'\n")
    assert await run(folder, "their_agent:turn") == "hello!"


@pytest.mark.parametrize(("end", "left"), [("fails", 1), ("is cut short", 1), ("is done", 2)])
async def test_what_a_turn_started_ends_with_it_unless_it_is_done(end: str, left: int):
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)

    async def turn(ctx: Context) -> str:
        started.append(start())
        if end == "fails":
            raise ValueError
        await trio.sleep(0 if end == "is done" else 100)
        return "ok"

    started = [start()]  # by an earlier turn, which was done
    runtime = PythonRuntime("their:turn")
    runtime._function = turn
    try:
        with trio.move_on_after(0.05), suppress(TurnFailed):
            await runtime.run_turn(context())
        assert len([one for one in started if one.poll() is None]) == left
        assert len(started) == 2
    finally:
        for one in started:
            one.kill()
            one.wait()


async def test_the_module_is_kept_from_turn_to_turn(folder: Path):
    write(folder, "their_count", "n = 0\nasync def turn(ctx):\n    global n\n    n += 1\n    return str(n)\n")
    runtime = PythonRuntime("their_count:turn", str(folder))
    assert [await runtime.run_turn(context()) for _ in range(3)] == ["1", "2", "3"]


async def test_an_object_with_an_async_call_is_an_agent_too(folder: Path):
    write(folder, "their_object", "class A:\n    async def __call__(self, ctx):\n        return 'ok'\nturn = A()\n")
    assert await run(folder, "their_object:turn") == "ok"


@pytest.mark.parametrize(
    ("source", "entry", "told"),
    [
        (None, "their_none:turn", 'runtime.entry: there is no module "their_none" in '),
        ("", "their_x.sub:turn", 'runtime.entry: there is no module "their_x.sub" in '),
        ("async def turns(ctx): pass", "their_x:turn", 'has no "turn"; did you mean "turns"?'),
        ("def turn(ctx): pass", "their_x:turn", "turn must be written as `async def turn(ctx)`"),
        ("turn = 3", "their_x:turn", "turn must be written as `async def turn(ctx)`"),
        ("import their_dependency", "their_x:turn", "importing their_x failed: ModuleNotFoundError: No module named"),
        ("1/0", "their_x:turn", "importing their_x failed: ZeroDivisionError: division by zero\n  in <module>, "),
        ("def (", "their_x:turn", "importing their_x failed: SyntaxError: "),
        ("raise SystemExit(3)", "their_x:turn", "importing their_x failed: SystemExit: 3"),
    ],
)
async def test_what_is_wrong_with_an_entry_is_said(folder: Path, source: str | None, entry: str, told: str):
    if source is not None:
        write(folder, "their_x", source)
    with pytest.raises(TurnFailed) as info:
        await run(folder, entry)
    assert told in str(info.value)


async def test_a_module_that_was_repaired_works_at_the_next_turn(folder: Path):
    runtime = PythonRuntime("their_late:turn", str(folder))
    with pytest.raises(TurnFailed):
        await runtime.run_turn(context())
    write(folder, "their_late", "async def turn(ctx):\n    return 'now'\n")
    assert await runtime.run_turn(context()) == "now"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise KeyError('k')", "KeyError: 'k'\n  in turn, "),
        ("import sys; sys.exit(2)", "SystemExit: 2\n  in turn, "),
        ("raise KeyboardInterrupt", "KeyboardInterrupt\n  in turn, "),
        ("raise type('Halt', (BaseException,), {})('enough')", "Halt: enough\n  in turn, "),
        ("raise ExceptionGroup('g', [ValueError('v')])", "ValueError: v"),
        ("raise BaseExceptionGroup('g', [SystemExit(1)])", "SystemExit: 1"),
    ],
)
async def test_what_a_turn_raises_fails_it(folder: Path, body: str, told: str):
    write(folder, "their_bad", f"async def turn(ctx):\n    {body}\n")
    with pytest.raises(TurnFailed) as info:
        await run(folder, "their_bad:turn")
    assert str(info.value).startswith(told)


async def test_an_import_that_raises_anything_fails_the_turn(folder: Path):
    write(folder, "their_stop", "raise KeyboardInterrupt('stop')\n")
    with pytest.raises(TurnFailed, match="importing their_stop failed: KeyboardInterrupt: stop"):
        await run(folder, "their_stop:turn")


async def test_an_abort_is_no_failure_of_the_turn(folder: Path):
    write(folder, "their_long", "import trio\nasync def turn(ctx):\n    await trio.sleep_forever()\n")
    with trio.move_on_after(0.01) as scope:
        await run(folder, "their_long:turn")
    assert scope.cancelled_caught


async def test_a_runtime_we_do_not_have_fails_each_turn_saying_so():
    with pytest.raises(TurnFailed, match='the runtime "acp" is not served'):
        await runtime_for({"type": "acp"}).run_turn(context())


async def test_without_a_runtime_the_built_in_agent_answers():
    assert "built-in offline agent" in str(await runtime_for({}).run_turn(context()))
