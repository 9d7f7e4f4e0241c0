"""Health, status, the log and the configuration as clients get them."""

from __future__ import annotations

import msgspec
import pytest

from gateway.auth.principal import Kind, Principal
from gateway.handlers.system import tail
from gateway.protocol.errors import Refusal
from gateway.protocol.frames import JSON
from gateway.protocol.scopes import READ
from tests.support.calls import OPERATOR, Caller
from tests.support.engine import open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    tree = {"gateway": {"auth": {"token": "very secret"}}}
    async with open_box(tmp_path, tree=tree) as box:
        yield box


async def test_health_counts_what_there_is(box):
    await box.send("hello")
    box.services.counters["connections"] = lambda: 3
    worker, run = await box.take()
    health = await Caller(box.services).ask("health")
    assert health.items() >= {
        "ok": True, "workers": 1, "connections": 3, "defaultAgentId": "main", "generation": 1, "epoch": 1,
    }.items()  # fmt: skip
    assert health["runs"] == {"running": 1}
    assert [(one["id"], one["runtime"]) for one in health["agents"]] == [("main", "python"), ("scout", "python")]
    await worker.finish(run)
    assert (await Caller(box.services).ask("health"))["runs"] == {"running": 1}  # a tenth of a second may pass
    assert (await Caller(box.services).ask("health", probe=True))["runs"] == {}


async def test_health_has_what_openclaws_clients_look_for(box):
    await box.send("hello")
    await box.send("look", "agent:scout:main")
    health = await Caller(box.services).ask("health")
    assert health.items() >= {"channels": {}, "channelOrder": [], "channelLabels": {}, "heartbeatSeconds": 0}.items()
    main, scout = health["agents"]
    assert (main["agentId"], main["isDefault"], scout["agentId"]) == ("main", True, "scout")
    assert main["heartbeat"] == {
        "enabled": False, "every": "disabled", "everyMs": None, "prompt": "", "target": "none", "ackMaxChars": 0,
    }  # fmt: skip
    assert (main["sessions"]["count"], [one["key"] for one in main["sessions"]["recent"]]) == (1, ["agent:main:main"])
    sessions = health["sessions"]
    assert (sessions["total"], sessions["count"], len(sessions["recent"])) == (2, 2, 2)
    assert sessions["path"].endswith("peergate.db")
    assert isinstance(health["durationMs"], int)


async def test_health_is_looked_at_anew_after_a_tenth_of_a_second(box, mock_clock):
    caller = Caller(box.services)
    first = await caller.ask("health")
    await box.send("hello")
    assert await caller.ask("health") == first
    mock_clock.jump(0.1)
    again = await caller.ask("health")
    assert (again["runs"], again["sessions"]["total"]) == ({"starting": 1}, 0)
    mock_clock.jump(0.9)
    assert (await caller.ask("health"))["sessions"]["total"] == 1


async def test_listeners_hear_of_the_health_once_a_minute(box, mock_clock):
    mock_clock.jump(60)
    await box.settle()
    (told,) = box.listener.of("health")
    assert told.ok


async def test_what_there_is_none_of_is_answered_as_empty(box):
    caller = Caller(box.services)
    assert await caller.ask("last-heartbeat") is None
    assert (await caller.ask("node.list"))["nodes"] == []
    told = await caller.ask("channels.status", probe=True)
    assert (told["channelOrder"], told["channels"], told["channelAccounts"]) == ([], {}, {})
    (gateway,) = await caller.ask("system-presence")
    assert gateway["mode"] == "gateway"
    assert len((await caller.ask("gateway.identity.get"))["deviceId"]) == 64


async def test_the_configuration_is_told_with_a_hash_that_follows_it(box, tmp_path):
    told = await Caller(box.services).ask("config.get")
    assert (told["valid"], told["issues"], told["raw"], told["exists"]) == (True, [], None, False)
    async with open_box(tmp_path / "..", tree={"gateway": {"port": 5}}) as other:
        assert (await Caller(other.services).ask("config.get"))["hash"] != told["hash"]


async def test_status_has_the_health_and_what_the_gateway_adds(box):
    box.services.counters["status"] = lambda: {"doors": ["agents"]}
    box.services.refusals.note(code="FORBIDDEN", door="agents", peer="uid 7", reason="no")
    await box.settle()
    status = await Caller(box.services).ask("status")
    assert status["gateway"] == {"doors": ["agents"]}
    assert status["refusals"] == {"FORBIDDEN": 1}
    assert status["health"]["ok"]


async def test_the_configuration_is_shown_without_its_secrets(box):
    config = (await Caller(box.services).ask("config.get"))["config"]
    assert config["gateway"]["auth"]["token"] == "<hidden>"
    assert config["agents"]["defaults"]["subagents"]["maxChildrenPerAgent"] == 5


async def test_processes_are_the_supervisors_word(box):
    await box.send("hello")
    await box.take()
    assert [one["kind"] for one in await Caller(box.services).ask("system.processes")] == ["worker"]


async def test_refusals_are_listed_newest_first_and_counted(box):
    for number in range(3):
        box.services.refusals.note(code="FORBIDDEN", door="operator", peer="uid 7", reason=f"no {number}", method="x")
    box.services.refusals.note(code="NOT_PAIRED", door="outer", peer="10.0.0.1", reason="who?")
    await box.settle()
    answer = await Caller(box.services).ask("refusals.list", code="FORBIDDEN", limit=2)
    assert [one["reason"] for one in answer["refusals"]] == ["no 2", "no 1"]
    assert answer["counts"] == {"FORBIDDEN": 3, "NOT_PAIRED": 1}


async def test_the_log_is_read_from_its_end_and_on_from_a_cursor(box, tmp_path):
    file = tmp_path / "peergate.log"
    file.write_text("one\ntwo\nthree\nhalf a li")
    box.services.counters["status"] = lambda: {"logFile": str(file)}
    caller = Caller(box.services)
    last = await caller.ask("logs.tail", limit=2)
    assert last["lines"] == ["two", "three"]
    with file.open("a") as log:
        log.write("ne\nfive\n")
    more = await caller.ask("logs.tail", cursor=last["cursor"])
    assert more["lines"] == ["half a line", "five"]
    assert (await caller.ask("logs.tail", cursor=more["cursor"]))["lines"] == []


RECORD = b'{"logger":"gateway.main","ts":1795237098000,"level":"info","msg":"ready","pid":7}'


async def test_over_a_websocket_lines_of_the_log_have_the_members_openclaws_clients_show(box, tmp_path):
    (tmp_path / "log").write_bytes(RECORD + b'\nTraceback\n[1]\n{"msg":1}\n')
    box.services.counters["status"] = lambda: {"logFile": str(tmp_path / "log")}
    caller = Caller(box.services)
    assert (await caller.ask("logs.tail"))["lines"][0] == RECORD.decode()
    caller.codec = JSON
    line, *others = (await caller.ask("logs.tail"))["lines"]
    shown = {"message": "ready", "time": "2026-11-21T04:58:18.000+00:00", "subsystem": "gateway.main"}
    assert msgspec.json.decode(line) == msgspec.json.decode(RECORD) | shown
    assert others == ["Traceback", "[1]", '{"msg":1}']


@pytest.mark.parametrize("depth", [600, 900, 5000])
@pytest.mark.parametrize("name", ["msg", "door"])
async def test_a_line_of_somebody_elses_that_is_nested_deeply_is_shown(name, depth, box, tmp_path):
    deep = f'{{"{name}":{"[" * depth}{"]" * depth}}}'
    (tmp_path / "log").write_text(f"{deep}\n")
    box.services.counters["status"] = lambda: {"logFile": str(tmp_path / "log")}
    for who in (OPERATOR, READER):
        caller = Caller(box.services, who)
        caller.codec = JSON
        assert (await caller.ask("logs.tail"))["lines"] == [deep]


READER = Principal(Kind.DEVICE, frozenset({READ}), "outer:0", -1, -1, 0, device="d" * 64, address="10.0.0.9")
OF_DEVICES = (
    b'{"logger":"gateway.pairing","msg":"device 6d9637 asks to be paired"}',
    b'{"logger":"gateway.connection","msg":"connection ended","door":"outer:1","who":"cli at 10.0.0.7"}',
    b'{"logger":"gateway.router","msg":"call refused","door":"outer:0","who":"device 6d9637"}',
)


async def test_who_may_only_read_sees_no_line_of_the_log_that_names_a_device(box, tmp_path):
    inside = b'{"logger":"gateway.connection","msg":"connection ended","door":"agents","who":"tool of main"}'
    lines = [RECORD, *OF_DEVICES, b"Traceback", inside, *OF_DEVICES]
    (tmp_path / "log").write_bytes(b"\n".join(lines) + b"\n")
    box.services.counters["status"] = lambda: {"logFile": str(tmp_path / "log")}
    everything = await Caller(box.services).ask("logs.tail")
    assert everything["lines"] == [line.decode() for line in lines]
    told = await Caller(box.services, READER).ask("logs.tail", limit=3)
    assert told["lines"] == [RECORD.decode(), "Traceback", inside.decode()]
    assert (told["cursor"], told["truncated"]) == (everything["cursor"], False)


async def test_who_may_only_read_is_not_told_who_was_refused_at_the_outer_door(box):
    for number in range(3):
        box.services.refusals.note(code="FORBIDDEN", door="operator", peer="uid 7", reason=f"no {number}")
        box.services.refusals.note(code="NOT_PAIRED", door="outer:0", peer="cli at 10.0.0.7", reason="who?")
    await box.settle()
    told = await Caller(box.services, READER).ask("refusals.list", limit=2)
    assert [one["reason"] for one in told["refusals"]] == ["no 2", "no 1"]
    assert told["counts"] == {"FORBIDDEN": 3, "NOT_PAIRED": 3}
    assert (await Caller(box.services, READER).ask("refusals.list", code="NOT_PAIRED"))["refusals"] == []
    assert len((await Caller(box.services).ask("refusals.list", code="NOT_PAIRED"))["refusals"]) == 3


async def test_a_log_that_was_rotated_is_read_from_its_end(tmp_path):
    file = tmp_path / "peergate.log"
    file.write_text("new\n")
    answer = tail(file, 5000, 10, 1000)
    assert (answer["lines"], answer["reset"]) == (["new"], True)


async def test_without_a_log_file_the_answer_says_where_to_look(box):
    with pytest.raises(Refusal, match=r"logging\.file is false"):
        await Caller(box.services).ask("logs.tail")


async def test_a_log_that_cannot_be_read_is_told_in_words(tmp_path):
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        tail(tmp_path / "nothing.log", None, 10, 1000)


@pytest.mark.parametrize("path", ["/tmp/a\0b", "relative", ""])
async def test_a_backup_to_what_is_no_path_is_refused(path, box):
    with pytest.raises(Refusal, match="a backup needs an absolute path"):
        await Caller(box.services).ask("database.backup", path=path)
