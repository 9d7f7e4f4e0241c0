"""`peergate cert`: what clients of the outer door will see, and a new one when a person says so."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.listen.certificate import Place, fingerprint_of, leaf_of, make_pair, write_pair
from tests.supervisor.cli.support import Shell

LAN = '[gateway]\nbind = "lan"\nhostNames = ["box.lan"]\n'


def configure(peergate: Shell, text: str = LAN) -> Place:
    (peergate.home / "peergate.toml").write_text(text)
    return Place(peergate.home / "state/tls/gateway.crt", peergate.home / "state/tls/gateway.key")


def test_before_the_first_start_there_is_none_and_it_says_how_to_make_one(peergate: Shell):
    place = configure(peergate)
    told = peergate("cert", "show")
    assert (told.code, str(place.cert) in told.err) == (1, True)
    assert "peergate cert renew" in told.err


def test_renewing_makes_a_pair_for_every_name_and_showing_shows_it(peergate: Shell):
    place = configure(peergate)
    made = peergate("cert", "renew", "--json").document
    assert made["fingerprint"] == fingerprint_of(leaf_of(place.cert))
    assert {"box.lan", "localhost", "127.0.0.1", socket.gethostname().lower()} <= set(made["names"])
    assert (made["missing"], made["expired"], made["generated"]) == ([], False, True)
    assert place.key.stat().st_mode & 0o777 == 0o600
    assert peergate("cert", "show", "--json").document == made
    text = peergate("cert", "show").out
    assert made["fingerprint"] in text
    assert str(place.key) in text
    assert peergate("cert", "renew", "--json").document["fingerprint"] != made["fingerprint"]


def test_a_name_it_lacks_is_told(peergate: Shell):
    configure(peergate)
    peergate("cert", "renew")
    configure(peergate, LAN.replace("box.lan", "new.lan"))
    assert "missing      new.lan" in peergate("cert", "show").out


def test_somebody_elses_is_written_over_only_by_force(peergate: Shell, tmp_path: Path, monkeypatch):
    cert, key = tmp_path / "their.crt", tmp_path / "their.key"
    configure(peergate, f'[gateway]\nbind = "lan"\ntls.certPath = "{cert}"\ntls.keyPath = "{key}"\n')
    monkeypatch.setattr("gateway.listen.certificate.COMMON_NAME", "somebody else")
    write_pair(Place(cert, key), *make_pair(["box.lan"], datetime.now(UTC)))
    monkeypatch.undo()
    monkeypatch.setenv("PEERGATE_CONFIG", str(peergate.home / "peergate.toml"))
    monkeypatch.setenv("PEERGATE_STATE_DIR", str(peergate.home / "state"))
    before = leaf_of(cert)
    told = peergate("cert", "renew")
    assert (told.code, "--force" in told.err, leaf_of(cert)) == (1, True, before)
    assert peergate("cert", "renew", "--force").code == 0
    assert leaf_of(cert) != before


def test_a_damaged_one_is_named(peergate: Shell):
    place = configure(peergate)
    peergate("cert", "renew")
    place.cert.write_text("nothing")
    told = peergate("cert", "show")
    assert (told.code, str(place.cert) in told.err) == (78, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_whoever_has_the_directory(peergate: Shell):
    place = configure(peergate)
    place.key.parent.mkdir(parents=True)
    os.chown(place.key.parent, 12345, 12345)
    peergate("cert", "renew")
    assert (place.key.stat().st_uid, place.cert.stat().st_gid) == (12345, 12345)
