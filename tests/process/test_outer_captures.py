"""OpenClaw's own conversations held with a real system: what it answered and what we answer, field by field.

Every difference stands in `tests.compat.differences` with its reason; nothing else may differ, and nothing may stand
there that does not."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat import differences, handshake, payloads
from tests.compat.handshake import ADMIN, CASES, OUR_PAGE, PAIRING, READ, SAID_LATER, WRITE, Case
from tests.compat.knocking import Place
from tests.compat.outcome import Differences, Fields, changes, flat
from tests.compat.pairing import DEVICE, OWN, STEPS
from tests.compat.wire import Wire, request
from tests.support.system import System, running

TOKEN = "the-right-token"
# Says two things, and replies.
TALKER = """
import json, sys
sys.stdin.readline()
for word in ("one ", "two "):
    print(json.dumps({"say": word}), flush=True)
print(json.dumps({"type": "reply", "text": "one two"}), flush=True)
"""
CONFIG: dict[str, Any] = {
    "agents": {"entries": {
        "main": {"runtime": {"type": "command", "argv": [sys.executable, "-c", TALKER], "protocol": "jsonl"}}}},
    "gateway": {"bind": "loopback", "auth": {"mode": "token", "token": TOKEN},
                "controlUi": {"allowedOrigins": [OUR_PAGE]}},
}  # fmt: skip


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running(CONFIG) as started:
        yield started


@pytest.fixture(scope="module")
def place(system: System) -> Place:
    return place_of(system)


def place_of(system: System) -> Place:
    """Where it listens."""
    host, _, port = json.loads((system.runtime / "status.json").read_text())["addresses"][0].rpartition(":")
    return Place(host, int(port), TOKEN)


def approve(system: System, request_id: str) -> None:
    """As a person at the machine."""
    told = system.cli("devices", "approve", request_id)
    assert told.returncode == 0, told.stderr


def paired(system: System, place: Place, name: str, *scopes: str) -> None:
    """Have a device of that name approved for these scopes."""
    _, answer = place.knock(Case(name, {}, scopes=scopes, device=True))
    approve(system, answer["error"]["details"]["requestId"])


# --- the handshake table ----------------------------------------------------------------------------------------------

_known = Differences(differences.HANDSHAKE)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_knock_is_answered_as_openclaw_does_or_as_the_list_says(system: System, place: Place, case: Case):
    if case.approved is not None:
        paired(system, place, case.name, *case.approved)
    ours, answer = place.knock(case)
    left = _known.explain(case.name, case.theirs, ours)
    assert left == {}, f"unlisted: {left}"
    request_id = ((answer.get("error") or {}).get("details") or {}).get("requestId")
    if request_id:  # what OpenClaw approves by itself here needs a person; after that it is the same
        approve(system, request_id)
        ours, _ = place.knock(case)
        left = _known.explain(f"{case.name}, approved", case.theirs, ours)
        assert left == {}, f"unlisted once approved: {left}"


def test_every_listed_difference_of_the_handshake_is_one():
    assert _known.unused() == []


@pytest.fixture(scope="module")
def reader(system: System, place: Place) -> Iterator[Wire]:
    """A greeted client with operator.read."""
    paired(system, place, "reader", READ)
    wire = place.enter("reader", READ)
    yield wire
    wire.close()


_known_later = Differences(differences.LATER)


@pytest.mark.parametrize(("said", "theirs"), SAID_LATER)
def test_what_a_greeted_client_says_wrongly_is_answered_and_it_stays(reader: Wire, said: bytes, theirs: Fields):
    reader.tell(said)
    answer = reader.answer()
    expected = {"ok": False, "error.code": "INVALID_REQUEST", **theirs}
    ours = flat({name: value for name, value in answer.items() if name in ("id", "ok", "error")})
    left = _known_later.explain(said.decode(), expected, ours)
    assert left == {}, f"unlisted: {left}"
    assert reader.call("health")["ok"]


def test_every_listed_difference_of_what_is_said_later_is_one():
    assert _known_later.unused() == []


@pytest.mark.parametrize("method", handshake.FORBIDDEN)
def test_what_needs_more_than_a_client_has_is_forbidden_in_openclaws_words(reader: Wire, method: str):
    answer = reader.call(method, {"requestId": "x"} if method.endswith("approve") else {})
    ours = flat({"error": answer["error"]})
    known = Differences(differences.FORBIDDEN)
    assert str(ours["error.details.principal"]).startswith("device ")
    ours["error.details.principal"] = "<who>"
    assert known.explain(method, handshake.missing_scope(PAIRING), ours) == {}


# --- the story of one device ------------------------------------------------------------------------------------------


def test_a_device_is_treated_from_its_first_knock_to_its_removal_as_the_list_says(system: System, place: Place):
    known, waiting, token = Differences(differences.PAIRING), "", ""
    for step in STEPS:
        if step.before == "approve":
            approve(system, waiting)
        elif step.before:
            more = ("--role", "operator") if step.before == "revoke" else ()
            assert system.cli("devices", step.before, place.device(DEVICE).id, *more).returncode == 0
        auth = {name: token if value == OWN else value for name, value in step.case.auth.items()}
        name = "a stranger" if step.stranger else DEVICE
        ours, answer = place.knock(dataclasses.replace(step.case, name=name, auth=auth))
        left = known.explain(step.case.name, step.case.theirs, ours)
        assert left == {}, f"{step.case.name}: {left}"
        token = (answer.get("payload") or {}).get("auth", {}).get("deviceToken", token)
        request_id = ((answer.get("error") or {}).get("details") or {}).get("requestId", "")
        if step.same_request:
            known.explain(step.case.name, {"same request": True}, {"same request": request_id == waiting})
        waiting = request_id or waiting
    assert known.unused() == []


# --- what calls answer and events tell --------------------------------------------------------------------------------


class Heard:
    """Differences between documents, place by place, against the list; what was used of it is kept."""

    def __init__(self, listed: dict[str, dict[str, str]]) -> None:
        self._listed = listed
        self._seen: dict[str, set[str]] = {}

    def check(self, name: str, theirs: Any, ours: Any) -> None:
        """Fails for a place that is not listed."""
        found = changes(theirs, ours)
        self._seen.setdefault(name, set()).update(found)
        assert found - self._listed.get(name, {}).keys() == set(), f"{name}: unlisted"

    def unused(self) -> dict[str, set[str]]:
        """Places that are listed and do not differ."""
        left = {name: places.keys() - self._seen.get(name, set()) for name, places in self._listed.items()}
        return {name: places for name, places in left.items() if places}


@pytest.fixture(scope="module")
def documents() -> Heard:
    return Heard(differences.PAYLOADS)


@pytest.fixture(scope="module")
def admin(system: System, place: Place) -> Iterator[Wire]:
    """A greeted client with every scope; its hello is compared."""
    paired(system, place, "admin", ADMIN, READ, WRITE, PAIRING)
    wire = place.enter("admin", ADMIN, READ, WRITE, PAIRING)
    yield wire
    wire.close()


def answered(wire: Wire, method: str, **params: Any) -> Any:
    """The payload of a call that is let through."""
    answer = wire.call(method, params)
    assert answer["ok"], answer
    return answer["payload"]


def test_hello_tells_what_openclaws_does(system: System, place: Place, documents: Heard):
    paired(system, place, "greeted", READ)
    case = dataclasses.replace(Case("greeted", {}), scopes=(READ,), device=True)
    hello = place.knock(case)[1]["payload"]
    hello["snapshot"]["presence"] = [one for one in hello["snapshot"]["presence"] if one["mode"] == "gateway"]
    documents.check("hello-ok", payloads.HELLO, hello)
    known = Differences(differences.POLICY)
    assert known.explain("policy", payloads.POLICY, hello["policy"]) == {}
    assert known.unused() == []


@pytest.mark.parametrize("method", [*payloads.READS, "health"])
def test_what_is_read_has_the_members_openclaws_has(admin: Wire, documents: Heard, method: str):
    params = {"sessionKey": "main"} if method == "chat.history" else {}
    told = answered(admin, method, **params)
    if method == "config.get":  # what is configured is each system's own
        told |= {"config": {}, "resolved": {}, "parsed": {}}
    documents.check(method, payloads.READS.get(method, payloads.HEALTH), told)


def test_devices_are_managed_in_openclaws_words(place: Place, admin: Wire, documents: Heard):
    _, answer = place.knock(Case("managed", {}, device=True))
    request_id = answer["error"]["details"]["requestId"]
    waiting = answered(admin, "device.pair.list")
    approved = answered(admin, "device.pair.approve", requestId=request_id)
    documents.check("device.pair.approve", payloads.APPROVED, approved)
    place.enter("managed", READ).close()
    device = place.device("managed").id
    answered(admin, "device.pair.rename", deviceId=device, label="Kitchen")
    paired_now = answered(admin, "device.pair.list")["paired"]
    managed = [one for one in paired_now if one["deviceId"] == device]
    documents.check("device.pair.list", payloads.PAIR_LIST, {"pending": waiting["pending"], "paired": managed})
    rotated = answered(admin, "device.token.rotate", deviceId=device, role="operator")
    documents.check("device.token.rotate", payloads.ROTATED, rotated)
    assert rotated["tokenDelivery"] == "withheld-cross-device"
    revoked = answered(admin, "device.token.revoke", deviceId=device, role="operator")
    documents.check("device.token.revoke", payloads.REVOKED, revoked)


def test_a_run_is_answered_twice_and_told_meanwhile(admin: Wire, documents: Heard):
    admin.tell(request("run", "agent", {"message": "hello", "idempotencyKey": "k1", "sessionKey": "main"}))
    frames: list[dict[str, Any]] = []
    while len([one for one in frames if one.get("id") == "run"]) < 2:
        frames.append(admin.hear())
    accepted, finished = (one["payload"] for one in frames if one.get("id") == "run")
    assert (accepted["status"], finished["status"]) == ("accepted", "ok")
    documents.check("agent accepted", payloads.ACCEPTED, accepted)
    documents.check("agent finished", payloads.FINISHED, finished)
    told = [(kind_of(one), one["payload"]) for one in frames if one["type"] == "event"]
    for name in ("agent lifecycle start", "agent assistant", "agent lifecycle end", "chat delta", "chat final"):
        documents.check(name, payloads.EVENTS[name], next(payload for kind, payload in told if kind == name))
    numbers = [one["seq"] for one in frames if one["type"] == "event"]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def kind_of(event: dict[str, Any]) -> str:
    """An event by what it tells."""
    payload = event["payload"]
    words = {
        "agent": (payload.get("stream"), (payload.get("data") or {}).get("phase")),
        "chat": (payload.get("state"),),
    }
    return " ".join(word for word in (event["event"], *words.get(event["event"], ())) if word)


def test_every_listed_difference_of_a_document_is_one(documents: Heard):
    assert documents.unused() == {}


def test_the_end_is_announced_and_the_connection_closed_as_openclaw_does():
    with running(CONFIG) as system:
        place = place_of(system)
        paired(system, place, "last", READ)
        wire = place.enter("last", READ)
        assert system.stop() == 0
        last: dict[str, Any] = {}
        while last.get("event") != "shutdown":
            last = wire.hear()
        ended = wire.until_closed()
        wire.close()
    assert changes(payloads.EVENTS["shutdown"], last["payload"]) == set()
    assert (ended.code, ended.text) == payloads.FAREWELL
