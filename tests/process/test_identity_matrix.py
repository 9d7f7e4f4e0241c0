"""Who may call what: every method of a real system, by everybody who can reach a Unix door, on both doors.

The table is the golden: a new row of the protocol must be entered here by hand, with who may call it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.protocol.calls import ROWS
from tests.support.identity import ORDINARY, config, errand, open_to_all, started, tool_says, visitor_says
from tests.support.system import System

OPERATOR_UID, MEMBER_UID, MEMBER_GID, STRANGER = 23456, 23457, 34567, 45678

# Columns: a tool (also the worker process without its ticket), a member of the operator group, an operator.
TABLE = """
agent                          -  member  operator
agent.identity.get             -  member  operator
agent.wait                     -  member  operator
agents.list                    -  member  operator
agents.quarantine              -  -       operator
agents.release                 -  -       operator
agents.restart                 -  -       operator
agents.stop                    -  -       operator
audit.list                     -  -       operator
channels.status                -  member  operator
chat.abort                     -  member  operator
chat.history                   -  member  operator
chat.send                      -  member  operator
chat.startup                   -  member  operator
config.get                     -  member  operator
cron.add                       -  -       operator
cron.get                       -  member  operator
cron.list                      -  member  operator
cron.remove                    -  -       operator
cron.run                       -  -       operator
cron.runs                      -  member  operator
cron.status                    -  member  operator
cron.update                    -  -       operator
database.backup                -  -       operator
database.check                 -  -       operator
device.pair.approve            -  -       operator
device.pair.list               -  -       operator
device.pair.reject             -  -       operator
device.pair.remove             -  -       operator
device.pair.rename             -  -       operator
device.pair.setupCode          -  -       operator
device.pair.setupStatus        -  -       operator
device.scopes.requestUpgrade   -  member  operator
device.scopes.waitUpgrade      -  member  operator
device.token.revoke            -  -       operator
device.token.rotate            -  -       operator
gateway.identity.get           -  member  operator
health                         -  member  operator
last-heartbeat                 -  member  operator
logs.tail                      -  member  operator
mailbox.drop                   -  -       operator
mailbox.list                   -  member  operator
mailbox.retry                  -  -       operator
models.list                    -  member  operator
node.list                      -  member  operator
refusals.list                  -  member  operator
runs.list                      -  member  operator
sessions.abort                 -  member  operator
sessions.create                -  member  operator
sessions.delete                -  -       operator
sessions.describe              -  member  operator
sessions.list                  -  member  operator
sessions.messages.subscribe    -  member  operator
sessions.messages.unsubscribe  -  member  operator
sessions.patch                 -  member  operator
sessions.preview               -  member  operator
sessions.reset                 -  -       operator
sessions.resolve               -  member  operator
sessions.send                  -  member  operator
sessions.subscribe             -  member  operator
sessions.unsubscribe           -  member  operator
status                         -  member  operator
system-presence                -  member  operator
system.processes               -  member  operator
tools.catalog                  -  member  operator
tools.invoke                   tool  member  operator
wake                           -  member  operator
worker.effect                  -  -  -
worker.emit                    -  -  -
worker.finish                  -  -  -
worker.next                    -  -  -
worker.state                   -  -  -
worker.steering                -  -  -
"""
ALLOWED = {line.split()[0]: set(line.split()[1:]) - {"-"} for line in TABLE.strip().splitlines()}
NO_SUCH = "no such message"
# The row lets every operator through; writing a file is then judged by uid, and by the path.
BACKUP_RULES = ("a backup needs an absolute path", "only uid 0 and uid ")
# Nobody of this machine is a device, and none is paired here.
DEVICE_RULES = ("unknown requestId", "unknown deviceId", "device scope upgrade requires", "there is no outer door")
# A call of somebody before may still be worked at, or have ended as the agent was held.
BUSY = ("the session agent:other:main is at work", "agent other ", "aborted", "stopped by an operator")
# One whose time is over is not made.
CRON_RULES = ('schedule.at "0" has no upcoming run time',)
RULES = (*BACKUP_RULES, *DEVICE_RULES, *CRON_RULES, *BUSY)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "agent": {"sessionKey": "agent:other:main", "message": "hello", "idempotencyKey": "matrix"},
    "agent.wait": {"runId": "matrix", "timeoutMs": 0},
    "chat.abort": {"sessionKey": "agent:other:main"},
    "chat.history": {"sessionKey": "agent:errand:main"},
    "chat.startup": {"sessionKey": "agent:errand:main"},
    "cron.add": {"schedule": {"kind": "at", "at": 0}, "payload": {"kind": "agentTurn", "message": "hello"}},
    "cron.get": {"id": NO_SUCH},
    "cron.remove": {"id": NO_SUCH},
    "cron.run": {"id": NO_SUCH},
    "cron.update": {"id": NO_SUCH, "patch": {}},
    "database.backup": {"path": "not absolute"},
    "device.pair.approve": {"requestId": NO_SUCH},
    "device.pair.reject": {"requestId": NO_SUCH},
    "device.pair.remove": {"deviceId": NO_SUCH},
    "device.pair.rename": {"deviceId": NO_SUCH, "label": "Kitchen"},
    "device.pair.setupStatus": {"setupId": NO_SUCH},
    "device.scopes.requestUpgrade": {"scopes": ["operator.read"]},
    "device.scopes.waitUpgrade": {"requestId": NO_SUCH},
    "device.token.revoke": {"deviceId": NO_SUCH, "role": "operator"},
    "device.token.rotate": {"deviceId": NO_SUCH, "role": "operator"},
    "mailbox.drop": {"id": NO_SUCH},
    "mailbox.retry": {"id": NO_SUCH},
    "chat.send": {"sessionKey": "agent:other:main", "message": "hello", "idempotencyKey": "matrix chat"},
    "sessions.abort": {"key": "agent:other:main"},
    "sessions.create": {"key": "agent:other:made"},
    "sessions.delete": {"key": "agent:other:made"},
    "sessions.describe": {"key": "agent:errand:main"},
    "sessions.messages.subscribe": {"key": "agent:other:main"},
    "sessions.messages.unsubscribe": {"key": "agent:other:main"},
    "sessions.patch": {"key": "agent:other:main"},
    "sessions.preview": {"keys": ["agent:other:main"]},
    "sessions.reset": {"key": "agent:other:main"},
    "sessions.resolve": {"key": "agent:other:main", "allowMissing": True},
    "sessions.send": {"key": "agent:other:main", "message": "hello"},
    "tools.invoke": {"name": "sessions_list"},
    "wake": {"mode": "next-heartbeat", "text": "hello", "sessionKey": "agent:other:main"},
    **{name: {"agentId": "other"} for name in ALLOWED if name.startswith("agents.") and name != "agents.list"},
}
CALLS = [(name, ARGUMENTS.get(name, {})) for name in sorted(ALLOWED)]
TOOLS = {"worker without its ticket": None, "tool": ["visit"], "daemonised tool": ["daemon", "visit"]}


@pytest.fixture(scope="module", params=[None, ORDINARY], ids=["root", "ordinary"])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A system of root's and one of an ordinary uid: its tools are root, or have the owner's own uid."""
    unix = {"operators": [OPERATOR_UID], "operatorGroup": MEMBER_GID}
    with started(config(gateway={"unix": unix}), uid=request.param, groups=str(MEMBER_GID)) as one:
        open_to_all(one.operator)
        open_to_all(one.agents)
        yield one


def judge(told: dict[str, Any], column: str, principal: str) -> None:
    """Every method as the table has it; a refusal is typed and names who was refused."""
    assert len(told["answers"]) == len(CALLS)
    for (method, _), answer in zip(CALLS, told["answers"], strict=True):
        error = answer.get("error") if isinstance(answer, dict) and set(answer) == {"error"} else None
        if column in ALLOWED[method]:
            unknown = error is not None and error["code"] == "INVALID_REQUEST" and NO_SUCH in error["message"]
            assert error is None or unknown or error["message"].startswith(RULES), (method, error)
            continue
        assert error is not None, f"{column} was let through to {method}"
        assert error["code"] == "FORBIDDEN", (method, error)
        assert error["details"]["code"] == "MISSING_SCOPE", (method, error)
        assert principal in error["details"]["principal"], (method, error)


def test_the_table_has_every_method():
    assert ALLOWED.keys() == ROWS.keys() - {"connect"}


@pytest.mark.parametrize("door", ["agents", "operator"])
@pytest.mark.parametrize("who", TOOLS)
def test_whatever_a_worker_starts_is_its_tool_with_any_uid_at_any_door(system: System, who: str, door: str):
    words, path = TOOLS[who], str(getattr(system, door))
    told = (
        errand(system, "calls", door=path, calls=CALLS)
        if words is None
        else tool_says(system, *words, path, given=CALLS)
    )
    owner = system.directory.stat().st_uid
    assert (told["hello"]["kind"], told["hello"]["uid"]) == ("tool", owner)
    assert told["hello"]["sessionKey"] == "agent:errand:main"
    judge(told, "tool", "tool of agent errand (session agent:errand:main, pid")


@pytest.mark.parametrize(
    ("identity", "column"),
    [
        (("0", "0"), "operator"),
        (("owner", "owner"), "operator"),
        ((str(OPERATOR_UID), str(OPERATOR_UID)), "operator"),
        ((str(MEMBER_UID), str(MEMBER_UID), str(MEMBER_GID)), "member"),
        ((str(MEMBER_UID), str(MEMBER_GID)), "member"),
    ],
    ids=["root", "owner", "configured uid", "member", "member by primary group"],
)
def test_operators_are_who_the_configuration_says(system: System, identity: tuple[str, ...], column: str):
    owner = str(system.directory.stat().st_uid)
    who = [owner if word == "owner" else word for word in identity]
    told = visitor_says(system.operator, *who, calls=CALLS)
    assert (told["hello"]["kind"], told["hello"]["uid"]) == ("operator", int(who[0]))
    judge(told, column, f"operator uid {who[0]}")
    elsewhere = visitor_says(system.agents, *who, calls=CALLS)["refused"]
    assert elsewhere["code"] == "FORBIDDEN"
    assert "operators use operator.sock" in elsewhere["message"]


@pytest.mark.parametrize("door", ["agents", "operator"])
@pytest.mark.parametrize("uid", [STRANGER, 65534])
def test_a_stranger_is_told_so_and_sent_away(system: System, uid: int, door: str):
    refused = visitor_says(getattr(system, door), str(uid), str(uid), calls=CALLS)["refused"]
    assert refused["code"] == "FORBIDDEN"
    assert refused["details"]["reason"] == "not allowed on this socket"
    assert f"uid {uid}" in refused["message"]


def test_every_refusal_at_a_call_and_at_a_door_is_remembered_with_who_it_was(system: System):
    visitor_says(system.operator, str(STRANGER), str(STRANGER))
    tool_says(system, "visit", str(system.operator), given=[("agents.stop", {"agentId": "other"})])
    rows = system.call("refusals.list", {"limit": 500})["refusals"]
    assert any(row["code"] == "STRANGER" and f"uid {STRANGER}" in row["peer"] for row in rows)
    stopped = [row for row in rows if row.get("method") == "agents.stop"]
    assert "tool of agent errand" in stopped[0]["peer"]


def test_a_configured_operator_can_reach_the_door_as_it_is_made():
    """The file's mode must not keep out whom the configuration lets in."""
    with started(config(gateway={"unix": {"operators": [OPERATOR_UID]}})) as system:
        assert visitor_says(system.operator, str(OPERATOR_UID), str(OPERATOR_UID), calls=[("status", {})])["answers"]
