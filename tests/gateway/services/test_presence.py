"""Who is here is told to people: apps, not programs; and for a while who has left."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from gateway.auth.principal import Kind, Principal
from gateway.protocol import scopes
from gateway.protocol.calls.system import ClientInfo, Connect
from gateway.services import presence
from gateway.services.presence import Attendance
from gateway.services.timers import Timers
from tests.support.doors import operator, tool
from tests.support.engine import Listener, open_box

DEVICE = Principal(
    Kind.DEVICE, frozenset({scopes.READ}), "outer", -1, -1, 0, device="ab" * 32, address="192.0.2.7", client="tui"
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Now(Timers):
    """What is due in a moment is done at once."""

    def __init__(self) -> None:
        self.due: list[Hashable] = []

    def set(self, key: Hashable, seconds: float, call: Callable[[], None]) -> None:
        self.due.append(key)
        call()


def said(mode: str, **more: str) -> Connect:
    return Connect(client=ClientInfo(id="openclaw-tui", version="9", platform="linux", mode=mode, **more))


def test_an_app_is_told_of_with_where_it_is_and_the_gateway_always_first():
    hub = Listener()
    here = Attendance(hub, Clock(), Now())
    here.arrive("c1", DEVICE, said("ui", display_name="Kitchen", instance_id="i"))
    gateway, app = here.rows()
    assert (gateway.mode, gateway.reason) == ("gateway", "self")
    assert (app.client_id, app.mode, app.reason, app.ip, app.device_id) == (
        "openclaw-tui", "ui", "connect", "192.0.2.7", "ab" * 32,
    )  # fmt: skip
    assert (app.roles, app.scopes, app.instance_id, app.online_since) == (["operator"], [scopes.READ], "i", 1000)
    assert [row.mode for row in hub.of("presence")[0]["presence"]] == ["gateway", "ui"]


def test_programs_workers_and_tools_are_not_told_of():
    hub = Listener()
    here = Attendance(hub, Clock(), Now())
    for mode in ("cli", "probe", "backend", ""):
        here.arrive(mode, operator(), said(mode))
        here.depart(mode)
    here.arrive("tool", tool(), said("ui"))
    assert len(here.rows()) == 1
    assert hub.events == []


def test_who_has_left_is_told_of_for_a_while():
    clock, hub = Clock(), Listener()
    here = Attendance(hub, clock, Now())
    here.arrive("c1", DEVICE, said("ui"))
    clock.now += 5
    here.depart("c1")
    assert [(row.reason, row.ts) for row in here.rows()[1:]] == [("disconnect", 1005)]
    clock.now += presence.GONE_MS
    assert len(here.rows()) == 1
    assert len(hub.of("presence")) == 2


def test_rows_and_what_clients_say_of_themselves_are_bounded():
    here = Attendance(Listener(), Clock(), Now())
    for number in range(presence.MAX_ROWS + 50):
        here.arrive(f"c{number}", DEVICE, said("ui", display_name="x" * 5000))
    rows = here.rows()
    assert len(rows) == presence.MAX_ROWS
    assert max(len(row.host or "") for row in rows) == presence.MAX_TEXT
    for number in range(presence.MAX_ROWS + 50):
        here.depart(f"c{number}")
    assert len(here.rows()) == presence.MAX_ROWS


async def test_a_crowd_that_comes_at_once_is_told_of_once(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        for number in range(50):
            box.services.presence.arrive(f"c{number}", DEVICE, said("ui"))
        assert box.listener.of("presence") == []
        mock_clock.jump(0.1)
        await box.settle()
        assert [len(one["presence"]) for one in box.listener.of("presence")] == [51]
        box.services.presence.depart("c1")
        mock_clock.jump(0.1)
        await box.settle()
        assert len(box.listener.of("presence")) == 2
