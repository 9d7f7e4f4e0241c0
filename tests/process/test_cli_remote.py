"""The command line of one machine and a real system of another: pairing it, using it, losing it, coming back.

The other machine is a system of ours on loopback TCP with TLS; this one knows nothing of its directories."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.client import Access, CallFailed, ConnectionLost, open_client
from gateway.client.remote import RemoteClient, look
from tests.support.system import System, eventually, running

TOKEN = "a shared token".replace(" ", "-")
CONFIG = {"gateway": {"bind": "loopback", "port": 0, "tls": {"enabled": True}, "auth": {"token": TOKEN}}}


def url_of(system: System) -> str:
    told = json.loads((system.runtime / "status.json").read_text())
    address = next(each for each in told["addresses"] if each.startswith("127.0.0.1:"))
    return f"wss://{address}"


class Laptop:
    """Another machine: its own home, nothing of the system's. `url` is where the system is."""

    def __init__(self, home: Path, system: System) -> None:
        self.home = home
        self.url = url_of(system)
        self.fingerprint = trio.run(self._fingerprint)

    async def _fingerprint(self) -> str:
        return (await look(self.url, trio.current_time() + 20)).fingerprint

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "PEERGATE_URL": self.url, "LANG": "C.UTF-8"}

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("peergate")), *words]

    def __call__(self, *words: str, **secrets: str) -> subprocess.CompletedProcess[str]:
        """`peergate …` typed there."""
        return subprocess.run(
            self.command(*words), env=self.environment | secrets, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    def start(self, *words: str, **secrets: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(
            self.command(*words), env=self.environment | secrets, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def pair(self, system: System) -> dict[str, Any]:
        """Pair, while somebody at the system approves."""
        pairing = self.start("pair", "--fingerprint", self.fingerprint, "--json", PEERGATE_TOKEN=TOKEN)
        eventually(lambda: system.call("device.pair.list")["pending"], 20)
        assert system.cli("devices", "approve", "--latest").returncode == 0
        out, err = pairing.communicate(timeout=60)
        assert pairing.returncode == 0, err
        told: dict[str, Any] = json.loads(out)
        return told

    @property
    def access(self) -> Access:
        return Access(directory=str(self.home / ".config" / "peergate"))


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running(CONFIG) as one:
        yield one


@pytest.fixture
def laptop(system: System, tmp_path: Path) -> Laptop:
    return Laptop(tmp_path, system)


def test_pairing_needs_a_person_over_there_and_then_no_secret(system: System, laptop: Laptop):
    before = laptop("health", PEERGATE_TOKEN=TOKEN)
    assert before.returncode == 77, before.stderr
    (request,) = system.call("device.pair.list")["pending"]
    assert f"peergate devices approve {request['requestId']}" in before.stderr
    told = laptop.pair(system)
    assert (told["paired"], told["fingerprint"]) == (True, laptop.fingerprint)
    assert json.loads(laptop("health", "--json").stdout)["ok"] is True
    assert (laptop.home / ".config/peergate/device.json").stat().st_mode & 0o777 == 0o600


def test_everyday_commands_do_there_what_they_do_here(system: System, laptop: Laptop):
    laptop.pair(system)
    sent = laptop("send", "main", "hello from afar")
    assert (sent.returncode, "hello from afar" in sent.stdout) == (0, True), sent.stderr
    assert "hello from afar" in laptop("history", "main").stdout
    spawned = json.loads(laptop("spawn", "count", "--json").stdout)
    waited = laptop("wait", spawned["runId"], "--json")
    assert json.loads(waited.stdout)["status"] == "ok", waited.stderr
    rows = json.loads(laptop("ps", "--json").stdout)
    assert {row["kind"] for row in rows} >= {"supervisor", "gateway"}
    for words in (("status",), ("agents",), ("sessions",), ("mailbox",), ("devices",), ("audit",), ("logs", "-n", "1")):
        ended = laptop(*words)
        assert (ended.returncode, bool(ended.stdout)) == (0, True), (words, ended.stderr)


def test_a_revoked_device_is_out_at_once_and_its_token_is_worth_nothing(system: System, laptop: Laptop):
    device = laptop.pair(system)["deviceId"]

    async def stay() -> ConnectionLost:
        async with open_client(laptop.url, access=laptop.access) as client:
            assert isinstance(client, RemoteClient)
            revoked = await trio.to_thread.run_sync(lambda: system.cli("devices", "remove", device))
            assert revoked.returncode == 0, revoked.stderr
            with trio.fail_after(10):
                reason = await client.wait_closed()
            with pytest.raises(ConnectionLost) as lost:
                await client.call("health")
            assert "client invalidated" in reason
            return lost.value

    assert trio.run(stay).code == 4001
    after = laptop("health")
    assert after.returncode == 77
    assert f"peergate pair {laptop.url}" in after.stderr
    laptop.pair(system)
    assert laptop("health").returncode == 0


def test_events_are_followed_over_a_gateway_that_is_killed(system: System, laptop: Laptop):
    laptop.pair(system)
    following = laptop.start("events", "--only", "session.message", "-n", "4", "--json")
    try:
        eventually(lambda: laptop("send", "main", "wake up").returncode == 0 and started_to_write(following), 20)
        os.kill(system.gateway_pid(), signal.SIGKILL)
        eventually(lambda: laptop("send", "main", "still there?").returncode == 0 and following.poll() is not None, 30)
        out, err = following.communicate(timeout=20)
    finally:
        following.kill()
        following.wait()
    assert following.returncode == 0, err
    assert "waiting for the next" in err
    assert {json.loads(line)["event"] for line in out.splitlines()} == {"session.message"}


def started_to_write(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_a_setup_code_pairs_with_nobody_asked(system: System, laptop: Laptop):
    code = json.loads(system.cli("qr", "--public-url", laptop.url, "--json").stdout)["setupCode"]
    ended = laptop("pair", code)
    assert ended.returncode == 0, ended.stderr
    assert laptop("health").returncode == 0
    again = Laptop(laptop.home / "other", system)("pair", code)
    assert again.returncode == 77


def test_an_interrupted_wait_ends_without_a_traceback(system: System, laptop: Laptop):
    there = ("pair", "--fingerprint", laptop.fingerprint, "--scope")
    pairing = laptop.start(*there, "operator.read", PEERGATE_TOKEN=TOKEN)
    eventually(lambda: system.call("device.pair.list")["pending"], 20)
    assert system.cli("devices", "approve", "--latest").returncode == 0
    assert pairing.wait(60) == 0
    waiting = laptop.start(*there, "operator.write")
    (request,) = eventually(lambda: system.call("device.pair.list")["pending"], 20)
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=20)
    system.call("device.pair.reject", {"requestId": request["requestId"]})
    pairing.communicate()
    assert (waiting.returncode, out) == (130, "")
    assert "Traceback" not in err


async def test_the_shared_token_alone_lets_nobody_in(system: System, laptop: Laptop):
    with pytest.raises(CallFailed) as refused:
        async with open_client(laptop.url, access=Access(token=TOKEN, directory=str(laptop.home / "another"))):
            pass
    assert refused.value.code == "NOT_PAIRED"
