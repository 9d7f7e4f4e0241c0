"""Looking at sessions with the tools that change nothing: what is honoured, and what is named as ignored."""

from __future__ import annotations

MAIN = "agent:main:main"


async def test_filters_we_have_nothing_for_are_named_as_ignored_and_the_list_is_still_told(box, hands):
    await box.send("hello")
    unused = {"relationship": "owned", "ownerId": "o", "creatorId": "c", "projectId": "p", "workspaceDir": "/w"}
    more = {"group": "g", "includeDerivedTitles": True, "pinned": False, "archived": "all"}
    told = await hands.use("sessions_list", **unused, **more)
    assert told["ignored"] == [*unused, "group", "includeDerivedTitles"]
    assert told["count"] == 1
    assert "ignored" not in await hands.use("sessions_list")


async def test_nothing_is_pinned_or_archived(box, hands):
    await box.send("hello")
    assert (await hands.use("sessions_list", pinned=True))["count"] == 0
    assert (await hands.use("sessions_list", archived=True))["count"] == 0


async def test_the_last_message_comes_with_a_row_when_asked_for(box, hands):
    await box.send("hello")
    await box.take()
    (row,) = (await hands.use("sessions_list", includeLastMessage=True))["sessions"]
    assert row["lastMessagePreview"] == "hello"


async def test_history_says_that_nothing_was_redacted_and_what_was_ignored(box, hands):
    await box.send("hello")
    told = await hands.use("sessions_history", sessionKey=MAIN, messageId="m", sessionId="s", pendingBefore=1)
    assert told["contentRedacted"] is False
    assert told["ignored"] == ["pendingBefore", "messageId", "sessionId"]


async def test_status_names_what_was_ignored(hands):
    told = await hands.use("session_status", model="default", changesSince="x")
    assert told["ignored"] == ["model", "changesSince"]
