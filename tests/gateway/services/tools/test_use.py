"""Who may use which session tool at all."""

from __future__ import annotations

import uuid

import pytest

from gateway.services.tools.base import NAMESPACE, id_of
from tests.support.engine import open_box

CHILD = "agent:main:subagent:kid"


async def test_a_sub_agent_may_not_write_to_others_and_hears_the_key_that_would_allow_it(box, hands_of):
    await box.spawn("kid")
    child, _ = await box.take(CHILD)
    result = await hands_of(child).use("sessions_send", agentId="scout", message="hi")
    assert result["status"] == "forbidden"
    assert "tools.subagents.tools.allow" in result["error"]
    assert (await hands_of(child).use("subagents"))["status"] == "ok"


async def test_a_leaf_has_no_tools_for_children(box, hands_of):
    await box.spawn("kid", depth=5)
    child, _ = await box.take(CHILD)
    for tool, args in (("subagents", {}), ("sessions_list", {}), ("sessions_spawn", {"task": "x"})):
        assert (await hands_of(child).use(tool, **args))["status"] == "forbidden"


@pytest.mark.parametrize(("deny", "status"), [([], "accepted"), (["sessions_*"], "forbidden")])
async def test_the_configuration_gives_tools_back_and_takes_them(tmp_path, mock_clock, hands_type, deny, status):
    tree = {"tools": {"subagents": {"tools": {"allow": ["sessions_send"], "deny": deny}}}}
    async with open_box(tmp_path, tree=tree) as box:
        await box.spawn("kid")
        child, _ = await box.take(CHILD)
        hands = hands_type(box, child)
        result = await hands.use("sessions_send", agentId="scout", message="hi", timeoutSeconds=0)
        assert result["status"] == status


@pytest.mark.parametrize("text", ["operator:0\nkey\nrun", "", "ä\n\U0001f300\n", *map(str, range(64))])
def test_the_id_of_what_a_call_makes_is_the_uuid_of_its_key(text: str):
    assert id_of(text) == str(uuid.uuid5(NAMESPACE, text))
