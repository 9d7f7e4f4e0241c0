"""Every cell of the session tools' policy, by name: who may see, message and start whom."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.protocol.calls.tools import BY_NAME
from gateway.protocol.keys import SessionKey
from gateway.services.policy import (
    Admission,
    AgentToAgent,
    Reach,
    ToolUse,
    judge_access,
    judge_label,
    judge_spawn,
    judge_task_name,
    judge_tool,
)

MAIN = SessionKey("main", "main")
CHILD = SessionKey("main", "subagent:1")
OTHER = SessionKey("main", "hook:2")
ALECAR = SessionKey("alecar", "main")
ANY = AgentToAgent(True, None)
PAIR = AgentToAgent(True, ["main", "alecar"])

# requester, target, visibility, agent-to-agent policy, descendant -> code (None: allowed)
ACCESS = [
    ("own session under self", MAIN, MAIN, "self", ANY, False, None),
    ("own child under self", MAIN, CHILD, "self", ANY, True, "self_visibility_restricted"),
    ("own child of another agent under self", MAIN, ALECAR, "self", ANY, True, "self_visibility_restricted"),
    ("own child under tree", CHILD, OTHER, "tree", ANY, True, None),
    ("own child under agent", CHILD, OTHER, "agent", ANY, True, None),
    ("own child under all", CHILD, OTHER, "all", ANY, True, None),
    ("own child of another agent under agent", MAIN, ALECAR, "agent", ANY, True, None),
    ("own child of another agent under all", MAIN, ALECAR, "all", AgentToAgent(False, None), True, None),
    ("own child of another agent under tree", MAIN, ALECAR, "tree", ANY, True, None),
    ("sibling under self", CHILD, OTHER, "self", ANY, False, "self_visibility_restricted"),
    ("main session sees its agent under tree", MAIN, OTHER, "tree", ANY, False, None),
    ("a child does not see its agent under tree", CHILD, OTHER, "tree", ANY, False, "tree_visibility_restricted"),
    ("a child sees its agent under agent", CHILD, OTHER, "agent", ANY, False, None),
    ("main under self sees only itself", MAIN, OTHER, "self", ANY, False, "self_visibility_restricted"),
    ("other agent under self", MAIN, ALECAR, "self", ANY, False, "cross_agent_visibility_restricted"),
    ("other agent under tree", MAIN, ALECAR, "tree", ANY, False, "cross_agent_visibility_restricted"),
    ("other agent under agent", MAIN, ALECAR, "agent", ANY, False, "cross_agent_visibility_restricted"),
    ("other agent under all", MAIN, ALECAR, "all", ANY, False, None),
    ("both in the list", MAIN, ALECAR, "all", PAIR, False, None),
    ("switched off", MAIN, ALECAR, "all", AgentToAgent(False, None), False, "agent_to_agent_disabled"),
    ("target missing", MAIN, ALECAR, "all", AgentToAgent(True, ["main"]), False, "agent_to_agent_not_allowed"),
    ("requester missing", MAIN, ALECAR, "all", AgentToAgent(True, ["alecar"]), False, "agent_to_agent_not_allowed"),
    ("only blanks allow nobody", MAIN, ALECAR, "all", AgentToAgent(True, [" "]), False, "agent_to_agent_not_allowed"),
    ("an empty list allows any", MAIN, ALECAR, "all", AgentToAgent(True, []), False, None),
    ("star", MAIN, ALECAR, "all", AgentToAgent(True, ["*"]), False, None),
    ("a glob ignores case", MAIN, ALECAR, "all", AgentToAgent(True, ["MAIN*", "ALE*"]), False, None),
    (
        "an exact name does not",
        MAIN,
        ALECAR,
        "all",
        AgentToAgent(True, ["MAIN", "alecar"]),
        False,
        "agent_to_agent_not_allowed",
    ),
]


@pytest.mark.parametrize(
    ("story", "requester", "target", "visibility", "a2a", "descendant", "code"), ACCESS, ids=[row[0] for row in ACCESS]
)
def test_access(story, requester, target, visibility, a2a, descendant, code):
    denied = judge_access("send", requester, target, Reach(visibility, a2a, descendant))
    assert (denied.code if denied else None) == code


@pytest.mark.parametrize("row", [row for row in ACCESS if row[-1]], ids=[row[0] for row in ACCESS if row[-1]])
def test_every_access_refusal_names_its_configuration_key(row):
    denied = judge_access("history", row[1], row[2], Reach(row[3], row[4], row[5]))
    assert denied is not None
    assert "tools.sessions.visibility" in denied.text or "tools.agentToAgent." in denied.text


ADMISSION = Admission(
    requester=MAIN,
    target_agent="main",
    named=False,
    configured=["main", "alecar"],
    allow_agents=None,
    require_agent_id=False,
    depth=0,
    max_depth=5,
    children=0,
    max_children=5,
)
SPAWN = [
    ("the agent's own child", {}, None),
    ("too deep", {"depth": 5}, "max_spawn_depth"),
    ("one below the deepest", {"depth": 4}, None),
    ("too many children", {"children": 5}, "max_children"),
    ("one below the most children", {"children": 4}, None),
    ("depth is judged before children", {"depth": 5, "children": 5}, "max_spawn_depth"),
    ("agent id wanted and missing", {"require_agent_id": True}, "agent_id_required"),
    ("agent id wanted and given", {"require_agent_id": True, "named": True}, None),
    ("unknown agent", {"target_agent": "ghost"}, "unknown_agent"),
    ("unknown agent although any is allowed", {"target_agent": "ghost", "allow_agents": ["*"]}, "unknown_agent"),
    ("another agent by default", {"target_agent": "alecar"}, "agent_not_allowed"),
    ("another agent when listed", {"target_agent": "alecar", "allow_agents": ["alecar"]}, None),
    ("another agent when any is", {"target_agent": "alecar", "allow_agents": ["*"]}, None),
    ("itself when the list leaves it out", {"allow_agents": ["alecar"]}, "agent_not_allowed"),
    ("nobody", {"allow_agents": []}, "agent_not_allowed"),
]


@pytest.mark.parametrize(("story", "change", "code"), SPAWN, ids=[row[0] for row in SPAWN])
def test_admission(story, change, code):
    denied = judge_spawn(replace(ADMISSION, **change))
    assert (denied.code if denied else None) == code


def test_the_unknown_agent_text_is_openclaws_and_names_the_key():
    denied = judge_spawn(replace(ADMISSION, target_agent="ghost"))
    assert denied is not None
    assert denied.text.startswith('agentId "ghost" is not in the configured agent registry (allowed: alecar, main)')
    assert denied.text.endswith("agents.entries")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("survey", True),
        ("a1_b-c", True),
        ("all", False),
        ("last", False),
        ("1a", False),
        ("A", False),
        ("", False),
        ("a" * 65, False),
        ("abc\n", False),
        ("abc\nd", False),
    ],
)
def test_task_names(name, good):
    assert (judge_task_name(name) is None) is good


@pytest.mark.parametrize(
    ("label", "good"),
    [
        ("weekly report", True),
        ("Größe 👩‍💻", True),
        ("", False),
        (" ", False),
        ("a\nb", False),
        ("a\x1b[31m", False),
        ("a\x00", False),
        ("a\u2028b", False),
        ("a" * 512, True),
        ("a" * 513, False),
    ],
)
def test_labels(label, good):
    assert (judge_label(label) is None) is good


FOR_ALL, FOR_PARENTS = {"agents_list", "cron", "session_status", "sessions_send"}, {
    "subagents", "sessions_list", "sessions_history", "sessions_spawn",
}  # fmt: skip
# depth of 2, allow, deny -> the tools that are refused
TOOL_USE = [
    ("a main session", 0, (), (), set()),
    ("a main session whatever is denied to sub-agents", 0, (), ("*",), set()),
    ("a sub-agent that may have children", 1, (), (), FOR_ALL),
    ("a leaf", 2, (), (), FOR_ALL | FOR_PARENTS),
    ("deeper than is allowed now", 3, (), (), FOR_ALL | FOR_PARENTS),
    ("a leaf that was given one back", 2, ("sessions_send",), (), (FOR_ALL | FOR_PARENTS) - {"sessions_send"}),
    ("a leaf that was given all back", 2, ("*",), (), set()),
    ("a pattern", 2, ("sessions_*",), (), {"agents_list", "cron", "session_status", "subagents"}),
    ("one more taken away", 1, (), ("sessions_spawn",), FOR_ALL | {"sessions_spawn"}),
    ("taken away and given back", 1, ("*",), ("sessions_send",), {"sessions_send"}),
    ("blanks and capitals", 1, (" Sessions_Send ",), (), FOR_ALL - {"sessions_send"}),
]


@pytest.mark.parametrize(("story", "depth", "allow", "deny", "denied"), TOOL_USE, ids=[row[0] for row in TOOL_USE])
def test_which_tools_a_sub_agent_may_use(story, depth, allow, deny, denied):
    answers = {tool: judge_tool(ToolUse(tool, depth, 2, allow, deny)) for tool in BY_NAME}
    assert {tool for tool, answer in answers.items() if answer} == denied
    assert all("tools.subagents.tools." in answer.text for answer in answers.values() if answer)
