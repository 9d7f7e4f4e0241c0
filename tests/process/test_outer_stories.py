"""The reports that peergate was begun for, told again with the outer door open: whatever the bind, TLS, mode and
records are, what is inside meets no pairing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.identity import PEERGATE, config, errand, started, tool
from tests.support.lan import BOX, HAS_NETWORKS, NEEDS_NETWORKS, Lan, two_hosts
from tests.support.remote import converse
from tests.support.system import System, eventually

PORT = 18789
CERTIFIED = {"enabled": True, "autoGenerate": True}


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if not HAS_NETWORKS:
        pytest.skip(NEEDS_NETWORKS)
    with two_hosts() as made:
        yield made


PROXY = {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "X-User"}}
STORIES: dict[str, dict[str, Any]] = {
    "22226, bind lan and defaults": {"bind": "lan"},
    "22226, as its user had to write it": {"bind": "loopback", "tls": CERTIFIED, "auth": {"mode": "none"}},
    "30740, lan, TLS and a token": {"mode": "local", "bind": "lan", "tls": CERTIFIED, "auth": {"token": "my-token"}},
    "30740, without TLS": {"bind": "lan", "tls": {"enabled": False, "allowPlaintext": True}, "auth": {"token": "t"}},
    "55067, loopback and a token": {"bind": "loopback", "auth": {"mode": "token", "token": "t"}},
    "29186, lan and a password": {"bind": "lan", "auth": {"mode": "password", "password": "p"}},
    "70053, an empty token": {"bind": "lan", "auth": {"mode": "token", "token": ""}},
    "70053, none on the network": {"bind": "lan", "auth": {"mode": "none", "allowInsecureNone": True}},
    "behind a proxy": {"bind": "lan", "auth": PROXY, "trustedProxies": ["10.77.0.77"]},
    "no door at all": {"bind": "off"},
}


def assert_all_is_well_inside(system: System) -> None:
    """Spawn, send, list, history and the command line, by the agent and by an operator."""
    child = json.loads(tool(system, PEERGATE, "spawn", "count", "--json")["out"])
    assert system.call("agent.wait", {"runId": child["runId"]})["status"] == "ok"
    sent = errand(
        system, "invoke", tool="sessions_send", args={"agentId": "other", "message": "x", "timeoutSeconds": 20}
    )
    assert sent["status"] == "ok", sent
    assert errand(system, "invoke", tool="sessions_list", args={})["count"] >= 2
    key = child["childSessionKey"]
    assert errand(system, "invoke", tool="sessions_history", args={"sessionKey": key})["messages"]
    told = system.cli("send", "other", "hello", "--json")
    assert told.returncode == 0, told.stderr
    ended = system.cli("sessions")
    assert ended.returncode == 0, ended.stderr
    assert system.call("refusals.list")["refusals"] == []
    assert system.call("device.pair.list")["pending"] == []


@pytest.mark.parametrize("story", STORIES)
def test_inside_nobody_meets_pairing(lan: Lan, story: str):
    told = config(gateway={"port": PORT, **STORIES[story]})
    with started(told, wrapper=lan.at(lan.box)) as system:
        addresses = json.loads((system.runtime / "status.json").read_text())["addresses"]
        assert bool(addresses) == (STORIES[story]["bind"] != "off")
        assert_all_is_well_inside(system)


# --- records that are damaged or gone ---------------------------------------------------------------------------------

TABLES = ("devices", "device_tokens", "pairing_requests", "setup_codes")


def break_records(system: System, how: str) -> None:
    """With another program's hands, as its users did with their pairing files."""
    with sqlite3.connect(system.state / "peergate.db", timeout=10) as db:
        if how == "deleted":
            for table in TABLES:
                db.execute(f"DELETE FROM {table}")
        elif how == "garbage":
            for table in TABLES:
                db.execute(f"UPDATE {table} SET record = ?", ('{"deviceId": 7, "tokens": [null], ',))
        elif how == "not-text":
            for table in TABLES:
                db.execute(f"UPDATE {table} SET record = CAST(X'FFFE00' AS TEXT)")
        else:  # swapped: a record under somebody else's name
            db.execute("UPDATE devices SET device_id = 'f' || substr(device_id, 2)")


@pytest.mark.parametrize("how", ["deleted", "garbage", "not-text", "swapped"])
def test_damaged_records_of_devices_concern_nobody_inside(lan: Lan, tmp_path: Path, how: str):
    """While it runs, after a gateway's death, and after a start on them."""
    told = config(gateway={"port": PORT, "bind": "lan", "auth": {"token": "t"}})
    with started(told, wrapper=lan.at(lan.box)) as system:
        order = {"host": BOX, "port": PORT, "tls": True, "auth": {"token": "t"}, "key": str(tmp_path)}
        lan.on(lan.phone, lambda: converse(order))
        assert system.cli("devices", "approve", "--latest").returncode == 0
        assert lan.on(lan.phone, lambda: converse(order))["hello"]
        second = {**order, "key": str(tmp_path / "second")}
        lan.on(lan.phone, lambda: converse(second))
        system.call("device.pair.setupCode", {"publicUrl": f"wss://{BOX}:{PORT}"})
        break_records(system, how)
        still_fine(system)
        old = system.gateway_pid()
        os.kill(old, signal.SIGKILL)
        eventually(lambda: system.gateway_pid() != old)
        still_fine(system)
        assert system.stop() == 0
        system.start()
        still_fine(system)
        told = lan.on(lan.phone, lambda: converse(order))
        assert told["refused"]["code"] == "NOT_PAIRED", "a record that cannot be read lets nobody in"
        (mine,) = [one for one in system.call("device.pair.list")["pending"] if one["requestId"] in str(told)]
        system.call("device.pair.approve", {"requestId": mine["requestId"]})
        assert lan.on(lan.phone, lambda: converse(order))["hello"]


def still_fine(system: System) -> None:
    """The inside of a system in whose database a stranger wrote; refusals of the phone are the phone's."""
    result = system.cli("send", "other", "hello", "--json")
    assert result.returncode == 0, result.stderr
    assert errand(system, "invoke", tool="sessions_list", args={})["count"] >= 1
    child = errand(system, "invoke", tool="sessions_spawn", args={"task": "count"})
    assert system.call("agent.wait", {"runId": child["runId"]})["status"] == "ok"
    inner = [one for one in system.call("refusals.list")["refusals"] if not one["door"].startswith("outer")]
    assert inner == []


# --- the demonstration ------------------------------------------------------------------------------------------------


def test_the_demo_opens_its_door_on_the_network_and_refuses_nobody(lan: Lan, tmp_path: Path):
    folder, runtime = tmp_path / "folder", tmp_path / "run"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"{number}\n")
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    words = [*lan.at(lan.box), PEERGATE, "demo", str(folder), "--json", "--keep", "--runtime-dir", str(runtime)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        status = runtime / "status.json"
        eventually(lambda: status.exists() and json.loads(status.read_text())["state"] == "ready", 20)
        addresses = json.loads(status.read_text())["addresses"]
        order = {"host": BOX, "port": int(addresses[0].rpartition(":")[2]), "tls": True, "name": "nobody.example"}
        told = eventually(lambda: "unreachable" not in (told := lan.on(lan.phone, lambda: converse(order))) and told)
        assert told["http"] == 421, "it is there, and speaks TLS"
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["pairingPrompts"] == 0
    (database,) = (tmp_path / "tmp").glob("peergate-demo-*/state/peergate.db")
    with sqlite3.connect(database) as db:
        assert db.execute("SELECT * FROM refusals").fetchall() == []
        assert db.execute("SELECT * FROM pairing_requests").fetchall() == []
        assert db.execute("SELECT * FROM audit").fetchall() == []
