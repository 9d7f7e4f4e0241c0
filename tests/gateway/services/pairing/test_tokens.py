"""Stories of paired devices: they connect, are renamed and removed, their tokens rotate and end."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.protocol.errors import Refusal
from gateway.store import devices
from tests.support import engine
from tests.support.calls import OPERATOR
from tests.support.engine import open_box
from tests.support.paired import ADMIN, PAIRING, READ, WRITE, asks, connected, device_id, facts, pair, somebody

PHONE = device_id("phone")


def admitted(pairing: Any, *scopes: str, shown: str | None = None, generation: str = "", role: str = "operator"):
    return pairing.admit(PHONE, role, scopes, facts(), "token", shown, generation)


@pytest.fixture
def ended(box) -> list[tuple[str, str | None, str]]:
    """Whose connections were ended, and why."""
    told: list[tuple[str, str | None, str]] = []
    box.services.pairing.on_invalidated(lambda *what: told.append(what))
    return told


async def test_a_device_that_connects_gets_its_token_without_waiting_for_the_disk(box, mock_clock):
    pairing = box.services.pairing
    device = await pair(pairing, "phone", READ, WRITE)
    commits = box.services.database.commits
    assert (await admitted(pairing, READ)).token == device.tokens[0].token
    assert box.services.database.commits == commits
    await box.settle()
    seen = pairing.device(PHONE)
    assert (seen.last_seen_at_ms, seen.last_seen_reason) == (seen.tokens[0].last_used_at_ms, "connect")
    assert seen.last_seen_at_ms is not None


async def test_when_a_device_was_here_is_known_after_the_clock_was_put_back_too(box, mock_clock, monkeypatch):
    pairing = box.services.pairing
    await pair(pairing, "phone", READ)
    await admitted(pairing, READ)
    monkeypatch.setattr(engine, "EPOCH_MS", engine.EPOCH_MS - 3_600_000)
    await admitted(pairing, READ)
    await box.settle()
    assert pairing.device(PHONE).last_seen_at_ms == round(engine.EPOCH_MS)
    await pairing.remove(PHONE, OPERATOR)
    await pair(pairing, "phone", READ)
    await admitted(pairing, READ)
    await box.settle()
    assert pairing.device(PHONE).last_seen_at_ms == round(engine.EPOCH_MS)


async def test_connecting_never_changes_what_the_approval_pinned(box):
    pairing = box.services.pairing
    await pair(pairing, "phone", READ)
    await pairing.admit(PHONE, "operator", [READ], facts("Renamed", platform="windows"), "token", None, "")
    await box.settle()
    assert (pairing.device(PHONE).platform, pairing.device(PHONE).display_name) == ("linux", "Renamed")


@pytest.mark.parametrize(
    ("scopes", "role", "shown"), [([ADMIN], "operator", None), ([], "node", None), ([READ], "operator", "old token")]
)
async def test_what_is_no_longer_so_is_refused_at_the_last_moment(box, scopes: list[str], role: str, shown: str | None):
    pairing = box.services.pairing
    await pair(pairing, "phone", READ)
    with pytest.raises(Refusal) as refused:
        await admitted(pairing, *scopes, role=role, shown=shown)
    assert refused.value.shape.code == "NOT_PAIRED"


async def test_a_token_minted_for_a_shared_secret_is_replaced_when_that_changes(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        device = await pair(box.services.pairing, "phone", READ)
        first = device.tokens[0]
        assert await admitted(box.services.pairing, READ, generation="g1") == first  # an approval's goes on
        await box.settle()
        bound = replace(device, tokens=(replace(first, generation="g0"),))
        await box.services.database.write(lambda db: devices.put_device(db, bound))
    async with open_box(tmp_path, generation=2) as box:
        assert (await admitted(box.services.pairing, READ, generation="g0")).token == first.token
        minted = await admitted(box.services.pairing, READ, generation="g1")
        assert (minted.token != first.token, minted.generation, minted.scopes) == (True, "g1", (READ,))
        kept = box.services.database.read(lambda db: devices.device(db, PHONE))
        assert kept is not None
        assert [one.token for one in kept.tokens] == [minted.token]


async def test_a_token_is_widened_up_to_what_was_approved(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        device = await pair(box.services.pairing, "phone", READ, WRITE)
        narrow = replace(device.tokens[0], scopes=(READ,))
        await box.services.database.write(lambda db: devices.put_device(db, replace(device, tokens=(narrow,))))
    async with open_box(tmp_path, generation=2) as box:
        wide = await admitted(box.services.pairing, WRITE)
        assert (wide.token, wide.scopes) == (narrow.token, (READ, WRITE))


@pytest.mark.parametrize(("scopes", "left"), [([READ], (READ,)), (None, (READ, WRITE))], ids=["lowered", "as-it-was"])
async def test_scopes_of_a_rotation_are_all_that_is_left_to_a_device(box, scopes, left: tuple[str, ...]):
    pairing = box.services.pairing
    await pair(pairing, "phone", READ, WRITE)
    await pairing.rotate(PHONE, "operator", OPERATOR, scopes=scopes)
    kept = box.services.database.read(lambda db: devices.device(db, PHONE))
    assert kept is not None
    assert pairing.device(PHONE).scopes == kept.scopes == left
    if scopes is not None:
        with pytest.raises(Refusal, match="more scopes than currently approved"):
            await admitted(pairing, WRITE)
        more = await asks(pairing, "phone", WRITE)
        await pairing.approve(more.request_id, OPERATOR)
    assert (await admitted(pairing, WRITE)).scopes == (READ, WRITE)


async def test_a_setup_code_gives_nothing_back_that_a_rotation_took(box):
    pairing = box.services.pairing
    code = await pairing.new_setup_code("limited", OPERATOR)
    await pairing.redeem(code.token, PHONE, "key of phone", "operator", [READ], facts())
    await pairing.rotate(PHONE, "operator", OPERATOR)
    assert pairing.setup(code.token, PHONE) is not None
    await pairing.rotate(PHONE, "operator", OPERATOR, scopes=[READ])
    assert pairing.setup(code.token, PHONE) is None


async def test_removal_ends_everything_a_device_has(box, ended):
    pairing = box.services.pairing
    await pair(pairing, "phone", READ)
    more = await asks(pairing, "phone", ADMIN)
    assert await pairing.remove(PHONE, OPERATOR) == PHONE
    assert ended == [(PHONE, None, "device-pair-removed")]
    assert pairing.device(PHONE) is None
    with pytest.raises(Refusal, match="unknown requestId"):
        await pairing.approve(more.request_id, OPERATOR)
    with pytest.raises(Refusal, match="unknown deviceId"):
        await pairing.remove(PHONE, OPERATOR)
    with pytest.raises(Refusal, match="not approved yet"):
        await admitted(pairing, READ)
    assert box.listener.of("device.pair.changed")[-1]["change"] == "removed"


async def test_a_rotated_token_is_told_to_the_device_alone(box, ended):
    pairing = box.services.pairing
    old = (await pair(pairing, "phone", READ, WRITE)).tokens[0]
    token, in_band = await pairing.rotate(PHONE, "operator", OPERATOR)
    assert (in_band, token.token != old.token, token.scopes) == (False, True, (READ, WRITE))
    assert ended == [(PHONE, "operator", "device-token-rotated")]
    itself = connected("phone", READ, WRITE, PAIRING)
    token, in_band = await pairing.rotate(PHONE, "operator", itself, scopes=[READ])
    assert (in_band, token.scopes, len(ended)) == (True, (READ,), 2)
    _, in_band = await pairing.rotate(PHONE, "operator", connected("phone", READ, PAIRING, method="token"))
    assert not in_band


@pytest.mark.parametrize(
    ("by", "role", "scopes", "why"),
    [
        (OPERATOR, "operator", [ADMIN], "scope-outside-approved"),
        (OPERATOR, "operator", ["worker"], "scope-outside-approved"),
        (OPERATOR, "node", None, "token-missing"),
        (somebody(PAIRING), "operator", None, "caller-missing-scope"),
        (somebody(PAIRING, READ), "node", None, "role-management-requires-admin"),
        (connected("other", PAIRING, READ), "operator", None, "device-ownership-mismatch"),
    ],
)
async def test_a_rotation_that_may_not_be_is_denied_in_one_sentence(box, by, role, scopes, why: str):
    await pair(box.services.pairing, "phone", READ)
    with pytest.raises(Refusal, match=r"^INVALID_REQUEST: device token rotation denied$") as refused:
        await box.services.pairing.rotate(PHONE, role, by, scopes)
    assert (refused.value.shape.details or {})["reason"] == why


async def test_a_revoked_role_stays_ended_until_it_is_approved_again(box, ended, mock_clock):
    pairing = box.services.pairing
    old = (await pair(pairing, "phone", READ)).tokens[0]
    gone = await pairing.revoke(PHONE, "operator", somebody(PAIRING, READ))
    mock_clock.jump(5)
    assert (await pairing.revoke(PHONE, "operator", OPERATOR)).revoked_at_ms == gone.revoked_at_ms
    assert ended == [(PHONE, "operator", "device-token-revoked")]
    with pytest.raises(Refusal, match="not approved yet"):
        await admitted(pairing, READ)
    with pytest.raises(Refusal, match="rotation denied"):
        await pairing.rotate(PHONE, "operator", OPERATOR)
    again = (await pair(pairing, "phone", READ)).token("operator")
    assert again is not None
    assert again.token != old.token


@pytest.mark.parametrize(
    ("label", "refused"),
    [
        ("  Kitchen  ", ""),
        ("\x1b\u202eKit\nchen\x07", ""),
        ("", "required"),
        (" \x1b", "required"),
        ("x" * 65, "65"),
    ],
)
async def test_a_name_of_the_operators(box, label: str, refused: str):
    await pair(box.services.pairing, "phone", READ)
    if refused:
        with pytest.raises(Refusal, match=refused):
            await box.services.pairing.rename(PHONE, label, OPERATOR)
    else:
        assert await box.services.pairing.rename(PHONE, label, OPERATOR) == "Kitchen"
        assert box.services.pairing.list(OPERATOR)["paired"][0]["operatorLabel"] == "Kitchen"


async def test_a_damaged_record_hurts_nobody_and_can_be_taken_away(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await pair(box.services.pairing, "phone", READ)
        await pair(box.services.pairing, "laptop", READ)

        def damage(db: Any) -> None:
            db.execute("UPDATE devices SET record = CAST(x'ff7b00' AS TEXT) WHERE device_id = ?", (PHONE,))

        await box.services.database.write(damage)
    async with open_box(tmp_path, generation=2) as box:
        pairing = box.services.pairing
        assert pairing.device(PHONE) is None
        assert pairing.device(device_id("laptop")) is not None
        (damaged,) = pairing.list(OPERATOR)["damaged"]
        assert damaged["deviceId"] == PHONE
        await box.send("hello")  # the Unix side goes on
        assert (await box.take())[1].message == "hello"
        await box.settle()
        assert [each["event"] for each in pairing.audit.lines(event="device.damaged")["entries"]] == ["device.damaged"]
        again = await pair(pairing, "phone", READ)
        assert (pairing.device(PHONE), pairing.damaged) == (again, {})
        await box.services.database.write(damage)
    async with open_box(tmp_path, generation=3) as box:
        await box.services.pairing.remove(PHONE, OPERATOR)
        assert box.services.pairing.damaged == {}
