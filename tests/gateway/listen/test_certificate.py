"""The outer door's certificate: made for every name, long-lived, replaced whole or not at all, and read with care."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config.gateway_settings import Tls
from gateway.listen import certificate
from gateway.listen.certificate import (
    BadCertificate,
    Facts,
    Place,
    ensure_pair,
    finish_writing,
    interface_addresses,
    leaf_of,
    make_pair,
    names_of,
    place_of,
    read_facts,
    same_fingerprint,
    write_pair,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NAMES = ["localhost", "127.0.0.1", "::1", "box.lan", "*.agents.lan"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tls" / "gateway.crt", tmp_path / "tls" / "gateway.key")


def test_what_is_made_is_for_every_name_and_for_long(place: Place):
    facts = ensure_pair(place, NAMES, NOW)
    assert set(facts.names) == set(NAMES)
    assert facts.ours
    assert facts.not_after - NOW == timedelta(days=3650)
    assert facts.not_before < NOW
    leaf = x509.load_pem_x509_certificate(place.cert.read_bytes())
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert stat.S_IMODE(place.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.key.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in place.key.parent.iterdir()) == ["gateway.crt", "gateway.key"]


def test_a_client_that_trusts_it_finds_the_name_it_called(place: Place):
    ensure_pair(place, NAMES, datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(place.cert, place.key)
    client = ssl.create_default_context(cafile=str(place.cert))
    for name in ("box.lan", "127.0.0.1", "one.agents.lan"):
        c_in, c_out, s_in, s_out = (ssl.MemoryBIO() for _ in range(4))
        one, other = client.wrap_bio(c_in, c_out, server_hostname=name), server.wrap_bio(s_in, s_out, server_side=True)
        for _ in range(4):
            for end in (one, other):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
            s_in.write(c_out.read())
            c_in.write(s_out.read())
        assert one.getpeercert()


def test_it_stays_as_it_is_when_addresses_change(place: Place):
    first = ensure_pair(place, NAMES, NOW)
    assert ensure_pair(place, ["another.lan"], NOW + timedelta(days=3000)) == first
    assert first.lacks(["another.lan", "box.lan", "one.agents.lan", "a.b.agents.lan"]) == [
        "another.lan",
        "a.b.agents.lan",
    ]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_certificate_is_for_everybody_and_the_key_for_nobody_else_whoever_writes(place: Place, mask: int):
    before = os.umask(mask)
    try:
        certificate.ensure_pair(place, ["localhost"], certificate.utc_now())
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place.cert, place.key)] == [0o644, 0o600]


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (3619, False), (3620, True), (4000, True)])
def test_it_is_renewed_a_month_before_its_end(place: Place, days: int, renewed: bool):
    first = ensure_pair(place, NAMES, NOW)
    second = ensure_pair(place, NAMES, NOW + timedelta(days=days))
    assert (second.fingerprint != first.fingerprint) == renewed


def test_somebody_elses_is_never_renewed():
    theirs = Facts("sha256:0", (), NOW, NOW + timedelta(days=1), ours=False)
    assert not theirs.is_due(NOW + timedelta(days=30))


# --- halves, crashes and other accidents ------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_half_a_pair_is_refused_with_both_names(place: Place, missing: str):
    ensure_pair(place, NAMES, NOW)
    getattr(place, missing).unlink()
    with pytest.raises(BadCertificate, match="the other half") as error:
        ensure_pair(place, NAMES, NOW)
    assert str(place.cert) in str(error.value)
    assert str(place.key) in str(error.value)


def test_nothing_is_made_where_that_was_forbidden(place: Place):
    with pytest.raises(BadCertificate, match="autoGenerate"):
        ensure_pair(Place(place.cert, place.key, generate=False), NAMES, NOW)


def test_a_replacement_cut_short_between_its_two_files_is_ended(place: Place, monkeypatch):
    ensure_pair(place, NAMES, NOW)
    new = make_pair(NAMES, NOW)
    replaced: list[Path] = []

    def crash(self: Path, target: Path) -> Path:
        if replaced:
            raise KeyboardInterrupt
        replaced.append(target)
        return self.rename(target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_pair(place, *new)
    monkeypatch.undo()
    assert place.cert.read_bytes() == new[0]
    assert place.key.read_bytes() != new[1]
    ensure_pair(place, NAMES, NOW)
    assert place.key.read_bytes() == new[1]
    assert not list(place.key.parent.glob(".*"))


def test_a_replacement_cut_short_before_that_never_happened(place: Place):
    first = ensure_pair(place, NAMES, NOW)
    place.key.with_name(".gateway.key.new").write_bytes(make_pair(NAMES, NOW)[1])
    finish_writing(place)
    assert read_facts(place) == first
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place.cert, place.key)


def test_a_link_in_the_way_of_writing_is_replaced_not_followed(place: Place, tmp_path: Path):
    place.key.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    place.key.with_name(".gateway.key.new").symlink_to(victim)
    write_pair(place, *make_pair(NAMES, NOW))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff" * 100]
)
def test_what_is_no_certificate_is_named(place: Place, content: bytes):
    ensure_pair(place, NAMES, NOW)
    place.cert.write_bytes(content)
    with pytest.raises(BadCertificate, match=str(place.cert)):
        read_facts(place)


def test_of_a_chain_the_first_is_the_leaf(place: Place):
    first, second = make_pair(["one"], NOW)[0], make_pair(["two"], NOW)[0]
    place.cert.parent.mkdir()
    place.cert.write_bytes(b"text before it\n" + first + second)
    assert leaf_of(place.cert) == ssl.PEM_cert_to_DER_cert(first.decode())
    assert read_facts(place).names == ("one",)


def test_a_directory_nobody_can_write_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    place = Place(tmp_path / "file" / "a.crt", tmp_path / "file" / "a.key")
    with pytest.raises(BadCertificate, match="cannot be used"):
        ensure_pair(place, NAMES, NOW)


# --- names and fingerprints -------------------------------------------------------------------------------------------


def test_names_are_what_it_listens_on_what_it_is_called_and_the_machines():
    names = names_of(["127.0.0.1", "::1", "10.1.2.3"], ["Box.LAN", "192.0.2.1", "box.lan."])
    host = socket.gethostname().lower()
    assert names == list(dict.fromkeys(["localhost", "127.0.0.1", "::1", "10.1.2.3", "box.lan", "192.0.2.1", host]))


@pytest.mark.parametrize("odd", ["a" * 64, "a..b", ".a", "ä" * 60])
def test_a_name_that_no_certificate_can_hold_is_lacking_and_keeps_no_other_out(odd: str, place: Place):
    facts = ensure_pair(place, ["localhost", odd], NOW)
    assert facts.names == ("localhost",)
    assert facts.lacks(["localhost", odd]) == [odd]


def test_a_wildcard_stands_for_this_machines_addresses(monkeypatch):
    monkeypatch.setattr(certificate, "interface_addresses", lambda: ["127.0.0.1", "10.0.0.5", "fd00::5"])
    assert names_of(["0.0.0.0"], [])[1:3] == ["127.0.0.1", "10.0.0.5"]
    assert names_of(["::"], [])[1] == "fd00::5"


def test_this_machine_has_loopback_and_no_address_that_needs_its_interface():
    found = interface_addresses()
    assert "127.0.0.1" in found
    assert not [one for one in found if one.startswith("fe80")]


def test_a_fingerprint_is_the_same_however_it_is_written():
    bare = "ab" * 32
    colons = ":".join(["AB"] * 32)
    for one in (bare, bare.upper(), f"sha256:{bare}", f"SHA256:{bare}", colons, f" sha256:{colons} "):
        assert same_fingerprint(one, f"sha256:{bare}")
    assert not same_fingerprint("ac" * 32, bare)


def test_the_pair_is_where_the_configuration_says(tmp_path: Path):
    assert place_of(Tls(), tmp_path) == Place(tmp_path / "tls/gateway.crt", tmp_path / "tls/gateway.key")
    named = Tls(cert_path="/etc/a.crt", key_path="/etc/a.key", auto_generate=False)
    assert place_of(named, tmp_path) == Place(Path("/etc/a.crt"), Path("/etc/a.key"), generate=False)
