"""One connection up to the greeting: every way in, and every way not in."""

from __future__ import annotations

import msgspec
import pytest
import trio

from gateway.auth.principal import Kind, Refused
from gateway.protocol import scopes
from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import pack
from gateway.protocol.limits import (
    HELLO_DEADLINE_MS,
    MAX_CONNECTIONS_PER_PRINCIPAL,
    MAX_HELLO_BYTES,
    REFUSAL_SECONDS,
)
from tests.support.doors import ME, encode_request, operator, ticketed, tool, worker
from tests.support.talk import gone

# --- ways in ----------------------------------------------------------------------------------------------------------


async def test_an_operator_is_greeted_with_what_it_may_do(place):
    peer, _ = place.connect(operator())
    answer = await peer.greet(client={"id": "test"})
    hello = answer["payload"]
    assert (answer["id"], answer["ok"], hello["type"], hello["protocol"]) == ("hello", True, "hello-ok", 4)
    assert hello["features"]["methods"] == ["agent.wait", "config.get", "health", "status"]
    assert "tick" in hello["features"]["events"]
    assert hello["auth"] == {"role": "operator", "scopes": sorted(scopes.OPERATOR_SCOPES), "method": "peer"}
    assert hello["principal"] == {"kind": "operator", "uid": 0, "pid": ME}
    assert hello["snapshot"]["uptimeMs"] == 7
    assert hello["policy"]["tickIntervalMs"] == 30_000


async def test_a_client_of_protocol_3_is_answered_in_protocol_3(place):
    peer, _ = place.connect(operator())
    answer = await peer.greet(minProtocol=3, maxProtocol=3)
    assert answer["payload"]["protocol"] == 3


async def test_hello_and_the_first_calls_may_come_in_one_write(place):
    peer, _ = place.connect(operator())
    large = {"padding": "x" * (MAX_HELLO_BYTES + 1)}
    await peer.send(
        encode_request("0", "connect") + encode_request("1", "health") + encode_request("2", "health", large)
    )
    answers = [await peer.hear() for _ in range(3)]
    assert [answer and (answer["id"], answer["ok"]) for answer in answers] == [("0", True), ("1", True), ("2", False)]


async def test_a_worker_shows_its_ticket_and_is_seated(place):
    place.tickets["s1"] = "t1"
    peer, connection = place.connect(ticketed())
    hello = (await peer.greet(ticket="t1"))["payload"]
    assert hello["principal"] == {
        "kind": "worker", "uid": 0, "pid": ME, "agentId": "main", "sessionKey": "agent:main:main",
    }  # fmt: skip
    assert connection.principal == worker()
    assert place.came == [connection]


async def test_a_workers_process_without_its_ticket_is_a_tool(place):
    _, connection = await place.greeted(ticketed())
    assert connection.principal.kind is Kind.TOOL


async def test_a_newer_connection_of_the_worker_replaces_the_older(place):
    place.tickets["s1"] = "t1"
    first, _ = await place.greeted(ticketed(), ticket="t1")
    place.tickets["s1"] = "t2"
    second, _ = await place.greeted(ticketed(), ticket="t2")
    assert await first.hear_end() == "replaced by a newer connection"
    await second.ask("1", "health")
    assert (await second.hear())["id"] == "1"


# --- ways not in ------------------------------------------------------------------------------------------------------


async def test_a_wrong_ticket_closes_the_connection(place):
    place.tickets["s1"] = "t1"
    peer, _ = place.connect(ticketed())
    answer = await peer.greet(ticket="guess")
    assert (answer["ok"], answer["error"]["code"]) == (False, "FORBIDDEN")
    assert await peer.hear_end() == "wrong ticket"
    assert place.refusals[-1].code == "WRONG_TICKET"
    await gone(place, CloseReason.WRONG_TICKET)


async def test_who_is_refused_at_the_door_is_told_why_when_it_speaks(place):
    peer, _ = place.connect(Refused(CloseReason.STRANGER, "uid 7 is no operator", "for the log"))
    answer = await peer.greet()
    assert answer["error"] == {
        "code": "FORBIDDEN", "message": "uid 7 is no operator", "details": {"reason": "not allowed on this socket"},
    }  # fmt: skip
    assert await peer.hear_end() == "not allowed on this socket"
    assert "for the log" in place.refusals[-1].message
    assert place.came == []


async def test_who_is_refused_and_says_nothing_is_not_waited_for(place, autojump_clock):
    peer, _ = place.connect(Refused(CloseReason.STRANGER, "no"))
    start = trio.current_time()
    assert await peer.hear_end() == "not allowed on this socket"
    assert trio.current_time() - start <= REFUSAL_SECONDS
    assert [note.code for note in place.refusals] == ["STRANGER"]


async def test_silence_before_hello_ends_in_time(place, autojump_clock):
    peer, _ = place.connect(operator())
    start = trio.current_time()
    await peer.send(encode_request("1", "connect")[:10])
    assert await peer.hear_end() == "hello timeout"
    assert trio.current_time() - start == pytest.approx(HELLO_DEADLINE_MS / 1000)
    await gone(place, CloseReason.HELLO_TIMEOUT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pack(b"\xc1garbage"), "invalid request frame"),
        (pack(b"GET / HTTP/1.1\r\n\r\n"), "invalid request frame"),
        (pack(b"\x91" * 60_000), "invalid request frame"),
        (pack(msgspec.msgpack.encode({"type": "event", "event": "tick"})), "invalid request frame"),
        (pack(msgspec.msgpack.encode({"type": "req", "id": "", "method": "connect"})), "invalid request frame"),
        (b"GET / HTTP/1.1\r\n\r\n", "preauth payload too large"),
        ((MAX_HELLO_BYTES + 1).to_bytes(4, "big"), "preauth payload too large"),
        (encode_request("1", "health"), "invalid handshake: first request must be connect"),
        (encode_request("1", "connect", {"minProtocol": 5, "maxProtocol": 9}), "protocol mismatch"),
        (encode_request("1", "connect", {"maxProtocol": 2, "minProtocol": 1}), "protocol mismatch"),
        (encode_request("1", "connect", {"scopes": 5}), "invalid request frame"),
    ],
)
async def test_who_does_not_say_hello_properly_is_not_greeted(place, data: bytes, reason: str):
    peer, _ = place.connect(operator())
    await peer.send(data)
    assert await peer.hear_end() == reason
    assert place.came == []
    assert place.refusals[-1].message.startswith(reason)


async def test_a_protocol_mismatch_is_explained_to_machines(place):
    peer, _ = place.connect(operator())
    answer = await peer.greet(minProtocol=5, maxProtocol=6)
    assert answer["error"]["details"] == {
        "code": "PROTOCOL_MISMATCH", "clientMinProtocol": 5, "clientMaxProtocol": 6, "expectedProtocol": 4,
        "minimumProbeProtocol": 3,
    }  # fmt: skip


async def test_one_worker_cannot_open_connections_without_end(place):
    for _ in range(MAX_CONNECTIONS_PER_PRINCIPAL):
        await place.greeted(tool())
    peer, _ = place.connect(tool())
    answer = await peer.greet()
    assert answer["error"]["code"] == "UNAVAILABLE"
    assert await peer.hear_end() == "too many connections"
    await place.greeted(operator())


async def test_who_hangs_up_before_hello_leaves_no_trace(place):
    peer, _ = place.connect(operator())
    peer.close()
    await gone(place, CloseReason.PEER_CLOSED)
    assert place.refusals == []
