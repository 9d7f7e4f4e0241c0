"""This device's key: made once, kept to itself, and signing what the gateway checks."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import msgspec
import pytest

from gateway.auth.proof import BadProof, Proven, check_proof
from gateway.client.device_key import DeviceKey, device_key
from gateway.client.keep import BadKeep, keep_directory
from gateway.protocol.calls.system import Connect

NOW = 1_795_204_160_679
CLIENT = {"id": "cli", "mode": "cli", "platform": " LINUX\u00a0", "deviceFamily": "İstanbul Pad"}


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "device")


def said(key: DeviceKey, **more: object) -> Connect:
    told: dict[str, object] = {"scopes": ["operator.read", "operator.write"], "role": "operator", "client": CLIENT}
    signed = {"token": "secret", "nonce": "n-1", "signed_at_ms": NOW, **more}
    device = key.proof(client=CLIENT, role="operator", scopes=["operator.read", "operator.write"], **signed)  # type: ignore[arg-type]
    return msgspec.convert({**told, "device": device, "auth": {"token": "secret"}}, Connect)


def test_a_proof_holds_for_the_gateway_that_asked_and_for_no_other(directory: str):
    key = device_key(directory)
    assert check_proof(said(key), "n-1", NOW) == Proven(key.id, key.public_key, 3)
    assert isinstance(check_proof(said(key), "n-2", NOW), BadProof)
    assert isinstance(check_proof(said(key, token="another"), "n-1", NOW), BadProof)


def test_the_key_is_made_once_and_nobody_else_may_read_it(directory: str):
    first, second = device_key(directory), device_key(directory)
    assert (first.id, first.public_key) == (second.id, second.public_key)
    assert Path(directory).stat().st_mode & 0o777 == 0o700
    assert (Path(directory) / "device.json").stat().st_mode & 0o777 == 0o600
    told = json.loads((Path(directory) / "device.json").read_text())
    assert sorted(told) == ["deviceId", "privateKey", "publicKey", "version"]
    assert told["privateKey"] not in repr(first)


def test_many_that_start_at_once_are_one_device(directory: str):
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(device_key(directory).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(set(made))) == (8, 1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.chmod(0o640), "chmod 600"),
        (lambda file: file.parent.chmod(0o770), "chmod go-w"),
        (lambda file: file.write_text("{"), "is damaged"),
        (lambda file: file.write_text('{"version": 1, "privateKey": "AAAA"}'), "holds no key"),
        (lambda file: file.write_text(file.read_text().replace('"version": 1', '"version": 2')), "holds no key"),
        (lambda file: file.write_text(swapped(file)), "do not belong together"),
        (lambda file: file.rename(file.with_name("x")) and file.symlink_to("x"), "cannot be read"),
        (lambda file: piped(file), "not a file of yours"),
    ],
    ids=["readable", "directory", "cut", "short", "version", "swapped", "link", "fifo"],
)
def test_a_key_that_others_could_have_touched_is_not_used(directory: str, spoil, words: str):
    device_key(directory)
    spoil(Path(directory) / "device.json")
    with pytest.raises(BadKeep, match=words):
        device_key(directory)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def swapped(file: Path) -> str:
    told = json.loads(file.read_text())
    return json.dumps({**told, "deviceId": "0" * 64})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_somebody_else_is_not_used(directory: str):
    Path(directory).mkdir(parents=True)
    os.chown(directory, 12345, 12345)
    with pytest.raises(BadKeep, match="belongs to uid 12345"):
        device_key(directory)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"PEERGATE_DEVICE_DIR": "/d", "XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/d"),
        ({"XDG_CONFIG_HOME": "/x/", "HOME": "/h"}, "/x/peergate"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/peergate"),
        ({"HOME": "/h"}, "/h/.config/peergate"),
    ],
)
def test_where_the_key_is_kept(environ: dict[str, str], place: str):
    assert keep_directory(environ) == place
