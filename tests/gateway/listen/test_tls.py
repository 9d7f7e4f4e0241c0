"""TLS of the outer door: the pair in use follows the files, and a bad one never takes a good one's place."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.config.gateway_settings import Tls
from gateway.listen.certificate import BadCertificate, Place, fingerprint_of, leaf_of, make_pair, write_pair
from gateway.listen.tls import RENEWAL_EVERY, TlsKeeper, load, prepare, server_context

NAMES = ["localhost"]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tls/gateway.crt", tmp_path / "tls/gateway.key")


@pytest.fixture
async def keeper(tmp_path: Path) -> TlsKeeper:
    one = TlsKeeper(Tls(), tmp_path, NAMES)
    await one.open()
    return one


async def look(keeper: TlsKeeper, times: int = 3) -> None:
    for _ in range(times):
        await keeper.look()


def test_nothing_older_than_tls_1_3():
    assert server_context().minimum_version == ssl.TLSVersion.TLSv1_3


async def test_a_new_pair_is_taken_when_both_files_have_changed(keeper: TlsKeeper, place: Place):
    before = keeper.context
    write_pair(place, *make_pair(NAMES, now()))
    await look(keeper)
    assert keeper.context is not before
    assert keeper.facts is not None
    assert keeper.facts.fingerprint == fingerprint_of(leaf_of(place.cert))


async def test_half_of_a_new_pair_is_given_the_time_for_the_other(keeper: TlsKeeper, place: Place, caplog):
    before, new = keeper.context, make_pair(NAMES, now())
    place.cert.write_bytes(new[0])
    await keeper.look()
    place.key.write_bytes(new[1])
    await look(keeper)
    assert keeper.context is not before
    assert "no new certificate" not in caplog.text


async def test_files_that_stay_are_left_alone(keeper: TlsKeeper):
    before = keeper.context
    await look(keeper, 20)
    assert keeper.context is before


@pytest.mark.parametrize("damage", ["another key", "no certificate", "key gone", "both empty"])
async def test_a_bad_pair_keeps_the_old_one_and_is_said_once(keeper: TlsKeeper, place: Place, damage: str, caplog):
    before = keeper.context
    match damage:
        case "another key":
            place.key.write_bytes(make_pair(NAMES, now())[1])
        case "no certificate":
            place.cert.write_bytes(b"hello")
        case "key gone":
            place.key.unlink()
        case "both empty":
            place.cert.write_bytes(b"")
            place.key.write_bytes(b"")
    await look(keeper, 10)
    assert keeper.context is before
    assert caplog.text.count("the old one stays") == 1
    write_pair(place, *make_pair(NAMES, now()))
    await look(keeper)
    assert keeper.context is not before


async def test_without_a_good_pair_there_is_none_until_there_is(tmp_path: Path, place: Place):
    prepare(Tls(), tmp_path, NAMES, now())
    place.key.unlink()
    keeper = TlsKeeper(Tls(), tmp_path, NAMES)
    with pytest.raises(BadCertificate):
        await keeper.open()
    await look(keeper)
    assert keeper.context is None
    place.cert.unlink()
    await look(keeper)
    assert keeper.context is not None


async def test_a_pair_of_ours_is_renewed_while_we_run(tmp_path: Path):
    clock = [now()]
    keeper = TlsKeeper(Tls(), tmp_path, NAMES, clock=lambda: clock[0])
    await keeper.open()
    assert keeper.facts is not None
    first = keeper.facts.fingerprint
    clock[0] += timedelta(days=3630)
    keeper._looks = RENEWAL_EVERY - 1
    await keeper.look()
    assert keeper.facts.fingerprint != first


async def test_missing_names_are_told_and_change_nothing(tmp_path: Path, caplog):
    prepare(Tls(), tmp_path, NAMES, now())
    keeper = TlsKeeper(Tls(), tmp_path, [*NAMES, "new.lan"])
    await keeper.open()
    assert keeper.lacking == ["new.lan"]
    assert "lacks names" in caplog.text


def test_a_fingerprint_that_was_promised_must_be_the_one(tmp_path: Path, place: Place):
    facts = prepare(Tls(), tmp_path, NAMES, now()).facts
    promised = msgspec.structs.replace(Tls(), fingerprint=facts.fingerprint.upper())
    assert load(place, promised).facts == facts
    with pytest.raises(BadCertificate, match=r"gateway\.tls\.fingerprint"):
        load(place, msgspec.structs.replace(Tls(), fingerprint="00" * 32))


def test_a_key_with_a_password_is_refused_without_asking(tmp_path: Path, place: Place):
    from cryptography.hazmat.primitives import serialization

    prepare(Tls(), tmp_path, NAMES, now())
    key = serialization.load_pem_private_key(place.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    place.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(BadCertificate, match="encrypted"):
        load(place, Tls())


def test_issuers_that_cannot_be_read_are_named(tmp_path: Path, place: Place):
    prepare(Tls(), tmp_path, NAMES, now())
    with pytest.raises(BadCertificate, match=r"issuers\.pem"):
        load(place, msgspec.structs.replace(Tls(), ca_path=str(tmp_path / "issuers.pem")))
    (tmp_path / "issuers.pem").write_bytes(place.cert.read_bytes())
    load(place, msgspec.structs.replace(Tls(), ca_path=str(tmp_path / "issuers.pem")))
