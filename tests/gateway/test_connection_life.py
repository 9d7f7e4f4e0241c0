"""One connection once it is in: calls, events, every way out, and nobody else disturbed."""

from __future__ import annotations

import trio
import trio.testing

from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import pack
from gateway.protocol.limits import (
    MAX_WORKER_PAYLOAD_BYTES,
)
from tests.support.doors import ME, encode_request, operator, ticketed, tool
from tests.support.talk import gone

# --- while it lives ---------------------------------------------------------------------------------------------------


async def test_a_quick_call_is_answered_while_a_slow_one_waits(place, autojump_clock):
    peer, _ = await place.greeted(operator())
    await peer.send(encode_request("slow", "status") + encode_request("quick", "health"))
    assert [(await peer.hear())["id"], (await peer.hear())["id"]] == ["quick", "slow"]


async def test_broadcasts_are_numbered_and_own_events_are_not(place):
    peer, connection = await place.greeted(operator(), events=True)
    place.hub.publish("tick", {"ts": 1})
    connection.post_event("worker.steer", {"runId": "r"})
    place.hub.publish("tick", {"ts": 2})
    assert [await peer.hear() for _ in range(3)] == [
        {"type": "event", "event": "tick", "payload": {"ts": 1}, "seq": 1},
        {"type": "event", "event": "worker.steer", "payload": {"runId": "r"}},
        {"type": "event", "event": "tick", "payload": {"ts": 2}, "seq": 2},
    ]


async def test_thousands_of_calls_in_one_write_are_all_answered(place):
    peer, _ = await place.greeted(operator())
    calls = b"".join(encode_request(str(number), "health") for number in range(5000))
    place.nursery.start_soon(peer.send, calls)
    assert [(await peer.hear())["id"] for _ in range(5000)] == [str(number) for number in range(5000)]


async def test_one_busy_peer_leaves_room_for_another(place):
    busy, _ = await place.greeted(operator())
    other, _ = await place.greeted(operator())
    place.nursery.start_soon(busy.send, encode_request("1", "health") * 20_000)
    await other.ask("1", "health")
    with trio.fail_after(5):
        assert (await other.hear())["ok"]


async def test_who_has_lost_what_let_it_in_gets_the_answers_under_way_and_nothing_else(place, autojump_clock):
    peer, connection = await place.greeted(operator(), events=True)
    await peer.send(encode_request("before", "status") + encode_request("endless", "agent.wait", {"runId": "r"}))
    await trio.testing.wait_all_tasks_blocked()
    connection.bar("client invalidated: removed")
    place.hub.publish("tick", {"ts": 1})
    connection.post_event("worker.steer", {"runId": "r"})
    await peer.send(encode_request("behind", "health"))
    assert (await peer.hear())["id"] == "before"
    assert await peer.hear_end() == "client invalidated"
    await gone(place, CloseReason.DEVICE_GONE)


async def test_what_had_been_read_before_it_lost_that_is_not_done(place):
    peer, connection = await place.greeted(operator())
    connection._reading = trio.CancelScope()  # as if the call had been read in the very step of the loss
    connection.bar("client invalidated: removed")
    await peer.send(encode_request("behind", "health"))
    assert await peer.hear_end() == "client invalidated"


# --- ways out ---------------------------------------------------------------------------------------------------------


async def test_garbage_after_hello_ends_that_connection_alone(place):
    bad, _ = await place.greeted(operator())
    good, _ = await place.greeted(operator())
    await bad.send(encode_request("1", "health") + pack(b"\xc1"))
    assert (await bad.hear())["ok"]
    assert await bad.hear_end() == "invalid request frame"
    await good.ask("1", "health")
    assert (await good.hear())["ok"]


async def test_a_frame_too_large_is_refused_from_its_header(place):
    peer, _ = await place.greeted(tool())
    await peer.send((MAX_WORKER_PAYLOAD_BYTES + 1).to_bytes(4, "big"))
    assert await peer.hear_end() == "payload too large"
    await gone(place, CloseReason.FRAME_TOO_LARGE)


async def test_half_a_frame_at_the_end_is_noted(place):
    peer, _ = await place.greeted(operator())
    await peer.send(encode_request("1", "health")[:-1])
    peer.close()
    await gone(place, CloseReason.BAD_FRAME)
    assert "middle of a frame" in place.refusals[-1].message


async def test_a_peer_that_asks_and_never_reads_is_ended_as_slow(place):
    peer, _ = await place.greeted(operator())
    await peer.send(b"".join(encode_request(str(number), "config.get") for number in range(30)))
    await gone(place, CloseReason.SLOW_CONSUMER)
    assert place.refusals[-1].code == "SLOW_CONSUMER"


async def test_a_listener_that_does_not_read_holds_nobody_up(place):
    await place.greeted(operator(), events=True)
    reader, _ = await place.greeted(operator(), events=True)
    for number in range(40):
        place.hub.publish("tick", {"ts": number, "padding": "x" * 500_000})
        assert (await reader.hear())["payload"]["ts"] == number
    assert place.hub.connections == 1
    assert place.went[0].reason is CloseReason.SLOW_CONSUMER


async def test_a_frame_of_another_process_ends_the_connection(place):
    peer, _ = place.connect(operator(), pid=ME + 1)
    await peer.ask("1", "connect")
    assert await peer.hear_end() is None
    assert place.refusals[-1].code == "OTHER_SENDER"


async def test_what_a_peer_asked_for_is_cancelled_when_it_hangs_up(place):
    peer, connection = await place.greeted(operator())
    await peer.ask("1", "agent.wait", {"runId": "r"})
    await trio.testing.wait_all_tasks_blocked()
    assert connection.in_flight == {"1"}
    peer.close()
    await gone(place, CloseReason.PEER_CLOSED)
    assert connection.in_flight == set()
    assert place.refusals == []


async def test_with_a_worker_its_connections_end(place):
    place.tickets["s1"] = "t1"
    mine, _ = await place.greeted(ticketed(), ticket="t1")
    tools, _ = await place.greeted(tool())
    silent, _ = place.connect(tool())
    await trio.testing.wait_all_tasks_blocked()
    place.registry.end_worker("s1")
    assert [await one.hear_end() for one in (mine, tools, silent)] == ["its worker ended"] * 3
    await gone(place, CloseReason.WORKER_GONE)


async def test_retiring_answers_what_is_being_worked_at_and_cuts_off_what_waits(place, autojump_clock):
    peer, _ = await place.greeted(operator())
    silent, _ = place.connect(operator())
    await peer.send(encode_request("1", "agent.wait", {"runId": "r"}) + encode_request("2", "status"))
    await trio.testing.wait_all_tasks_blocked()
    start = trio.current_time()
    place.registry.retire_all()
    assert await silent.hear_end() == "service restart"
    assert (await peer.hear())["id"] == "2"
    assert await peer.hear_end() == "service restart"
    assert trio.current_time() - start < 1
    await gone(place, CloseReason.SHUTDOWN)


async def test_an_answer_larger_than_a_frame_is_refused_in_words(place):
    peer, connection = await place.greeted(operator())
    connection.respond("1", "x" * 30_000_000)
    answer = await peer.hear()
    assert (answer["ok"], answer["error"]["code"]) == (False, "UNAVAILABLE")


async def test_many_idle_connections_are_held(place):
    idle = [await place.greeted(operator(), events=True) for _ in range(500)]
    assert place.hub.publish("tick", {}) == 500
    assert [(await peer.hear())["seq"] for peer, _ in idle] == [1] * 500
