"""The router lets through what a row allows, and answers everything else in words."""

from __future__ import annotations

import tracemalloc
from typing import Any, cast

import msgspec
import pytest

from gateway.auth.principal import Kind, Principal, Refusal
from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.row import Params, instead_of
from gateway.protocol.errors import ErrorShape, forbidden, unavailable
from gateway.protocol.frames import JSON, Request
from gateway.protocol.limits import MAX_IN_FLIGHT, MAX_ROW_BYTES
from gateway.router import Call, Router
from gateway.services import Services
from tests.support.doors import operator, tool, worker
from tests.support.router import Listener, make_router, request


def test_a_plain_handler_is_answered_at_once():
    peer = Listener(operator())
    make_router(health=lambda call: {"ok": call.principal.uid}).dispatch(peer, request("health"))
    assert peer.answers == [("1", {"ok": 0})]


async def test_an_async_handler_is_answered_when_it_is_done():
    async def health(call: Call) -> object:
        call.answer_now("first")
        return "second"

    peer = Listener(operator())
    make_router(health=health).dispatch(peer, request("health"))
    assert peer.answers == []
    assert peer.in_flight == {"1"}
    await peer.finish()
    assert peer.answers == [("1", "first"), ("1", "second")]
    assert peer.in_flight == set()


KINDS = {
    "operator, all": operator(),
    "operator, read and write": operator(granted=frozenset({scopes.READ, scopes.WRITE})),
    "operator, read": operator(granted=frozenset({scopes.READ})),
    "operator, nothing": operator(granted=frozenset()),
    "tool": tool(),
    "worker": worker(),
}
ALLOWED = {
    "operator, all": {scopes.PUBLIC, scopes.ADMIN, scopes.READ, scopes.WRITE, scopes.PAIRING},
    "operator, read and write": {scopes.PUBLIC, scopes.READ, scopes.WRITE},
    "operator, read": {scopes.PUBLIC, scopes.READ},
    "operator, nothing": {scopes.PUBLIC},
    "tool": {scopes.PUBLIC, scopes.SESSION},
    "worker": {scopes.PUBLIC, scopes.SESSION, scopes.WORKER},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ROWS)
def test_every_row_lets_through_those_with_its_scope_and_refuses_all_others(method: str, kind: str):
    row, peer, refusals = ROWS[method], Listener(KINDS[kind]), list[Refusal]()
    router = Router({method: lambda call: "done"}, cast("Services", None), refused=refusals.append)
    router.dispatch(peer, Request("1", method, msgspec.Raw(b"\xc0")))
    if {row.scope, row.or_scope} & ALLOWED[kind]:
        # It got past the scope: what is wrong now are the parameters (nil instead of a map).
        assert peer.error.code == "INVALID_REQUEST"
        assert refusals == []
    else:
        assert (peer.error.code, peer.error.message.split(";")[0]) == ("FORBIDDEN", f"missing scope: {row.scope}")
        assert [note.method for note in refusals] == [method]
    allowed = bool({row.scope, row.or_scope} & ALLOWED[kind])
    assert (method in router.methods_for(KINDS[kind])) == (allowed and not row.hidden)


def test_a_refusal_tells_machines_what_is_missing_and_people_who_they_are():
    peer, refusals = Listener(tool()), list[Refusal]()
    make_router(refusals, status=lambda call: None).dispatch(peer, request("status"))
    assert peer.error.details == {
        "code": "MISSING_SCOPE", "missingScope": "operator.read", "requiredScopes": ["operator.read"],
        "principal": tool().name,
    }  # fmt: skip
    assert "tool of agent main" in peer.error.message
    assert (refusals[0].code, refusals[0].agent, refusals[0].who) == ("FORBIDDEN", "main", tool().name)


def test_an_unknown_method_tells_an_administrator_the_nearest_and_others_nothing():
    router = make_router(health=lambda call: None)
    admin, reader = Listener(operator()), Listener(operator(granted=frozenset({scopes.READ})))
    router.dispatch(admin, request("heath"))
    router.dispatch(reader, request("heath"))
    assert admin.error.message == "unknown method: heath (nearest: health)"
    assert (reader.error.code, reader.error.message) == ("FORBIDDEN", "missing scope: operator.admin")


def test_for_a_name_of_a_million_characters_nothing_near_is_looked_for():
    peer, long = Listener(operator()), request("health" * 200_000)
    router = make_router(health=lambda call: None)
    tracemalloc.start()
    try:
        router.dispatch(peer, long)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert peer.error.message.startswith("unknown method: healthhealth")


def test_over_a_websocket_an_unknown_method_is_told_in_openclaws_words_alone():
    peer = Listener(operator())
    peer.codec = JSON
    make_router(health=lambda call: None).dispatch(peer, request("heath"))
    assert peer.error.message == "unknown method: heath"


def test_a_second_connect_is_told_that_it_is_one():
    peer = Listener(operator(granted=frozenset({scopes.READ})))
    make_router(health=lambda call: None).dispatch(peer, request("connect"))
    assert (peer.error.code, peer.error.message) == ("INVALID_REQUEST", "connect is only valid as the first request")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"limit": "many"}, "Expected `int`, got `str` - at `$.limit`"),
        ({"limt": 5}, "at root: unexpected property 'limt'"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_wrong_parameters_are_named(params: object, words: str):
    peer = Listener(operator())
    raw = msgspec.Raw(msgspec.msgpack.encode(params))
    make_router(sessions__list=lambda call: None).dispatch(peer, Request("1", "sessions.list", raw))
    assert peer.error.code == "INVALID_REQUEST"
    assert peer.error.message.startswith("invalid sessions.list params: ")
    assert words in peer.error.message


@pytest.mark.parametrize(
    ("method", "name", "hint"),
    [
        (
            "runs.list",
            "sesionKey",
            "did you mean sessionKey? allowed: sessionKey, agentId, spawnedBy, state, ",
        ),
        ("runs.list", "x" * 100_000, "allowed: sessionKey, agentId, spawnedBy, state, unfinished, limit, offset"),
        ("mailbox.drop", "identity", "allowed: id"),
        ("system.processes", "x", "allowed: none"),
        ("agent", "mesage", "did you mean message? allowed: message, idempotencyKey, agentId, sessionKey, sessionId, "),
    ],
)
def test_a_parameter_there_is_not_is_answered_with_those_there_are(method: str, name: str, hint: str):
    peer = Listener(operator())
    make_router(None, **{method.replace(".", "__"): lambda call: None}).dispatch(peer, request(method, {name: 1}))
    assert f"at root: unexpected property '{name}'; {hint}" in peer.error.message
    assert "lane" not in peer.error.message  # of `agent`, and nothing is done with it
    peer = Listener(operator())
    peer.codec = JSON  # OpenClaw's clients compare the text
    raw = msgspec.Raw(msgspec.json.encode({name: 1}))
    make_router(None, **{method.replace(".", "__"): lambda call: None}).dispatch(peer, Request("2", method, raw))
    assert peer.error.message == f"invalid {method} params: at root: unexpected property '{name}'"


@pytest.mark.parametrize(
    ("method", "params", "hint"),
    [
        (
            "runs.list",
            {"state": "bogus"},
            "allowed: queued, starting, running, waiting, done, failed, timed_out, aborted, ",
        ),
        ("cron.list", {"sortBy": "x" * 1000}, "allowed: nextRunAtMs, updatedAtMs, name"),
        ("cron.update", {"id": "1", "patch": {"wakeMode": "x"}}, "patch"),
    ],
)
def test_a_value_there_is_not_is_answered_with_those_there_are(method: str, params: dict[str, Any], hint: str):
    peer = Listener(operator())
    make_router(None, **{method.replace(".", "__"): lambda call: None}).dispatch(peer, request(method, params))
    assert hint in peer.error.message


def test_of_very_many_parameters_some_are_named():
    many = msgspec.defstruct("Many", [(f"p{number:02}", int, 0) for number in range(30)], bases=(Params,), frozen=True)
    told = instead_of("p300", cast(type[Params], many))
    assert told.startswith("did you mean p")
    assert told.endswith("p22, p23, and 6 more")


def test_deep_nesting_is_an_error_like_any_other():
    peer = Listener(operator())
    deep = msgspec.Raw(b"\x81\xa5state" + b"\x91" * 200_000 + b"\xc0")
    make_router(health=lambda call: None).dispatch(peer, Request("1", "health", deep))
    assert peer.error.code == "INVALID_REQUEST"


def test_parameters_larger_than_the_row_allows_are_not_decoded():
    peer = Listener(operator())
    make_router(agents__stop=lambda call: None).dispatch(peer, request("agents.stop", {"agentId": "x" * MAX_ROW_BYTES}))
    assert "bytes, at most" in peer.error.message


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handlers_own_refusal_reaches_the_caller(asynchronous: bool):
    def refuse(call: Call) -> object:
        raise forbidden("agent x is not yours", agent="x")

    async def refuse_later(call: Call) -> object:
        return refuse(call)

    peer, refusals = Listener(operator()), list[Refusal]()
    make_router(refusals, health=refuse_later if asynchronous else refuse).dispatch(peer, request("health"))
    await peer.finish()
    assert (peer.error.code, peer.error.details) == ("FORBIDDEN", {"agent": "x"})
    assert [note.message for note in refusals] == ["agent x is not yours"]


async def test_only_what_is_forbidden_goes_into_the_refusals_table():
    def busy(call: Call) -> object:
        raise unavailable("the disk is full")

    peer, refusals = Listener(operator()), list[Refusal]()
    make_router(refusals, health=busy).dispatch(peer, request("health"))
    assert peer.error.retryable
    assert refusals == []


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_fault_of_ours_tells_the_caller_a_reference_and_the_log_the_rest(asynchronous: bool, caplog):
    def fail(call: Call) -> object:
        raise RuntimeError("secret detail")

    async def fail_later(call: Call) -> object:
        return fail(call)

    peer = Listener(operator())
    make_router(health=fail_later if asynchronous else fail).dispatch(peer, request("health"))
    await peer.finish()
    assert peer.error.code == "UNAVAILABLE"
    assert peer.error.message.startswith("internal error (reference ")
    assert "secret" not in peer.error.message
    assert "secret detail" in caplog.text
    assert peer.error.message.split()[-1].rstrip(")") == caplog.records[-1].reference


def test_an_answer_that_cannot_be_encoded_is_a_fault_of_ours():
    peer = Listener(operator())
    make_router(health=lambda call: object()).dispatch(peer, request("health"))
    assert "internal error" in peer.error.message


def test_calls_in_flight_are_bounded_and_differ():
    async def wait(call: Call) -> object:
        raise AssertionError("not run here")

    peer, router = Listener(operator()), make_router(health=wait)
    for number in range(MAX_IN_FLIGHT):
        router.dispatch(peer, request("health", id=str(number)))
    assert peer.answers == []
    router.dispatch(peer, request("health", id="one more"))
    assert (peer.error.code, peer.error.retryable) == ("UNAVAILABLE", True)
    peer.answers.clear()
    router.dispatch(peer, request("health", id="7"))
    assert "ids of calls in flight must differ" in peer.error.message


async def test_a_slow_call_is_logged_unless_it_is_meant_to_wait(caplog, monkeypatch):
    async def later(call: Call) -> object:
        call.started -= 10
        return {}

    peer = Listener(operator())
    router = make_router(health=later, agent__wait=later)
    router.dispatch(peer, request("health"))
    router.dispatch(peer, request("agent.wait", {"runId": "r"}, id="2"))
    await peer.finish()
    assert [record.method for record in caplog.records if record.message == "slow call"] == ["health"]


def test_who_is_outside_is_told_when_it_may_change_the_system_again_and_who_is_inside_is_not_counted():
    now, handled = [100.0], list[str]()
    router = Router(
        {name: lambda call: handled.append(call.row.name) for name in ("cron.remove", "cron.get")},
        cast("Services", None), refused=lambda note: None, clock=lambda: now[0],
    )  # fmt: skip
    device = Principal(Kind.DEVICE, frozenset({scopes.ADMIN}), "outer:0", -1, -1, 0, device="d1", address="192.0.2.7")
    outside, inside = Listener(device), Listener(operator())
    for peer in (outside, inside):
        for _ in range(30):
            router.dispatch(peer, request("cron.remove", {"id": "j"}))
    assert len(handled) == 60
    now[0] += 12.3
    router.dispatch(again := Listener(device), request("cron.remove", {"id": "j"}))
    assert again.error == ErrorShape(
        "UNAVAILABLE", "rate limit exceeded for cron.remove; retry after 48s",
        details={"method": "cron.remove", "limit": "30 per 60s"}, retryable=True, retry_after_ms=47_700,
    )  # fmt: skip
    router.dispatch(outside, request("cron.get", {"id": "j"}))
    router.dispatch(inside, request("cron.remove", {"id": "j"}))
    now[0] += 47.7
    router.dispatch(outside, request("cron.remove", {"id": "j"}))
    assert len(handled) == 63


def test_the_methods_that_are_counted_are_openclaws_of_those_there_are():
    assert {row.name for row in ROWS.values() if row.budgeted} == {
        "cron.add", "cron.update", "cron.remove", "cron.run",
    }  # fmt: skip
