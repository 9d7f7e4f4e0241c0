"""What may be said in a hello, and what depends on who says it."""

from __future__ import annotations

import msgspec
import pytest

from gateway.auth.principal import Principal
from gateway.hello import BadHello, Greeter, buffer_limit, frame_limit, parse_connect
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import Request
from tests.support.doors import operator, tool, worker


def connect(**params: object) -> Request:
    return Request("1", "connect", msgspec.Raw(msgspec.msgpack.encode(params)))


@pytest.mark.parametrize(("least", "most", "spoken"), [(3, 3, 3), (3, 4, 4), (4, 4, 4), (1, 3, 3), (4, 9, 4)])
def test_the_newest_protocol_both_speak_is_chosen(least: int, most: int, spoken: int):
    params = parse_connect(connect(minProtocol=least, maxProtocol=most))
    assert Greeter("1", lambda who: []).hello_ok(operator(), params, "c", 0)["protocol"] == spoken


@pytest.mark.parametrize(("least", "most"), [(5, 5), (1, 2), (0, 0)])
def test_without_a_common_protocol_there_is_no_hello(least: int, most: int):
    with pytest.raises(BadHello) as caught:
        parse_connect(connect(minProtocol=least, maxProtocol=most))
    assert caught.value.reason is CloseReason.PROTOCOL_MISMATCH


def test_what_a_client_says_of_itself_changes_nothing_it_may_do():
    greeter = Greeter("1", lambda who: sorted(who.granted))
    modest = greeter.hello_ok(tool(), Connect(), "c", 0)
    bold = greeter.hello_ok(tool(), Connect(role="operator", scopes=["operator.admin"]), "c", 0)
    assert modest == bold
    assert modest["auth"] == {"role": "tool", "scopes": ["session"], "method": "peer"}


def test_features_are_worked_out_once_for_all_with_the_same_scopes():
    asked: list[Principal] = []

    def methods_for(principal: Principal) -> list[str]:
        asked.append(principal)
        return []

    greeter = Greeter("1", methods_for)
    for principal in (operator(), operator(5), tool(), tool("s2"), worker()):
        greeter.hello_ok(principal, Connect(), "c", 0)
    assert len(asked) == 3


def test_a_worker_hears_its_own_events_and_nobody_elses():
    events = Greeter("1", lambda who: []).hello_ok(worker(), Connect(), "c", 0)["features"]["events"]
    assert events == ["shutdown", "tick", "worker.abort", "worker.steer"]


def test_those_who_are_many_may_hold_less():
    assert frame_limit(tool()) < frame_limit(operator())
    assert buffer_limit(worker()) < buffer_limit(operator())
