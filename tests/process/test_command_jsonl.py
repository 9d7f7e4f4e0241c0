"""Programs that speak JSON lines, alone with a context: what they do outside is noted, what they are steered with is
heard when they say so."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import trio

from agentproc.context import Begun, ToolRefused
from agentproc.inbox import Message
from agentproc.runtimes import runtime_for
from agentproc.runtimes.base import TurnFailed
from tests.support.fake_turn import FakeTurn

TALK = """
import json, os, sys, time
def hear(): return json.loads(sys.stdin.readline())
def tell(**line): print(json.dumps(line), flush=True)
def ask(**line): tell(**line); return hear()
opening = hear()
folder = opening["message"].split()[-1]
def note(name, text):
    with open(os.path.join(folder, name), "a") as file: print(text, file=file)
def once(name, action, effect="unsafe", id=1):
    answer = ask(once={"name": name, "id": id, "effect": effect})
    if answer.get("do"):
        answer = ask(done={"id": id, "result": action()})
    return answer["result"]
"""


def program(script: str, **more: Any) -> dict[str, Any]:
    argv = [sys.executable, "-I", "-c", TALK + script]
    return {"type": "command", "argv": argv, "protocol": "jsonl", **more}


async def run(script: str, turn: FakeTurn | None = None, *, output: int = 10**6) -> str | None:
    with trio.fail_after(20):
        turn = turn or FakeTurn("hello")
        return await runtime_for(program(script), output_bytes=output).run_turn(turn.context)


class Booked(FakeTurn):
    """A turn whose actions stand in a book that outlives it, as at the gateway."""

    def __init__(self, book: dict[str, Begun], refuse: str | None = None) -> None:
        super().__init__("hello")
        self.book = book
        self.refuse = refuse

    async def begin(self, name: str, effect: str) -> Begun:
        if name == self.refuse:
            raise ToolRefused("INVALID_REQUEST", "the run has noted too much")
        begun = Begun(name, name, effect, "intent")
        return self.book.get(name, begun)

    async def settle(self, begun: Begun, state: str, result: Any) -> None:
        await super().settle(begun, state, result)
        self.book[begun.name] = Begun(begun.call, begun.name, begun.effect, state, result)


# --- actions ----------------------------------------------------------------------------------------------------------


async def test_an_action_is_done_when_it_is_told_to_be_and_replayed_when_it_was_done():
    script = """
receipt = once("charge", lambda: {"receipt": os.getpid()})
tell(reply=json.dumps([receipt, ask(once={"name": "charge", "id": 2})]))
"""
    book: dict[str, Begun] = {}
    first, again = json.loads(await run(script, Booked(book)) or ""), json.loads(await run(script, Booked(book)) or "")
    assert first[1] == {"id": 2, "ok": True, "do": False, "result": first[0]}
    assert again[0] == first[0]


async def test_one_that_failed_is_answered_as_failed_now_and_later():
    script = 'tell(reply=json.dumps(ask(once={"name": "charge", "id": 1})))'
    failing = 'ask(once={"name": "charge", "id": 1}); tell(reply=json.dumps(ask(failed={"id": 1, "error": "no bank"})))'
    book: dict[str, Begun] = {}
    told = {"id": 1, "ok": False, "error": {"code": "ACTION_FAILED", "message": "no bank"}}
    assert json.loads(await run(failing, Booked(book)) or "") == told
    assert json.loads(await run(script, Booked(book)) or "") == told


async def test_a_result_that_is_too_long_fails_its_action_and_the_program_goes_on():
    turn = FakeTurn("hello")
    script = """
ask(once={"name": "huge", "id": 1})
tell(reply=ask(done={"id": 1, "result": "x" * 70000})["error"]["message"])
"""
    assert await run(script, turn) == "a result of 70002 bytes of JSON, at most 65536 are kept"
    assert [(name, state) for name, state, _ in turn.settled] == [("huge", "failed")]


async def test_nothing_is_to_be_done_when_no_note_was_taken():
    script = 'tell(reply=json.dumps(ask(once={"name": "charge", "id": "a"})))'
    answer = json.loads(await run(script, Booked({}, refuse="charge")) or "")
    assert answer == {
        "id": "a", "ok": False, "error": {"code": "INVALID_REQUEST", "message": "the run has noted too much"}
    }  # fmt: skip


async def test_the_end_of_an_action_is_noted_though_the_program_does_not_stay_to_hear_it():
    turn = FakeTurn("hello")
    await run('ask(once={"name": "charge", "id": 1}); tell(done={"id": 1, "result": 5}); sys.exit(0)', turn)
    assert turn.settled == [("charge", "done", 5)]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('tell(done={"id": 1})', "the program told the end of 1, an action it was not told to do"),
        ('tell(once={"name": "a", "id": 1}); tell(done={"id": 1})', "told the end of 1"),
        (
            'ask(once={"name": "a", "id": 1}); tell(once={"name": "b", "id": 1})',
            "while another of that id is not ended",
        ),
        ('ask(once={"name": "charge", "id": 1})', 'ended without saying how "charge" ended'),
        ('ask(once={"name": "charge", "id": 1}); sys.exit(3)', "exited with code 3"),
        ("tell(ack=7)", "the program acknowledged 7, which it was not given"),
    ],
)
async def test_a_program_that_tells_what_cannot_be_fails_its_run(script: str, told: str):
    class Slow(FakeTurn):
        async def begin(self, name: str, effect: str) -> Begun:
            await trio.sleep(0.05)
            return await super().begin(name, effect)

    with pytest.raises(TurnFailed) as info:
        await run(script, Slow("hello"))
    assert told in str(info.value)


async def test_equal_calls_are_numbered_in_the_order_of_their_lines():
    class Numbering(FakeTurn):
        async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
            self.calls.append((tool, args))
            number = len(self.calls)
            await trio.sleep(0.001 * (20 - number))
            return {"number": number}

    script = """
for id in range(12): tell(invoke={"tool": "t", "args": {}, "id": id})
answers = [hear() for _ in range(12)]
tell(reply=json.dumps({answer["id"]: answer["result"]["number"] for answer in answers}))
"""
    for _ in range(3):
        numbers = json.loads(await run(script, Numbering("x")) or "")
        assert {int(id): number for id, number in numbers.items()} == {id: id + 1 for id in range(12)}


async def test_what_a_program_wrote_before_it_left_is_read_to_the_end_however_slow_the_gateway():
    class Slow(FakeTurn):
        async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
            await trio.sleep(0.7)  # longer than we wait for what a finished program left in the background
            self.calls.append((tool, args))
            return {}

    turn = Slow("x")
    script = "for id in range(20): tell(invoke={'tool': 't'})\ntell(reply='bye')\nsys.exit(0)"
    assert await run(script, turn) == "bye"
    assert len(turn.calls) == 20


# --- steering ---------------------------------------------------------------------------------------------------------


async def test_messages_come_as_lines_once_the_channel_is_open_and_count_when_acknowledged():
    turn = FakeTurn("hello")
    for id in (1, 2, 3):
        turn.inbox.put(Message(f"text {id}", {"kind": "external_user"}, id))
    script = """
assert ask(steer=True) == {"id": None, "ok": True}
first = hear()["steer"]
tell(ack=first["id"])
second = hear()["steer"]
tell(type="steer", open=False, id="bye")
assert hear() == {"id": "bye", "ok": True}
tell(reply=first["message"] + ", " + second["message"] + ", " + first["provenance"]["kind"])
"""
    assert await run(script, turn) == "text 1, text 2, external_user"
    assert turn.inbox.unread() == [2, 3]
    assert turn.steering == [True, False]


@pytest.mark.parametrize("end", ["", "sys.exit(1)", "tell(ack=99)"])
async def test_the_channel_is_closed_however_the_program_ends(end: str):
    turn = FakeTurn("hello")
    try:
        await run(f"ask(steer=True)\n{end}", turn)
    except TurnFailed:
        assert end
    assert turn.steering == [True, False]


async def test_a_program_that_asks_and_never_reads_is_failed_before_its_answers_fill_the_memory():
    turn = Talkative()
    with pytest.raises(TurnFailed, match="16 MiB of answers wait to be read"):
        await run("while True: tell(invoke={'tool': 'session_status'})", turn)
    assert turn.answered > 200  # of 64 KiB each


async def test_a_program_may_ask_for_much_before_it_reads():
    script = """
for number in range(200): tell(invoke={"tool": "session_status", "id": number})
tell(reply=str(sorted(hear()["id"] for _ in range(200)) == list(range(200))))
"""
    assert await run(script, Talkative()) == "True"


class Talkative(FakeTurn):
    """A turn whose tools say a lot."""

    def __init__(self) -> None:
        super().__init__("hello")
        self.answered = 0

    async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.answered += 1
        assert self.answered < 500, "nobody reads them"
        return {"text": "x" * 65536}
