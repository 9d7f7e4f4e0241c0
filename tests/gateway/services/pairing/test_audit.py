"""The audit tells who asked, who granted and who was refused; and never what would let somebody in."""

from __future__ import annotations

import logging

import pytest

from gateway.protocol.errors import Refusal
from gateway.services.pairing import audit
from tests.support.calls import OPERATOR
from tests.support.paired import ADMIN, PAIRING, READ, asks, device_id, facts, pair, somebody

PHONE = device_id("phone")


def events(box, **more) -> list[str]:
    return [each["event"] for each in box.services.pairing.audit.lines(**more)["entries"]]


async def test_a_devices_whole_life_is_there(box, caplog):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ)
    with pytest.raises(Refusal):
        await pairing.approve(one.request_id, somebody(PAIRING))
    await box.settle()
    await pairing.approve(one.request_id, OPERATOR)
    token, _ = await pairing.rotate(PHONE, "operator", OPERATOR)
    await pairing.revoke(PHONE, "operator", OPERATOR)
    await pairing.rename(PHONE, "Kitchen", OPERATOR)
    await pairing.remove(PHONE, OPERATOR)
    code = await pairing.new_setup_code("node", OPERATOR)
    await pairing.redeem(code.token, PHONE, "key", "node", [], facts())
    await box.settle()
    assert events(box) == [
        "device.pair.requested", "device.pair.approved.refused", "device.pair.approved", "device.token.rotated",
        "device.token.revoked", "device.pair.renamed", "device.pair.removed", "device.setup.created",
        "device.setup.used",
    ]  # fmt: skip
    refused = pairing.audit.lines(event="device.pair.approved.refused")["entries"][0]
    assert (refused["rule"], refused["who"]) == ("caller-missing-scope", somebody(PAIRING).name)
    requested = pairing.audit.lines()["entries"][0]
    assert (requested["device"], requested["address"], requested["detail"]["scopes"]) == (PHONE, "10.0.0.7", [READ])
    everything = str(pairing.audit.lines()) + caplog.text
    assert token.token not in everything
    assert code.token not in everything
    assert "security audit: device.pair.approved" in caplog.text


async def test_entries_are_read_from_where_one_stopped(box):
    note = box.services.pairing.audit.note
    for number in range(5):
        note("test", rule=str(number), detail={"text": "x" * 2000})
    await box.settle()
    entries = box.services.pairing.audit.lines(limit=2)["entries"]
    assert [each["rule"] for each in entries] == ["3", "4"]
    assert len(entries[0]["detail"]["text"]) == audit.MAX_TEXT
    assert [each["id"] for each in box.services.pairing.audit.lines(since=entries[0]["id"] - 2)["entries"]] == [3, 4, 5]


async def test_a_flood_of_lines_costs_no_memory(box):
    for _ in range(audit.MAX_PENDING + 500):
        box.services.pairing.audit.note("flood")
    assert box.services.pairing.audit.dropped == 500
    await box.settle()
    box.services.pairing.audit.note("after")
    await box.settle()
    assert events(box, event="after") == ["after"]


async def test_fields_of_a_line_do_not_break_the_log(box, caplog):
    with caplog.at_level(logging.WARNING):
        box.services.pairing.audit.note("test", detail={"name": "phone", "args": ["a", "b"], "msg": "m"})
    (record,) = [one for one in caplog.records if one.message == "security audit: test"]
    assert (record.audit_name, record.audit_args) == ("phone", "a,b")


async def test_a_change_and_its_line_are_one_transaction(box):
    """Whoever is approved without a line in the audit was not approved."""
    pairing = box.services.pairing
    one = await asks(pairing, "phone", ADMIN)
    await box.services.database.write(lambda db: db.execute("DROP TABLE audit"))
    with pytest.raises(Exception, match="no such table"):
        await pairing.approve(one.request_id, OPERATOR)
    assert pairing.device(PHONE) is None
    count = box.services.database.read(lambda db: db.execute("SELECT count(*) FROM devices").fetchone())
    assert count == (0,)


async def test_paired_devices_are_listed_newest_first(box, mock_clock):
    await pair(box.services.pairing, "phone", READ)
    mock_clock.jump(1)
    await pair(box.services.pairing, "laptop", READ)
    paired = box.services.pairing.list(OPERATOR, frozenset({PHONE}))["paired"]
    assert [(each["displayName"], each["connected"]) for each in paired] == [("laptop", False), ("phone", True)]
    assert {"token", "generation"}.isdisjoint(paired[0]["tokens"][0])
    assert paired[0]["role"] == "operator"
