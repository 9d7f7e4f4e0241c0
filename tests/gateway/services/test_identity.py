"""The gateway's own key: made once, kept, and never lost to a guess."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.protocol.errors import Refusal
from gateway.services.identity import FILE, Identity
from tests.support.syncs import watch_syncs


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_key_is_made_when_somebody_asks_and_is_the_same_ever_after(tmp_path):
    assert not (tmp_path / FILE).exists()
    told = await Identity(tmp_path).public()
    assert await Identity(tmp_path).public() == told
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    kept = json.loads((tmp_path / FILE).read_text())
    public = Ed25519PrivateKey.from_private_bytes(unbase64(kept["privateKey"])).public_key().public_bytes_raw()
    assert told == {"deviceId": hashlib.sha256(public).hexdigest(), "publicKey": kept["publicKey"]}
    assert unbase64(told["publicKey"]) == public


async def test_the_key_is_told_when_it_and_its_name_are_on_the_disk(tmp_path, monkeypatch):
    syncs = watch_syncs(monkeypatch, tmp_path)
    await Identity(tmp_path).public()
    assert [one.of for one in syncs] == [str(tmp_path / "identity.new"), str(tmp_path)]
    assert syncs[-1].names == {FILE}


async def test_a_draft_of_a_gateway_that_was_killed_is_no_hindrance(tmp_path):
    (tmp_path / "identity.new").write_text("half")
    assert (await Identity(tmp_path).public())["deviceId"]


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "deviceId": 5}'])
async def test_a_file_that_is_no_key_is_not_overwritten(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Refusal, match="move it away to have a new one"):
        await Identity(tmp_path).public()
    assert (tmp_path / FILE).read_text() == text
