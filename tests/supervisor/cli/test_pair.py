"""`peergate pair`, and what a command says that is not let in."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from tests.gateway.greet.front import TOKEN
from tests.supervisor.cli.support import Shell
from tests.support.doors import operator
from tests.support.outer_door import fingerprint_of, make_certificate
from tests.support.outer_thread import FarAway, pair_with

pytestmark = pytest.mark.usefixtures("home")


def test_pairing_says_what_to_type_there_waits_and_then_needs_no_secret_any_more(peergate: Shell, far: FarAway):
    ended = pair_with(peergate, far, "--token", TOKEN)
    assert ended.code == 0, ended.err
    assert "type on the gateway's machine:\n  peergate devices approve " in ended.err
    assert ended.out.startswith("paired: device ")
    assert f"peergate --url {far.url} status" in ended.out
    assert TOKEN not in ended.out + ended.err
    health = peergate("health", "--url", far.url, "--json")
    assert (health.code, health.document["ok"], health.err) == (0, True, "")


def test_a_command_that_is_not_let_in_prints_the_request_and_the_command_to_type(peergate: Shell, far: FarAway):
    ended = peergate("health", "--url", far.url, "--token", TOKEN)
    (request,) = far.waiting
    assert ended.code == 77
    assert f"request {request['requestId']} waits there" in ended.err
    assert f"on the gateway's machine: peergate devices approve {request['requestId']}" in ended.err
    assert "@" in request["displayName"]
    again = peergate("--json", "health", "--url", far.url, "--token", TOKEN)
    assert again.document["error"]["code"] == "NOT_PAIRED"


def test_pairing_without_waiting_leaves_the_request_and_says_so(peergate: Shell, far: FarAway):
    fingerprint = fingerprint_of(far.door.certificate or Path())
    ended = peergate("pair", far.url, "--no-wait", "--token", TOKEN, "--fingerprint", fingerprint)
    assert ended.code == 77
    assert f"peergate devices approve {far.waiting[0]['requestId']}" in ended.err


def test_who_is_turned_away_is_told_so_and_who_waits_too_long_too(peergate: Shell, far: FarAway):
    def person() -> None:
        while not (waiting := far.waiting):
            time.sleep(0.02)
        far.run(far.door.front.box.services.pairing.reject, waiting[0]["requestId"], operator())

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    words = ("pair", far.url, "--token", TOKEN, "--fingerprint", fingerprint_of(far.door.certificate or Path()))
    rejected = peergate(*words, "--timeout", "20")
    thread.join(10)
    assert rejected.code == 77
    assert "was turned away" in rejected.err
    late = peergate(*words, "--timeout", "1")
    assert late.code == 77
    assert "nobody has approved request" in late.err


def test_a_setup_code_pairs_without_a_person(peergate: Shell, far: FarAway):
    code = far.run(far.door.front.box.services.pairing.new_setup_code, "limited", operator())
    told = {
        "url": "wss://127.0.0.1:1", "urls": ["wss://127.0.0.1:1", far.url], "bootstrapToken": code.token,
        "tlsFingerprint": fingerprint_of(far.door.certificate or Path()).removeprefix("sha256:"),
    }  # fmt: skip
    text = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    ended = peergate("pair", text, "--json")
    assert (ended.code, ended.document["paired"], ended.document["url"]) == (0, True, far.url)
    assert "operator.read" in ended.document["scopes"]
    assert peergate("health", "--url", far.url).code == 0
    old = base64.urlsafe_b64encode(json.dumps({**told, "expiresAtMs": 1}).encode()).decode()
    assert "too old" in peergate("pair", old).err
    assert peergate("pair", "nonsense").code == 2


def test_a_certificate_nobody_vouches_for_is_shown_and_not_accepted_unseen(peergate: Shell, far: FarAway):
    ended = peergate("pair", far.url, "--token", TOKEN)
    assert ended.code == 2
    assert f"the certificate there is {fingerprint_of(far.door.certificate or Path())}" in ended.err
    assert "peergate cert show" in ended.err
    assert far.waiting == []


def test_more_is_asked_for_by_name_and_what_was_given_is_kept(peergate: Shell, far: FarAway):
    assert pair_with(peergate, far, "--token", TOKEN, "--scope", "operator.read").code == 0
    refused = peergate("devices", "--url", far.url)
    assert refused.code != 0
    assert f"peergate pair {far.url} --scope operator.pairing" in refused.err
    assert pair_with(peergate, far, "--token", TOKEN, "--scope", "operator.pairing").code == 0
    listed = peergate("devices", "--url", far.url, "--json")
    assert listed.code == 0, listed.err
    assert set(listed.document["paired"][0]["scopes"]) >= {"operator.read", "operator.pairing"}


def test_a_device_asks_for_more_with_nothing_but_what_it_has(peergate: Shell, far: FarAway):
    assert pair_with(peergate, far, "--token", TOKEN, "--scope", "operator.read").code == 0
    ended = pair_with(peergate, far, "--scope", "operator.write", "--json")
    assert ended.code == 0, ended.err
    assert "this device asks for more" in ended.err
    assert set(ended.document["scopes"]) == {"operator.read", "operator.write"}
    late = peergate("pair", far.url, "--scope", "operator.admin", "--timeout", "1")
    assert (late.code, "nobody has approved request" in late.err) == (77, True)
    assert peergate("health", "--url", far.url).code == 0


@pytest.mark.parametrize("tried", [True, False], ids=["noticed-before", "noticed-by-pair"])
def test_a_device_that_was_lowered_comes_back_for_what_is_left(peergate: Shell, far: FarAway, tried: bool):
    assert pair_with(peergate, far, "--token", TOKEN).code == 0
    (device,) = peergate("devices", "--url", far.url, "--json").document["paired"]
    rotate = far.door.front.box.services.pairing.rotate
    far.run(rotate, device["deviceId"], "operator", operator(), ["operator.read"])
    if tried:
        assert "device token mismatch" in peergate("health", "--url", far.url).err
    ended = peergate("pair", far.url, "--token", TOKEN, "--scope", "operator.read", "--no-wait", "--json")
    assert (ended.code, far.waiting) == (0, []), ended.err
    assert ended.document["scopes"] == ["operator.read"]
    assert peergate("health", "--url", far.url).code == 0
    more = peergate("pair", far.url, "--token", TOKEN, "--scope", "operator.write", "--no-wait")
    assert more.code == 77
    assert sorted(far.waiting[0]["scopes"]) == ["operator.read", "operator.write"]


def test_a_person_is_asked_to_compare_and_for_the_secret_that_is_missing(
    peergate: Shell, far: FarAway, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([TOKEN])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    ended = peergate("pair", far.url, "--no-wait")
    assert ended.code == 77
    assert "peergate cert show" in ended.err
    assert len(far.waiting) == 1
    assert TOKEN not in ended.err
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    far.door.certificate = make_certificate(peergate.home, "another")
    refused = peergate("pair", far.url, "--no-wait")
    assert refused.code == 1
    assert "WARNING: it is another than before" in refused.err
    assert "nothing was sent" in refused.err
