"""The supervisor's part of the configuration: typed, sealed, and had from a process of its own."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.settings import (
    EX_CONFIG,
    AgentSettings,
    Resolved,
    Settings,
    UidRange,
    Unresolved,
    keeping_outer_door,
    needs_restart,
    parse_document,
    resolve,
    sealed,
    settings_from,
)  # fmt: skip
from supervisor.spawn import SpawnTable

LIMITS = {"pids": 3, "cpuSeconds": None}
KEYS = {"pids": "agents.defaults.limits.pids", "cpuSeconds": "agents.entries.a.limits.cpuSeconds"}
PART = {
    "spawnMethod": "exec", "warmSpares": 0, "stopSeconds": 3, "cgroup": "off", "heartbeatSeconds": 2,
    "operators": {"uids": [5], "gid": 7}, "foreign": {"1000": ["operator.read"]},
    "gateway": {"bind": "custom", "port": 8, "customBindHost": ["10.0.0.1", "::1"]},
    "uids": {"first": 10, "count": 2, "gid": 9}, "output": {"linesPerSecond": 1, "bytesPerSecond": 2},
    "logging": {"level": "debug", "file": "/x", "maxBytes": 3, "backups": 4},
    "agents": {
        "a": {"runtime": {"type": "python"}, "cwd": "/c", "env": {"K": "V"}, "limits": LIMITS, "limitKeys": KEYS},
    },
}  # fmt: skip


def test_every_key_of_the_part_is_read():
    assert settings_from(PART) == Settings(
        agents={"a": AgentSettings({"type": "python"}, cwd="/c", env={"K": "V"}, limits={"pids": 3}, limit_keys=KEYS)},
        spawn_method="exec",
        warm_spares=0,
        stop_seconds=3,
        cgroup="off",
        heartbeat_seconds=2,
        operator_uids=(5,),
        operator_gid=7,
        foreign=True,
        bind="custom",
        port=8,
        custom_hosts=("10.0.0.1", "::1"),
        uids=UidRange(10, 2, 9),
        lines_per_second=1,
        bytes_per_second=2,
        log_level="debug",
        log_file="/x",
        log_max_bytes=3,
        log_backups=4,
    )


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"supervisor": 3}', b'{"supervisor": {"agents": [1]}}'])
def test_a_document_that_is_none_is_a_defect_and_not_the_persons_mistake(document: bytes):
    with pytest.raises(Unresolved) as refused:
        parse_document(document)
    assert refused.value.code == os.EX_SOFTWARE


def test_what_a_reload_cannot_change_is_named():
    old, new = settings_from(PART), settings_from({**PART, "cgroup": "auto", "uids": None, "warmSpares": 5})
    assert needs_restart(old, new) == ["supervisor.cgroup", "supervisor.uids"]


def resolved(gateway: dict[str, object], section: object, level: str = "info") -> Resolved:
    part = {**PART, "gateway": gateway, "logging": {"level": level}}
    tree = {"supervisor": part, "settings": {"gateway": section, "logging": {"level": level}}}
    return parse_document(json.dumps(tree).encode())


LAN = {"bind": "lan", "port": 1, "customBindHost": []}


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({"bind": "loopback"}, ["gateway.bind"]),
        ({"port": 2}, ["gateway.port"]),
        ({"bind": "custom", "customBindHost": ["::1"]}, ["gateway.bind", "gateway.customBindHost"]),
    ],
)
def test_what_guards_the_outer_door_changes_only_with_the_door(changed, keys):
    old, new = resolved(LAN, {"auth": "token"}), resolved(LAN | changed, {"auth": "none"}, level="debug")
    assert needs_restart(old.settings, new.settings)[: len(keys)] == keys
    kept = keeping_outer_door(old, new)
    assert json.loads(kept.document)["settings"] == {"gateway": {"auth": "token"}, "logging": {"level": "debug"}}
    assert kept.settings == replace(new.settings, bind="lan", port=1, custom_hosts=())
    assert keeping_outer_door(old, kept) == kept, "and again, for the sockets are still the old ones"


def test_what_guards_the_outer_door_changes_where_the_door_stays():
    old, new = resolved(LAN, {"auth": "token"}), resolved(LAN, {"auth": "password"})
    assert keeping_outer_door(old, new) is new


async def test_the_real_resolver_is_asked_and_leaves_no_process(tmp_path: Path):
    config = tmp_path / "peergate.json"
    config.write_text(json.dumps({"supervisor": {"spawn": {"warmSpares": 7}}}))
    table = SpawnTable()
    resolved = await resolve(str(config), ["logging.level=debug"], table)
    assert (resolved.settings.warm_spares, resolved.settings.log_level) == (7, "debug")
    assert resolved.source == str(config)
    assert set(resolved.settings.agents) == {"main", "scout"}
    assert json.loads(resolved.document)["settings"]
    assert table.known_pids() == set()


async def test_a_mistake_is_told_with_its_path_and_code_78(tmp_path: Path):
    config = tmp_path / "peergate.json"
    config.write_text('{"gateway": {"prot": 1}}')
    with pytest.raises(Unresolved, match=r"gateway\.prot.*port") as refused:
        await resolve(str(config), [])
    assert refused.value.code == EX_CONFIG


def test_a_sealed_document_is_read_whole_and_never_written():
    descriptor = sealed(b"x" * 100_000)
    try:
        assert os.read(descriptor, 200_000) == b"x" * 100_000
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"y", 0)
    finally:
        os.close(descriptor)


def test_a_limit_is_named_by_the_key_it_is_written_under():
    agent = settings_from(PART).agents["a"]
    assert agent.limit_key("pids") == "agents.defaults.limits.pids"
    assert AgentSettings({}).limit_key("pids") == "limits.pids"
