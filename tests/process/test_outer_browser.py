"""Pages in a real browser: one of an allowed origin pairs and comes back, one of any other gets nowhere, whatever it
knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import CHROMIUM, NEEDS_CHROMIUM, REBOUND, Site, browsing
from tests.support.system import System, running

TOKEN = "known to every page"
HELLO = [["sessions.list", {}], ["chat.send", {"sessionKey": "main", "message": "hello", "idempotencyKey": "k"}]]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Of the origin that is allowed."""
    made = Site()
    yield made
    made.close()


@pytest.fixture
def foreign() -> Iterator[Site]:
    """Of an origin that differs from that by the port alone."""
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def system(site: Site) -> Iterator[System]:
    gateway = {"bind": "loopback", "auth": {"token": TOKEN}, "controlUi": {"allowedOrigins": [site.origin]}}
    with running({"gateway": gateway}) as one:
        yield one


@pytest.fixture(scope="module")
def page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page of the allowed origin, in a browser nobody has used."""
    if CHROMIUM is None:
        pytest.skip(NEEDS_CHROMIUM)
    with browsing(tmp_path_factory.mktemp("profile"), site.origin):
        assert site.loaded() == {"loaded": site.origin, "secure": True}
        yield site


def url(system: System, host: str = "127.0.0.1", scheme: str = "ws") -> str:
    (port,) = {address.rpartition(":")[2] for address in system.call("status")["gateway"]["outerDoor"]["urls"]}
    return f"{scheme}://{host}:{port}"


def waiting(system: System) -> list[dict[str, Any]]:
    pending: list[dict[str, Any]] = system.call("device.pair.list")["pending"]
    return pending


def test_a_page_pairs_by_a_persons_word_talks_and_comes_back_by_its_own_token(system: System, page: Site):
    asked = page.do("connect", url=url(system), auth={"token": TOKEN})
    assert asked["refused"]["code"] == "NOT_PAIRED"
    (request,) = waiting(system)
    assert (request["browserOrigin"], request["requestId"]) == (page.origin, asked["refused"]["details"]["requestId"])
    assert request["requestId"] in asked["closed"][1]
    approved = system.cli("devices", "approve", "--latest")
    assert approved.returncode == 0, approved.stderr
    there = page.do("connect", url=url(system), auth={"token": TOKEN}, calls=HELLO, chat=True)
    assert there["hello"]["auth"]["method"] == "token"
    assert not [answer for answer in there["answers"] if "error" in answer], there["answers"]
    assert there["chat"][-1]["state"] == "final"
    page.reload()
    back = page.do("connect", url=url(system), calls=[["sessions.list", {}]])
    assert back["hello"]["auth"]["method"] == "device-token"
    assert [row["key"] for row in back["answers"][0]["sessions"]] == ["agent:main:main"]


@pytest.mark.parametrize("sandbox", [False, True], ids=["another-port", "a-sandboxed-frame"])
def test_a_page_of_another_origin_gets_nowhere_with_the_right_token(
    system: System, page: Site, foreign: Site, sandbox: bool
):
    page.do("frame", src=foreign.origin, sandbox=sandbox)
    assert foreign.loaded()["loaded"] == ("null" if sandbox else foreign.origin)
    told = foreign.do("connect", url=url(system), auth={"token": TOKEN}, device=False)
    assert told["refused"]["details"]["code"] == "CONTROL_UI_ORIGIN_NOT_ALLOWED"
    assert (told["closed"][0], waiting(system)) == (1008, [])


def test_a_page_that_calls_this_machine_by_a_name_of_its_own_gets_no_websocket(
    system: System, page: Site, foreign: Site
):
    page.do("frame", src=f"http://{REBOUND}:{foreign.port}")
    assert foreign.loaded()["loaded"] == f"http://{REBOUND}:{foreign.port}"
    told = foreign.do("connect", url=url(system, REBOUND), auth={"token": TOKEN}, device=False)
    assert (told["closed"][0], "refused" in told) == (1006, False)  # HTTP 421: there never was a WebSocket
    told = foreign.do("connect", url=url(system), auth={"token": TOKEN}, device=False)
    assert told["refused"]["details"]["code"] == "CONTROL_UI_ORIGIN_NOT_ALLOWED"
