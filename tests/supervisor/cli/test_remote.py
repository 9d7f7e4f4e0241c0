"""Commands and a system elsewhere: everything that goes there, and each way it can go wrong."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from supervisor.cli.address import LOCAL
from tests.gateway.greet.front import TOKEN
from tests.supervisor.cli.support import Shell
from tests.support.doors import operator
from tests.support.fake_door import FakeDoor
from tests.support.outer_door import fingerprint_of, make_certificate
from tests.support.outer_thread import FarAway, paired

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def token(home: Path) -> str:
    file = home / "token.txt"
    file.write_text(f"{TOKEN.replace(' ', '-')}\n")
    return str(file)


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("health",), ("status",), ("agents",), ("sessions",), ("history", "main"), ("mailbox",), ("devices",),
        ("audit",),
        ("runs",), ("logs", "-n", "1"), ("call", "system-presence"), ("call", "--methods"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_asks_works_over_the_network(peergate: Shell, far: FarAway, words: tuple[str, ...]):
    paired(peergate, far)
    ended = peergate("--url", far.url, *words, "--json")
    assert ended.code in (0, 1), ended.err
    if ended.code:  # this door has no session and no log; that is what it said, over the network
        assert ended.err.startswith(("peergate: there is no session", "peergate: no log file is written"))


def test_events_arrive_as_they_happen(peergate: Shell, far: FarAway):
    paired(peergate, far)
    over = threading.Event()

    async def publish() -> None:
        far.door.front.house.hub.publish("presence", {"presence": []})

    def happen() -> None:
        while not over.wait(0.05):
            far.run(publish)

    thread = threading.Thread(target=happen, daemon=True)
    thread.start()
    ended = peergate("events", "--url", far.url, "--only", "presence", "-n", "2", "--json")
    over.set()
    thread.join(10)
    assert [json.loads(line)["event"] for line in ended.out.splitlines()] == ["presence", "presence"]


@pytest.mark.parametrize("name", sorted(LOCAL - {"config", "cert", "restore", "recover"}))
def test_a_command_about_this_machine_refuses_another(peergate: Shell, name: str):
    for words in (("--url", "wss://elsewhere", name), (name, "--url", "wss://elsewhere")):
        more = {"backup": ("x",), "completion": ("bash",)}.get(name, ())
        ended = peergate(*words, *more)
        assert ended.code == 2, ended
        assert f"peergate {name} is about this machine" in ended.err
        assert "--url" in ended.err


def test_the_environment_names_a_system_for_commands_that_may_be_far_away_only(
    peergate: Shell, far: FarAway, monkeypatch: pytest.MonkeyPatch
):
    paired(peergate, far)
    monkeypatch.setenv("PEERGATE_URL", far.url)
    assert peergate("health").code == 0
    assert peergate("version").code == 0
    for words in (("stop",), ("backup", str(peergate.home / "copy.db"))):
        here = peergate(*words)
        assert here.code == 69
        assert "peergate is not running here" in here.err
    with FakeDoor(peergate.home / "other", {"health": lambda _: {"ok": False}}) as near:
        assert peergate("health", "--runtime-dir", str(near.path.parent), "--json").document == {"ok": False}
        monkeypatch.setenv("PEERGATE_SOCKET", str(near.path))  # inside an agent the kernel says who is calling
        assert peergate("health", "--json").document == {"ok": False}


def test_a_secret_in_the_environment_goes_to_the_address_beside_it_only(
    peergate: Shell, far: FarAway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PEERGATE_TOKEN", TOKEN)
    monkeypatch.setenv("PEERGATE_URL", "wss://another:1")
    assert "token missing" in peergate("health", "--url", far.url).err
    monkeypatch.setenv("PEERGATE_URL", far.url)
    assert "request" in peergate("health").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "box:18789"), "no address of a gateway"),
        (("--url", "https://box"), "no address of a gateway"),
        (("--url", "wss://box", "--runtime-dir", "/x"), "two systems"),
        (("--token", "hush-hush"), "goes with --url"),
        (("--url", "wss://box", "--token", "hush-hush", "--password", "x"), "one secret"),
        (("--url", "wss://box", "--token-file", "/nonexistent"), "cannot be read"),
        (("--url", "wss://box", "--fingerprint", "12:34"), "no fingerprint"),
        (("--url", "ws://box", "--fingerprint", "0" * 64), "no certificate"),
        (("--url", "wss://user:hush-hush@box"), "holds no secret"),
    ],
)
def test_a_command_line_that_makes_no_sense_says_why_and_repeats_no_secret(
    peergate: Shell, words: tuple[str, ...], said: str
):
    ended = peergate("health", *words)
    assert ended.code == 2
    assert said in ended.err
    assert "hush-hush" not in ended.err + ended.out


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_another_certificate_than_before_is_refused_with_what_to_do(peergate: Shell, far: FarAway):
    paired(peergate, far)
    far.door.certificate = make_certificate(peergate.home, "another")
    now = fingerprint_of(far.door.certificate)
    ended = peergate("health", "--url", far.url)
    assert ended.code == 77
    assert "is not the one it was" in ended.err
    assert now in ended.err
    assert f"peergate pair {far.url}" in ended.err
    assert peergate("health", "--url", far.url, "--fingerprint", now).code == 0
    assert peergate("health", "--url", far.url).code == 0


def test_the_first_time_a_certificate_is_seen_is_said(peergate: Shell, far: FarAway):
    ended = peergate("health", "--url", far.url, "--token", TOKEN)
    assert f"its certificate is remembered: {fingerprint_of(far.door.certificate or Path())}" in ended.err


def test_a_wrong_and_a_missing_token_are_told_apart(peergate: Shell, far: FarAway):
    wrong = peergate("health", "--url", far.url, "--token", "hush-hush")
    assert wrong.code == 77
    assert "gateway token mismatch" in wrong.err
    assert "hush-hush" not in wrong.err
    missing = peergate("health", "--url", far.url)
    assert "gateway token missing" in missing.err
    assert f"peergate pair {far.url}" in missing.err


def test_a_removed_device_is_told_to_pair_again(peergate: Shell, far: FarAway):
    paired(peergate, far)
    device = json.loads((peergate.home / "device" / "device.json").read_text())["deviceId"]
    far.run(far.door.front.box.services.pairing.remove, device, operator())
    ended = peergate("health", "--url", far.url)
    assert ended.code == 77
    assert f"peergate pair {far.url}" in ended.err


def test_nobody_there_and_something_else_there_are_called_by_their_names(peergate: Shell, far: FarAway):
    plain = far.url.replace("wss:", "ws:")
    other = peergate("health", "--url", plain)
    assert (other.code, f"--url {far.url}" in other.err) == (69, True), other.err
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    refused = peergate("health", "--url", f"wss://127.0.0.1:{port}", "--json")
    assert refused.code == 69
    assert refused.document["error"]["code"] == "UNREACHABLE"
    assert "the connection was refused" in refused.err
    unknown = peergate("status", "--url", "wss://no-such-host.invalid:18789")
    assert unknown.code == 69
    assert "no-such-host.invalid" in unknown.err


def test_what_is_read_by_others_on_the_way_is_said(peergate: Shell):
    ended = peergate("health", "--url", "ws://192.0.2.1.invalid:18789", "--token", "x")
    assert "warning: ws://192.0.2.1.invalid:18789 is not encrypted" in ended.err


def test_nothing_of_this_machine_stands_in_for_a_system_elsewhere(peergate: Shell):
    log = peergate.home / "state" / "logs"
    log.mkdir(parents=True)
    (log / "peergate.log").write_text('{"msg": "ours"}\n')
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for words in (("logs",), ("status",), ("ps",)):
        ended = peergate(*words, "--url", f"ws://127.0.0.1:{port}")
        assert ended.code == 69
        assert "ours" not in ended.out


def test_addresses_of_this_machine_are_not_told_as_those_of_a_system_elsewhere(peergate: Shell, far: FarAway):
    peergate.runtime.mkdir()
    (peergate.runtime / "status.json").write_text(json.dumps({"addresses": ["192.0.2.1:1"]}))
    paired(peergate, far)
    ended = peergate("status", "--url", far.url, "--json")
    assert ended.code == 0, ended.err
    assert "addresses" not in ended.document


def test_a_token_file_holds_one_token(peergate: Shell, far: FarAway, token: str):
    assert "gateway token mismatch" in peergate("health", "--url", far.url, "--token-file", token).err
    Path(token).write_text("two words\n")
    assert peergate("health", "--url", far.url, "--token-file", token).code == 2
