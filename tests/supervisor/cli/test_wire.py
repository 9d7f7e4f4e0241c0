"""The blocking client against a real socket: one round trip, and every way it can go wrong said in words."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.cli.asking import ask, ask_with_key, open_client
from supervisor.cli.errors import (
    CallRefused,
    CliError,
    ConnectionLost,
    HelloRefused,
    NotAllowed,
    NotRunning,
    UidRefused,
    Unanswered,
)
from supervisor.cli.wire import Client, dial
from tests.support.fake_door import FakeDoor, Hangup, No, Silence, pack


def test_greeting_and_call_leave_in_one_write(tmp_path: Path):
    with FakeDoor(tmp_path / "run", {"health": lambda _: {"ok": True}}) as door:
        assert ask([str(door.path)], "health") == {"ok": True}
    assert door.first_reads == [2]
    assert [method for method, _ in door.heard] == ["connect", "health"]


def test_the_client_claims_no_identity(tmp_path: Path):
    with FakeDoor(tmp_path / "run", {"health": lambda _: {}}) as door:
        ask([str(door.path)], "health")
    assert not {"ticket", "auth", "device", "scopes", "role"} & set(door.calls("connect")[0])


def test_a_missing_directory_says_how_to_start(tmp_path: Path):
    with pytest.raises(NotRunning, match="not running here") as caught:
        dial(str(tmp_path / "none" / "operator.sock"))
    assert caught.value.fix == "start it with: peergate up"
    assert caught.value.exit_code == 69


def test_a_socket_nobody_listens_on_is_told_apart_from_a_missing_one(tmp_path: Path):
    tmp_path.chmod(0o711)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "operator.sock"))
    with pytest.raises(NotRunning, match="nobody listens"):
        dial(str(tmp_path / "operator.sock"))


def test_a_directory_others_may_write_is_not_trusted(tmp_path: Path):
    with FakeDoor(tmp_path / "run", {}) as door:
        door.path.parent.chmod(0o777)
        with pytest.raises(NotAllowed, match=r"may be written by others \(mode 0777\).*nothing was sent") as caught:
            dial(str(door.path))
    assert caught.value.exit_code == 77
    assert door.heard == []


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path):
    with FakeDoor(tmp_path / "real", {}):
        (tmp_path / "run").symlink_to(tmp_path / "real")
        with pytest.raises(NotAllowed, match="is not a directory peergate made"):
            dial(str(tmp_path / "run" / "operator.sock"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_a_stranger_is_not_trusted(tmp_path: Path):
    tmp_path.chmod(0o1777)
    with FakeDoor(tmp_path / "run", {}) as door:
        os.chown(door.path.parent, 4242, 4242)
        with pytest.raises(NotAllowed, match="belongs to uid 4242"):
            dial(str(door.path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_the_services_user_is_trusted_below_one_that_root_gave_it():
    with tempfile.TemporaryDirectory(dir="/run") as given:  # not below /tmp, where anybody may come first
        foreign = Path(given) / "foreign"
        with FakeDoor(foreign, {"health": lambda _: {"ok": True}}) as door:
            os.chown(given, 4242, 4242)
            os.chown(foreign, 4242, 4242)
            assert ask([str(door.path)], "health") == {"ok": True}
            os.chown(given, 4343, 4343)
            with pytest.raises(NotAllowed, match="belongs to uid 4242"):
                dial(str(door.path))


def test_a_path_longer_than_a_socket_name_can_be_works(tmp_path: Path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(deep)
    try:
        with FakeDoor(Path("run"), {"health": lambda _: {"ok": True}}) as door:
            assert ask([str(deep / door.path)], "health") == {"ok": True}
    finally:
        os.chdir(here)


def test_a_refusal_keeps_its_code_and_its_sentence(tmp_path: Path):
    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "missing scope: operator.admin", {"code": "MISSING_SCOPE"})

    with FakeDoor(tmp_path / "run", {"agents.stop": refuse}) as door:
        with pytest.raises(CallRefused, match=r"^missing scope: operator\.admin") as caught:
            ask([str(door.path)], "agents.stop")
    assert caught.value.method == "agents.stop"
    assert (caught.value.code, caught.value.exit_code, caught.value.details["code"]) == (
        "FORBIDDEN",
        77,
        "MISSING_SCOPE",
    )


def test_a_door_that_refuses_says_why(tmp_path: Path):
    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "not allowed on this socket")

    with FakeDoor(tmp_path / "run", {"connect": refuse}) as door:
        with pytest.raises(HelloRefused, match="not allowed on this socket"):
            ask([str(door.path)], "health")


def test_the_next_door_is_tried_when_the_first_refuses(tmp_path: Path):
    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "operators do not use this door")

    with FakeDoor(tmp_path / "run", {"connect": refuse}, "agents.sock") as agents:
        with FakeDoor(tmp_path / "run", {"health": lambda _: {"ok": True}}) as operator:
            assert ask([str(agents.path), str(operator.path)], "health") == {"ok": True}


def test_a_refusal_is_told_rather_than_an_absence(tmp_path: Path):
    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "stranger")

    with FakeDoor(tmp_path / "run", {"connect": refuse}) as door:
        with pytest.raises(HelloRefused, match="stranger"):
            ask([str(door.path), str(tmp_path / "run" / "agents.sock")], "health")


def test_the_agents_door_does_not_speak_for_the_operators_door_that_is_missing(tmp_path: Path):
    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "this socket is for agents")

    doors = [str(tmp_path / "run" / name) for name in ("operator.sock", "agents.sock")]
    with FakeDoor(tmp_path / "run", {"connect": refuse}, "agents.sock") as agents:
        (agents.path.parent / "status.json").write_text('{"gateway": {"state": "READY"}}')
        with pytest.raises(
            Unanswered, match=r"operator\.sock is not open though the system runs; .* within seconds"
        ) as caught:
            ask(doors, "health", patience=0)
        assert caught.value.fix == "try again; where it stays away: peergate doctor"
        with pytest.raises(HelloRefused, match="this socket is for agents"):  # the door of an agent's own
            ask([doors[1], doors[0]], "health", patience=0)
    assert [method for method, _ in agents.heard].count("connect") == 2


def test_a_door_that_is_opened_again_meanwhile_answers(tmp_path: Path):
    with ExitStack() as later:

        def refuse(_: object) -> None:
            later.enter_context(FakeDoor(tmp_path / "run", {"health": lambda _: {"ok": True}}))
            raise No("FORBIDDEN", "this socket is for agents")

        with FakeDoor(tmp_path / "run", {"connect": refuse}, "agents.sock"):
            doors = [str(tmp_path / "run" / name) for name in ("operator.sock", "agents.sock")]
            assert ask(doors, "health") == {"ok": True}


@pytest.mark.parametrize(("owner", "fix"), [(os.geteuid(), "its mode keeps you out"), (4242, "have the owner name")])
def test_a_door_that_lets_nobody_in_is_told_also_when_the_agents_door_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, fix: str
):
    class Socket(socket.socket):
        def connect(self, address: Any, /) -> None:
            if str(address).endswith("operator.sock"):
                raise PermissionError(errno.EACCES, "Permission denied")
            super().connect(address)

    def refuse(_: object) -> None:
        raise No("FORBIDDEN", "this socket is for agents")

    doors = [str(tmp_path / "run" / name) for name in ("operator.sock", "agents.sock")]
    with FakeDoor(tmp_path / "run", {}), FakeDoor(tmp_path / "run", {"connect": refuse}, "agents.sock"):
        monkeypatch.setattr("supervisor.cli.wire.socket.socket", Socket)
        monkeypatch.setattr("supervisor.cli.wire.os.lstat", lambda _: SimpleNamespace(st_uid=owner))
        with pytest.raises(UidRefused, match=r"may not use .*operator\.sock") as caught:
            ask(doors, "health", patience=0)
        monkeypatch.undo()
    assert fix in str(caught.value.fix)


def test_a_gateway_that_never_says_hello_is_given_up(tmp_path: Path):
    def hang(_: object) -> None:
        raise Silence

    with FakeDoor(tmp_path / "run", {"connect": hang}) as door:
        with Client(dial(str(door.path)), hello_seconds=0.05) as client:
            with pytest.raises(Unanswered, match="does not answer"):
                client.call("health")


def test_a_write_is_sent_again_with_the_same_key_when_the_gateway_dies(tmp_path: Path):
    deaths = iter([Hangup, Hangup])

    def send(params: dict[str, object]) -> object:
        if death := next(deaths, None):
            raise death
        return params["idempotencyKey"]

    with FakeDoor(tmp_path / "run", {"tools.invoke": send}) as door:
        answered = ask_with_key([str(door.path)], "tools.invoke", {"name": "sessions_send"})
    keys = [call["idempotencyKey"] for call in door.calls("tools.invoke")]
    assert keys == [answered] * 3


def test_a_call_without_a_key_is_sent_once(tmp_path: Path):
    def die(_: object) -> None:
        raise Hangup

    with FakeDoor(tmp_path / "run", {"anything": die}) as door:
        with pytest.raises(ConnectionLost, match="closed the connection"):
            ask([str(door.path)], "anything", patience=0)
    assert len(door.calls("anything")) == 1


def test_what_the_supervisor_wrote_is_told_when_no_gateway_answers(tmp_path: Path):
    def die(_: object) -> None:
        raise Hangup

    with FakeDoor(tmp_path / "run", {"connect": die}) as door:
        (door.path.parent / "status.json").write_text('{"gateway": {"state": "BACKOFF", "pid": 77}}')
        with pytest.raises(ConnectionLost, match=r"its gateway is BACKOFF \(pid 77\)"):
            ask([str(door.path)], "health", patience=0)


def test_events_that_come_before_an_answer_are_kept(tmp_path: Path):
    with FakeDoor(tmp_path / "run", {"health": lambda _: {"ok": True}}) as door:
        door.events = [{"event": "tick", "payload": {"ts": 1}, "seq": 1}, {"event": "notice", "payload": {}, "seq": 2}]
        with open_client([str(door.path)], events=True) as client:
            assert client.call("health") == {"ok": True}
            first, second = client.next_event(1), client.next_event(1)
            assert client.next_event(0.01) is None
    assert first is not None
    assert second is not None
    assert [first["event"], second["event"]] == ["tick", "notice"]


@pytest.mark.parametrize(
    "answer",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x01\x01", pack({})[:4] + b"\x90"],
    ids=["a frame of 4 GiB", "no msgpack", "a number", "a list"],
)
def test_what_is_no_gateway_is_said_to_be_none(answer: bytes):
    ours, theirs = socket.socketpair()
    with theirs, Client(ours, hello_seconds=1) as client:
        theirs.sendall(answer)
        with pytest.raises(CliError, match="no gateway"):
            client.greet()
