"""The rows, scopes and keys: authority is written once, and written completely."""

from __future__ import annotations

import msgspec
import msgspec.inspect
import pytest

from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.row import Params, given
from gateway.protocol.calls.tools import BY_NAME
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.keys import is_agent_id, main_key, parse_key, subagent_key

EVERY_SCOPE = scopes.OPERATOR_SCOPES | {scopes.WORKER, scopes.SESSION, scopes.PUBLIC}

# Who may call what: a change here is a change of authority and must be meant.
AUTHORITY = {
    "connect": "public", "health": "operator.read", "status": "operator.read", "system.processes": "operator.read",
    "logs.tail": "operator.read", "config.get": "operator.read", "refusals.list": "operator.read",
    "cron.status": "operator.read", "cron.list": "operator.read", "cron.get": "operator.read",
    "cron.runs": "operator.read", "cron.add": "operator.admin", "cron.update": "operator.admin",
    "cron.remove": "operator.admin", "cron.run": "operator.admin", "wake": "operator.write",
    "database.backup": "operator.admin", "database.check": "operator.admin",
    "agents.list": "operator.read", "agents.stop": "operator.admin", "agents.restart": "operator.admin",
    "agents.quarantine": "operator.admin", "agents.release": "operator.admin", "sessions.list": "operator.read",
    "sessions.describe": "operator.read", "chat.history": "operator.read", "runs.list": "operator.read",
    "chat.startup": "operator.read",
    "sessions.resolve": "operator.read", "sessions.preview": "operator.read", "sessions.create": "operator.write",
    "sessions.send": "operator.write", "sessions.abort": "operator.write", "sessions.patch": "operator.write",
    "sessions.delete": "operator.write", "sessions.subscribe": "operator.read", "sessions.unsubscribe": "operator.read",
    "sessions.messages.subscribe": "operator.read", "sessions.messages.unsubscribe": "operator.read",
    "chat.send": "operator.write", "system-presence": "operator.read", "gateway.identity.get": "operator.read",
    "last-heartbeat": "operator.read", "channels.status": "operator.read", "node.list": "operator.read",
    "agent.identity.get": "operator.read", "models.list": "operator.read", "tools.catalog": "operator.read",
    "agent": "operator.write", "agent.wait": "operator.write", "chat.abort": "operator.write",
    "tools.invoke": "session", "worker.next": "worker", "worker.emit": "worker", "worker.finish": "worker",
    "worker.steering": "worker", "worker.state": "worker", "worker.effect": "worker",
    "sessions.reset": "operator.admin", "mailbox.list": "operator.read", "mailbox.retry": "operator.admin",
    "mailbox.drop": "operator.admin",
    "device.pair.list": "operator.pairing", "device.pair.approve": "operator.pairing",
    "device.pair.reject": "operator.pairing", "device.pair.remove": "operator.pairing",
    "device.pair.rename": "operator.pairing", "device.pair.setupCode": "operator.admin",
    "device.pair.setupStatus": "operator.admin", "device.token.rotate": "operator.pairing",
    "device.token.revoke": "operator.pairing", "device.scopes.requestUpgrade": "operator.read",
    "device.scopes.waitUpgrade": "operator.read", "audit.list": "operator.pairing",
}  # fmt: skip
UPGRADES = ("device.scopes.requestUpgrade", "device.scopes.waitUpgrade")


def test_authority_is_what_it_was():
    assert {name: row.scope for name, row in ROWS.items()} == AUTHORITY
    others = {name: row.or_scope for name, row in ROWS.items() if row.or_scope}
    assert others == {"tools.invoke": scopes.READ, **dict.fromkeys(UPGRADES, scopes.PAIRING)}


# Calls whose words decide (OpenClaw 2026.9.6): what they say, and what they need then.
BY_WORDS: list[tuple[str, dict[str, object], str]] = [
    ("agent", {"message": "hello", "idempotencyKey": "k"}, scopes.WRITE),
    ("agent", {"message": "/newest first", "idempotencyKey": "k"}, scopes.WRITE),
    ("agent", {"message": " /new", "idempotencyKey": "k"}, scopes.ADMIN),
    ("agent", {"message": "/RESET\nand then", "idempotencyKey": "k"}, scopes.ADMIN),
    ("sessions.create", {}, scopes.WRITE),
    ("sessions.create", {"label": "a", "message": "b"}, scopes.WRITE),
    ("sessions.create", {"incognito": True}, scopes.ADMIN),
    ("sessions.create", {"execNode": "n"}, scopes.ADMIN),
    ("sessions.delete", {"key": "k"}, scopes.ADMIN),
    ("sessions.delete", {"key": "k", "archivedOnly": False}, scopes.ADMIN),
    ("sessions.delete", {"key": "k", "archivedOnly": True}, scopes.WRITE),
    ("sessions.patch", {"key": "k"}, scopes.WRITE),
    ("sessions.patch", {"key": "k", "label": None, "expectedSessionId": "s"}, scopes.WRITE),
    ("sessions.patch", {"key": "k", "pinned": True, "model": None}, scopes.WRITE),
    ("sessions.patch", {"key": "k", "permissionMode": "guarded"}, scopes.WRITE),
    ("sessions.patch", {"key": "k", "permissionMode": "full"}, scopes.ADMIN),
    ("sessions.patch", {"key": "k", "label": "a", "execSecurity": "full"}, scopes.ADMIN),
    ("sessions.patch", {"key": "k", "sendPolicy": "allow"}, scopes.ADMIN),
    ("sessions.patch", {"key": "k", "verboseLevel": None}, scopes.ADMIN),
]


@pytest.mark.parametrize(("name", "params", "needed"), BY_WORDS, ids=[f"{name} {said}" for name, said, _ in BY_WORDS])
def test_what_a_call_says_decides_where_the_row_says_so(name: str, params: dict[str, object], needed: str):
    row = ROWS[name]
    assert row.scope_for is not None
    for decoder, encode in ((row.decoder, msgspec.msgpack.encode), (row.json_decoder, msgspec.json.encode)):
        assert row.scope_for(decoder.decode(encode(params))) == needed


def test_every_row_whose_words_decide_is_in_the_table():
    assert {name for name, row in ROWS.items() if row.scope_for} == {name for name, _, _ in BY_WORDS}


# What OpenClaw's clients may send besides is taken, whatever it is, and costs nothing.
def test_an_inert_parameter_may_be_anything():
    patch = ROWS["sessions.patch"].json_decoder.decode(b'{"key": "k", "icon": {"a": [1, null]}, "model": "x"}')
    assert given(patch) == ["icon", "model"]
    assert given(ROWS["sessions.patch"].decoder.decode(msgspec.msgpack.encode({"key": "k"}))) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_complete(name: str):
    row = ROWS[name]
    assert row.scope in EVERY_SCOPE
    assert row.summary.endswith(".")
    # Each release of OpenClaw's clients says more of itself in connect; what is unknown there is passed over.
    assert row.params.__struct_config__.forbid_unknown_fields or name == "connect"
    assert issubclass(row.params, Params)


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {"connect"}))
def test_a_misspelt_parameter_is_told(name: str):
    with pytest.raises(msgspec.ValidationError):
        ROWS[name].decoder.decode(msgspec.msgpack.encode({"noSuchParameter": 1}))


def test_every_event_has_a_scope_that_exists():
    assert set(EVENT_SCOPES.values()) <= EVERY_SCOPE


def test_every_tool_asks_an_operator_for_an_operators_scope():
    assert {tool.scope for tool in BY_NAME.values()} <= scopes.OPERATOR_SCOPES


@pytest.mark.parametrize(
    ("granted", "needed", "enough"),
    [
        ({scopes.ADMIN}, scopes.READ, True),
        ({scopes.ADMIN}, scopes.PAIRING, True),
        ({scopes.WRITE}, scopes.READ, True),
        ({scopes.READ}, scopes.WRITE, False),
        ({scopes.WRITE}, scopes.PAIRING, False),
        (set(), scopes.PUBLIC, True),
        (set(), scopes.READ, False),
        (scopes.OPERATOR_SCOPES, scopes.SESSION, False),
        (scopes.OPERATOR_SCOPES, scopes.WORKER, False),
        ({scopes.WORKER}, scopes.SESSION, False),
    ],
)
def test_what_implies_what(granted: set[str], needed: str, enough: bool):
    assert (needed in scopes.expand(frozenset(granted)) | {scopes.PUBLIC}) == enough


@pytest.mark.parametrize(
    ("text", "agent", "kind", "depth"),
    [
        (main_key("main"), "main", "main", 0),
        (subagent_key("scout", "u-1"), "scout", "subagent", 1),
        (" AGENT:Main:MAIN ", "main", "main", 0),
        ("agent:main:cron:job", "main", "cron", 0),
        ("agent:main:whatsapp:+49", "main", "other", 0),
        ("agent:main:subagent:a:subagent:b", "main", "subagent", 2),
    ],
)
def test_a_key_is_taken_apart(text: str, agent: str, kind: str, depth: int):
    key = parse_key(text)
    assert key is not None
    assert (key.agent, key.kind, key.depth) == (agent, kind, depth)
    assert parse_key(str(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "agent:main",
        "agent::main",
        "agent:main:",
        "agent:a b:c",
        "agent:main:a b",
        "agent:main:a\nb",
        "agent:a\n:b",
    ],
)
def test_what_is_no_key_is_none(text: str):
    assert parse_key(text) is None


@pytest.mark.parametrize(
    ("text", "valid"),
    [("main", True), ("a-b_1", True), ("", False), ("A", False), ("-a", False), ("main\n", False), ("a\nb", False)],
)
def test_agent_ids(text: str, valid: bool):
    assert is_agent_id(text) == valid


BOUNDED_BY_THEIR_HANDLERS = {"timeout", "runTimeoutSeconds", "timeoutSeconds", "minProtocol", "maxProtocol"}
"""They say in a sentence of their own what is allowed."""
EVERY_PARAMS = {name: row.params for name, row in ROWS.items()} | {name: tool.params for name, tool in BY_NAME.items()}


def is_bounded(number: msgspec.inspect.IntType) -> bool:
    return number.ge is not None and number.ge >= 0 and number.le is not None and number.le <= 2**53


@pytest.mark.parametrize("name", EVERY_PARAMS)
def test_every_whole_number_a_caller_gives_is_bounded(name: str):
    def numbers(kind: msgspec.inspect.Type):
        match kind:
            case msgspec.inspect.IntType():
                yield kind
            case msgspec.inspect.UnionType(types=types):
                for one in types:
                    yield from numbers(one)
            case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
                yield from numbers(item)

    info = msgspec.inspect.type_info(EVERY_PARAMS[name])
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.encode_name not in BOUNDED_BY_THEIR_HANDLERS:
            assert [number for number in numbers(field.type) if not is_bounded(number)] == [], field.name
