"""Messages that arrive during a turn: each is handed out once, in order."""

from __future__ import annotations

import pytest
import trio

from agentproc import inbox as module
from agentproc.inbox import Announce, Inbox, Message, announce_in

ANNOUNCE = {
    "kind": "internal_system", "sourceSessionKey": "agent:main:subagent:1", "sourceTool": "sessions_spawn",
    "childRunId": "r1", "status": "ok", "label": "l", "result": "42",
}  # fmt: skip


def mail(id: int) -> Message:
    return Message(f"text {id}", {}, id)


async def test_messages_are_taken_in_order_each_once_however_often_they_come():
    inbox = Inbox()
    for id in (1, 2, 1):
        inbox.put(mail(id))
    assert [inbox.get_nowait(), inbox.get_nowait(), inbox.get_nowait()] == [mail(1), mail(2), None]
    inbox.put(mail(2))  # the gateway sends what it does not know to be finished with again
    assert inbox.get_nowait() is None


async def test_a_message_looked_at_is_unread_until_it_is_taken():
    inbox = Inbox()
    inbox.put(mail(1))
    assert [await inbox.peek(), await inbox.peek()] == [mail(1), mail(1)]
    assert inbox.unread() == [1]
    assert inbox.get_nowait() == mail(1)
    assert inbox.unread() == []


async def test_a_waiting_turn_wakes_when_a_message_comes(autojump_clock):
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_put_later, inbox)
        assert await inbox.get() == mail(7)


async def _put_later(inbox: Inbox) -> None:
    await trio.sleep(5)
    inbox.put(mail(7))


async def test_waiting_ends_when_its_time_is_over(autojump_clock):
    assert await Inbox().get(3) is None


async def test_what_nobody_took_is_unread():
    inbox = Inbox()
    for id in (1, 2, 3):
        inbox.put(mail(id))
    async for _ in inbox:
        break
    assert inbox.unread() == [2, 3]


async def test_more_than_fits_is_given_back_as_unread(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    inbox = Inbox()
    for id in (1, 2, 3):
        inbox.put(mail(id))
    inbox.get_nowait()
    assert inbox.unread() == [2, 3]


def told(run_id: str) -> Announce:
    return Announce("agent:main:subagent:1", run_id, "ok", "42")


async def test_a_result_told_another_way_is_not_handed_out_again():
    inbox, other = Inbox(), {**ANNOUNCE, "childRunId": "r2"}
    inbox.put(Message("r1 is done", ANNOUNCE, 1))
    inbox.put(Message("r2 is done", other, 2))
    inbox.withdraw([told("r1")])
    assert inbox.unread() == [2]
    inbox.withdraw([told("r3")])
    inbox.put(Message("r3 is done", {**ANNOUNCE, "childRunId": "r3"}, 3))  # was on its way
    assert inbox.unread() == [2]
    shown = await inbox.peek()
    inbox.withdraw([told("r2")])  # too late: somebody is about to take it
    assert inbox.get_nowait() is shown


@pytest.mark.parametrize(
    "second", [{"status": "ok", "result": "42"}, {"error": "again"}, {"result": "more was said before it broke"}]
)
def test_what_a_parked_sub_agent_comes_to_when_it_is_tried_again_is_no_repetition(second: dict[str, str]):
    inbox, first = Inbox(), {**ANNOUNCE, "status": "error", "error": "its worker died", "result": ""}
    inbox.withdraw([Announce("agent:main:subagent:1", "r1", "error", "", error="its worker died")])
    inbox.put(Message("r1 was interrupted", first, 1))
    inbox.put(Message("r1 is done", {**first, **second}, 2))
    assert inbox.unread() == [2]


def test_an_announce_is_read_from_the_gateways_word():
    announce = announce_in(ANNOUNCE)
    assert announce is not None
    assert (announce.child_session_key, announce.run_id, announce.status) == ("agent:main:subagent:1", "r1", "ok")
    assert (announce.result, announce.label, announce.task_name) == ("42", "l", None)
    assert announce.error is None
    assert Message("x", ANNOUNCE).sender == "agent:main:subagent:1"


def test_a_task_from_the_parent_is_no_announce():
    assert announce_in({"kind": "inter_session", "sourceSessionKey": "a", "sourceTool": "sessions_spawn"}) is None
    assert announce_in({"kind": "external_user"}) is None
