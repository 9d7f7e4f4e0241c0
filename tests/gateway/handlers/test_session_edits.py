"""Making, finding, naming, removing sessions, and hearing of them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.auth.principal import Kind, Principal
from gateway.protocol import scopes
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import Refusal
from gateway.protocol.frames import Broadcast
from gateway.services.events import MAX_SUBSCRIPTIONS
from tests.support.calls import Caller
from tests.support.engine import finished_turn, open_box

MAIN = "agent:main:main"
OUTSIDE = Principal(Kind.DEVICE, frozenset({scopes.WRITE}), "outer", -1, -1, 0, device="d", address="192.0.2.7")


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


@pytest.fixture
def caller(box) -> Caller:
    return Caller(box.services)


async def test_a_session_is_made_with_a_key_of_its_own_once_for_one_idempotency_key(box, caller):
    made = await caller.ask("sessions.create", label="plans", idempotencyKey="k", model="x/y", cwd="/somewhere")
    assert made["key"].startswith("agent:main:dashboard:")
    assert (made["created"], made["runStarted"], made["entry"]["label"]) == (True, False, "plans")
    assert made["ignored"] == ["model", "cwd"]
    again = await caller.ask("sessions.create", label="plans", idempotencyKey="k")
    assert (again["key"], again["created"], again["sessionId"]) == (made["key"], False, made["sessionId"])
    assert (await caller.ask("sessions.create"))["key"] != made["key"]


async def test_a_session_made_with_a_message_runs_it_once(box, caller):
    asked = {"agentId": "scout", "message": "look", "idempotencyKey": "k"}
    made = await caller.ask("sessions.create", **asked)
    assert (made["runStarted"], made["status"]) == (True, "started")
    _, run = await box.take(made["key"])
    assert (run.run_id, run.message) == (made["runId"], "look")
    assert (await caller.ask("sessions.create", **asked))["status"] == "in_flight"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"agentId": "nobody"}, 'unknown agent id "nobody"; configured: main, scout'),
        ({"key": "agent:nobody:x"}, 'unknown agent id "nobody"'),
        ({"key": "agent:scout:x", "agentId": "main"}, "is not the agent of the session"),
        ({"label": "taken"}, 'the label "taken" is in use: agent:main:a has it'),
        ({"label": " "}, "label must not be empty"),
        ({"incognito": True}, "incognito sessions are not served"),
        ({"fork": True}, "forks of sessions are not served"),
        ({"forkFrom": {"entryId": "e"}}, "forks of sessions and sessions on a node are not served"),
    ],
)
async def test_a_session_that_cannot_be_is_not_made(box, caller, params, said):
    await caller.ask("sessions.create", key="agent:main:a", label="taken")
    with pytest.raises(Refusal, match=said):
        await caller.ask("sessions.create", **params)


async def test_a_label_is_set_moved_and_taken_away(box, caller):
    for name in ("a", "b"):
        await caller.ask("sessions.create", key=f"agent:main:{name}")
    told = await caller.ask("sessions.patch", key="agent:main:a", label="plans", thinkingLevel="high")
    assert (told["entry"]["label"], told["ignored"]) == ("plans", ["thinkingLevel"])
    await caller.ask("sessions.patch", key="agent:main:a", label="plans")
    with pytest.raises(Refusal, match='the label "plans" is in use: agent:main:a has it'):
        await caller.ask("sessions.patch", key="agent:main:b", label="plans")
    assert "label" in (await caller.ask("sessions.patch", key="agent:main:a", pinned=True))["entry"]
    assert "label" not in (await caller.ask("sessions.patch", key="agent:main:a", label=None))["entry"]
    await caller.ask("sessions.patch", key="agent:main:b", label="plans")


@pytest.mark.parametrize("method", ["sessions.patch", "sessions.reset", "sessions.delete"])
async def test_a_session_that_has_begun_anew_is_not_changed_by_mistake(box, caller, method):
    made = await caller.ask("sessions.create", key="agent:main:a")
    with pytest.raises(Refusal, match="has begun anew since"):
        await caller.ask(method, key="agent:main:a", expectedSessionId="another")
    assert (await caller.ask(method, key="agent:main:a", expectedSessionId=made["sessionId"]))["ok"]


async def test_a_session_is_removed_unless_it_is_at_work_or_an_agents_main_one(box, caller):
    await caller.ask("sessions.create", key="agent:main:a", message="hello")
    with pytest.raises(Refusal, match="is at work"):
        await caller.ask("sessions.delete", key="agent:main:a")
    assert not (await caller.ask("sessions.delete", key="agent:main:a", archivedOnly=True))["deleted"]
    await caller.ask("sessions.abort", key="agent:main:a", clearQueued=True)
    assert await caller.ask("sessions.delete", key="agent:main:a") == {
        "ok": True, "key": "agent:main:a", "deleted": True, "archived": [],
    }  # fmt: skip
    assert not (await caller.ask("sessions.delete", key="agent:main:a"))["deleted"]
    with pytest.raises(Refusal, match="main session of main and stays"):
        await caller.ask("sessions.delete", key="main")
    with pytest.raises(Refusal, match="leave deleteTranscript out"):
        await caller.ask("sessions.delete", key="agent:main:b", deleteTranscript=False)


async def test_sending_needs_a_session_there_is(box, caller):
    with pytest.raises(Refusal, match="there is no session agent:main:a"):
        await caller.ask("sessions.send", key="agent:main:a", message="x")
    await caller.ask("sessions.create", key="agent:main:a")
    told = await caller.ask("sessions.send", key="agent:main:a", message="x", timeoutMs=1500)
    assert told["status"] == "started"
    run = box.services.runs.snapshot(told["runId"])
    assert (run.session_key, run.state) == ("agent:main:a", "starting")


async def test_aborting_ends_the_run_in_progress_and_what_waits_only_when_asked(box, caller):
    assert (await caller.ask("sessions.abort", key=MAIN))["status"] == "no-active-run"
    await box.send("one")
    await box.take()
    await box.send("two")
    told = await caller.ask("sessions.abort", key=MAIN)
    assert told == {"ok": True, "abortedRunId": "one", "status": "aborted"}
    await box.settle()
    assert box.state("two") != "aborted"
    assert (await caller.ask("sessions.abort", key=MAIN, clearQueued=True))["status"] == "aborted"
    assert box.state("two") == "aborted"
    with pytest.raises(Refusal, match="belongs to agent:main:main"):
        await caller.ask("sessions.abort", key="agent:scout:main", runId="one")
    with pytest.raises(Refusal, match="needs key or runId"):
        await caller.ask("sessions.abort")


async def test_a_session_is_found_by_whatever_names_it(box, caller):
    made = await caller.ask("sessions.create", key="agent:scout:a", label="plans")
    for named in (
        {"key": "agent:scout:a"}, {"sessionId": made["sessionId"]}, {"label": "plans"},
        {"shortId": made["sessionId"][:8]}, {"reference": "agent:scout:a"}, {"reference": "plans"},
        {"reference": made["sessionId"]}, {"reference": made["sessionId"][:8]},
    ):  # fmt: skip
        assert await caller.ask("sessions.resolve", **named) == {
            "ok": True, "key": "agent:scout:a", "agentId": "scout", "displayName": "plans",
        }, named  # fmt: skip
    with pytest.raises(Refusal, match="no such session"):
        await caller.ask("sessions.resolve", label="plans", agentId="main")
    assert await caller.ask("sessions.resolve", key=MAIN, allowMissing=True) == {"ok": False, "candidates": []}
    with pytest.raises(Refusal, match="needs key, sessionId, label, shortId or reference"):
        await caller.ask("sessions.resolve")


async def test_lists_leave_out_what_they_are_told_to(box, caller):
    await box.send("hello")
    await box.spawn("kid")
    await caller.ask("sessions.create", key="agent:main:a")

    async def keys(**params: Any) -> list[str]:
        return sorted(one["key"] for one in (await caller.ask("sessions.list", **params))["sessions"])

    everything = ["agent:main:a", MAIN, "agent:main:subagent:kid"]
    assert await keys() == everything == await keys(configuredAgentsOnly=True, archived="all", ownerFirst=True)
    assert await keys(excludeSubagents=True, excludeCron=True) == everything[:2]
    assert await keys(activeOnly=True) == everything[1:]
    assert await keys(pinned=True) == await keys(archived=True) == []
    page = await caller.ask("sessions.list", limit=1, offset=1)
    assert (page["offset"], page["limitApplied"], page["nextOffset"]) == (1, 1, 2)
    assert page["path"].endswith("peergate.db")


async def test_rows_and_previews_show_first_and_last_words(box, caller):
    await finished_turn(box, "what is the plan", "x" * 500)
    row = await caller.ask("sessions.describe", key=MAIN, includeDerivedTitles=True, includeLastMessage=True)
    assert row["session"]["derivedTitle"] == "what is the plan"
    assert row["session"]["lastMessagePreview"] == "x" * 240
    await caller.ask("sessions.create", key="agent:main:a")
    keys = ["main", "agent:main:a", "agent:main:none", "???"]
    previews = (await caller.ask("sessions.preview", keys=keys, maxChars=20))["previews"]
    assert [one["status"] for one in previews] == ["ok", "empty", "missing", "error"]
    assert previews[0]["items"] == [
        {"role": "user", "text": "what is the plan"}, {"role": "assistant", "text": "x" * 20},
    ]  # fmt: skip


class Ear(Caller):
    """A caller that is a member of the hub."""

    connect = Connect(caps=("tool-events",))

    def deliver(self, broadcast: Broadcast) -> None:
        self.events.append((broadcast.name, broadcast.payload))


async def test_a_connection_hears_of_what_it_subscribes_to_until_it_does_not(box, mock_clock):
    ear = Ear(box.services)
    box.listener.join(ear, events=False)
    assert await ear.ask("sessions.messages.subscribe", key="main") == {"subscribed": True, "key": MAIN}
    await finished_turn(box, "hello", "hi")
    mock_clock.jump(0.1)
    await box.settle()
    heard = [name for name, _ in ear.events]
    assert [name for name in heard if name != "agent"] == [
        "session.message", "session.message", "chat", "sessions.changed",
    ]  # fmt: skip
    ear.events.clear()
    await ear.ask("sessions.messages.unsubscribe", key=MAIN)
    assert await ear.ask("sessions.subscribe") == {"subscribed": True}
    await box.send("x", "agent:scout:main")
    mock_clock.jump(0.1)
    await box.settle()
    assert [name for name, _ in ear.events] == ["sessions.changed"]
    assert await ear.ask("sessions.unsubscribe") == {"subscribed": False}
    assert box.listener.listeners == 1
    for number in range(MAX_SUBSCRIPTIONS):
        await ear.ask("sessions.messages.subscribe", key=f"agent:main:s{number}")
    with pytest.raises(Refusal, match="at most 256 sessions"):
        await ear.ask("sessions.messages.subscribe", key="main")


async def test_who_starts_a_run_or_awaits_it_hears_of_its_tools(box, nursery):
    starter, waiter, other = (Ear(box.services, OUTSIDE) for _ in range(3))
    for number, ear in enumerate((starter, waiter, other)):
        ear.id = f"c{number}"
        box.listener.join(ear, events=True)
    await starter.ask("chat.send", sessionKey="main", message="hello", idempotencyKey="k")
    nursery.start_soon(lambda: waiter.ask("agent.wait", runId="k"))
    worker, run = await box.take()
    await worker.note(run, "pay")
    streams = [[one["stream"] for name, one in ear.events if name == "agent"] for ear in (starter, waiter, other)]
    assert streams == [["lifecycle", "tool"], ["lifecycle", "tool"], ["lifecycle"]]
    await worker.finish(run, "hi")
    for number in range(MAX_SUBSCRIPTIONS):  # runs that are over are not followed, so they use nothing up
        await starter.ask("chat.send", sessionKey="main", message="hello", idempotencyKey="k")
        with pytest.raises(Refusal, match="there is no run"):
            await starter.ask("agent.wait", runId=f"no run {number}")
    await starter.ask("chat.send", sessionKey="main", message="again", idempotencyKey="k2")
    await worker.note(await worker.next(), "pay")
    assert [name for name, one in starter.events if one.get("stream") == "tool"] == ["agent"] * 2
