"""What the outer door says over HTTP: three probes to anybody, one upgrade to those who ask for it properly."""

from __future__ import annotations

import gc

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.proxies import networks_from
from gateway.listen.http import HEAD_SECONDS, IDLE_SECONDS, LINGER_SECONDS, MAX_HEAD_BYTES, Standing, probed
from gateway.listen.tcp import MAX_UNGREETED_PER_ADDRESS
from tests.gateway.link.ends import REQUEST, TEXT, Wire, frame
from tests.gateway.listen.street import Street

HOST = b"Host: gateway.test\r\n"


@pytest.fixture
async def street(nursery):
    one = Street(nursery)
    yield one
    nursery.cancel_scope.cancel()
    one.close()


def get(path: str, *headers: bytes, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\n".encode() + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


def upgrade(*headers: bytes) -> bytes:
    return REQUEST[:-2] + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


# --- probes -----------------------------------------------------------------------------------------------------------

TABLE = [
    ("/health", Standing.STARTED, 200, {"ok": True, "status": "live"}),
    ("/healthz", Standing.DRAINING, 200, {"ok": True, "status": "live"}),
    ("/healthz", Standing.STARTING, 200, {"ok": True, "status": "live"}),
    ("/ready", Standing.STARTED, 200, {"ready": True}),
    ("/readyz", Standing.STARTED, 200, {"ready": True}),
    ("/readyz", Standing.STARTING, 503, {"ready": False}),
    ("/readyz", Standing.DRAINING, 503, {"ready": False}),
    ("/startup", Standing.STARTED, 200, {"ok": True, "status": "started"}),
    ("/startupz", Standing.STARTED, 200, {"ok": True, "status": "started"}),
    ("/startupz", Standing.STARTING, 503, {"ok": False, "status": "starting"}),
    ("/startupz", Standing.DRAINING, 503, {"ok": False, "status": "draining"}),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("path", "standing", "status", "body"), TABLE)
async def test_a_probe_is_told_how_far_we_are(street, path: str, standing: Standing, status: int, body, method: str):
    street.standing = standing
    told, headers, text = await street.ask(get(path, method=method))
    assert told == status
    assert headers["cache-control"] == "no-store"
    assert headers["content-length"] == str(len(msgspec.json.encode(body)))
    assert text == (b"" if method == "HEAD" else msgspec.json.encode(body))


async def test_a_question_mark_changes_nothing(street):
    assert (await street.ask(get("/healthz?verbose=1")))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/healthz", 405), ("DELETE", "/readyz", 405), ("OPTIONS", "/startup", 405), ("GET", "/", 404),
        ("POST", "/", 404), ("GET", "/healthz/", 404), ("GET", "/HEALTHZ", 404), ("PUT", "/../healthz", 404),
    ],
)  # fmt: skip
async def test_what_there_is_not_is_404_and_what_may_not_be_done_is_405(street, method: str, path: str, status: int):
    told, headers, _ = await street.ask(get(path, method=method))
    assert told == status
    assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)


async def test_one_connection_may_probe_again_and_again(street):
    visitor = street.visitor()
    for _ in range(5):
        visitor.stream.write(get("/healthz") + get("/nothing"))
        assert (await visitor.answer())[0] == 200
        assert (await visitor.answer())[0] == 404


@pytest.mark.parametrize("body", [(b"Content-Length: 5",), (b"Content-Length: 5", b"Transfer-Encoding: chunked")])
async def test_a_request_with_a_body_is_answered_and_the_connection_ends(street, body: tuple[bytes, ...]):
    visitor = street.visitor()
    visitor.stream.write(get("/healthz", *body) + b"0\r\n\r\n" + get("/readyz"))
    status, headers, _ = await visitor.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await visitor.is_hung_up_on()


async def test_an_old_client_is_answered_and_hung_up_on(street):
    visitor = street.visitor()
    visitor.stream.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await visitor.answer())[0] == 200
    assert await visitor.is_hung_up_on()


# --- by which name ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("gateway.test", 200), ("GATEWAY.test:18789", 200), ("127.0.0.1:1", 200), ("localhost", 200), ("[::1]", 200),
        ("0.0.0.0", 421), ("[::]", 421), ("evil.test", 421), ("gateway.test.evil.test", 421), ("", 421),
        ("10.0.0.1", 421),
    ],
)  # fmt: skip
async def test_it_answers_to_its_own_names_only(street, host: str, status: int):
    told, _, body = await street.ask(b"GET /healthz HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
    assert told == status
    assert (b"misdirected" in body) == (status == 421)
    asked = REQUEST.replace(b"Host: gateway.test", b"Host: " + host.encode())
    assert (await street.ask(asked))[0] == (101 if status == 200 else 421)


async def test_only_a_probe_of_old_may_leave_the_name_out(street):
    assert (await street.ask(b"GET / HTTP/1.0\r\n\r\n"))[0] == 421
    assert (await street.ask(b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 400


# --- the upgrade ------------------------------------------------------------------------------------------------------


async def shake_hands(street: Street, request: bytes = REQUEST) -> Wire:
    wire = Wire(street.visitor().stream._sock)
    wire.stream.write(request)
    assert (await wire.head()).startswith(b"HTTP/1.1 101 ")
    return wire


async def test_an_upgrade_becomes_a_websocket_at_any_path(street):
    for path in (b"/", b"/ws?x=1", b"/any/where"):
        wire = await shake_hands(street, REQUEST.replace(b"GET /", b"GET " + path))
        wire.stream.write(frame(TEXT, b"hello"))
        assert await wire.hear() == (TEXT, b"hello")
    visit, headers = street.came[0]
    assert visit.local == ("127.0.0.1", street.port)
    assert visit.remote[0] == "127.0.0.1"
    assert ("host", "gateway.test") in headers


async def test_an_upgrade_that_comes_byte_by_byte_is_one(street):
    wire = Wire(street.visitor().stream._sock)
    for byte in REQUEST:
        wire.stream.write(bytes([byte]))
        await trio.lowlevel.checkpoint()
    assert (await wire.head()).startswith(b"HTTP/1.1 101 ")


async def test_an_upgrade_is_a_connections_first_request_or_none(street):
    visitor = street.visitor()
    visitor.stream.write(get("/healthz"))
    assert (await visitor.answer())[0] == 200
    visitor.stream.write(REQUEST)
    status, _, body = await visitor.answer()
    assert (status, b"first request" in body) == (400, True)
    assert await visitor.is_hung_up_on()
    assert street.came == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (REQUEST.replace(b"Version: 13", b"Version: 12"), 426),
        (REQUEST.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        (REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (REQUEST.replace(b"GET", b"POST"), 400),
        (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (REQUEST + b"x", 400),
        (REQUEST.replace(b"websocket", b"h2c"), 404),
        (REQUEST.replace(b"Connection: Upgrade\r\n", b""), 404),
    ],
    ids=["version", "no version", "key", "post", "http/1.0", "hasty", "h2c", "no connection header"],
)
async def test_an_unfit_upgrade_is_refused(street, request_: bytes, status: int):
    assert (await street.ask(request_))[0] == status
    assert street.came == []


async def test_a_websocket_keeps_nothing_of_the_http_before_it(street):
    await shake_hands(street)
    assert [one for one in gc.get_objects() if type(one).__qualname__ == "_Peer"] == []


async def test_while_we_are_leaving_nobody_new_is_taken(street):
    street.standing = Standing.DRAINING
    status, headers, body = await street.ask(REQUEST)
    assert (status, headers["retry-after"], b"unavailable" in body) == (503, "1", True)


async def test_who_is_locked_out_is_told_when_to_come_again(street):
    street.locked["loopback"] = 61_500
    status, headers, body = await street.ask(REQUEST)
    assert (status, headers["retry-after"]) == (429, "62")
    assert msgspec.json.decode(body)["error"]["type"] == "rate_limited"
    assert (await street.ask(get("/healthz")))[0] == 200


async def test_forwarded_headers_are_taken_from_a_proxy_of_ours_only(street):
    asked = upgrade(b"X-Forwarded-For: 192.0.2.9")
    status, _, body = await street.ask(asked)
    assert status == 403
    assert msgspec.json.decode(body)["error"]["type"] == "proxy_attribution_required"
    street.proxies = networks_from(["127.0.0.1"])
    street.locked["192.0.2.9"] = 1000
    assert (await street.ask(asked))[0] == 429
    assert (await street.ask(upgrade(b"X-Forwarded-For: 192.0.2.8")))[0] == 101


async def test_one_address_may_wait_at_the_door_so_often_and_no_more(street):
    street.greets = False
    wires = [await shake_hands(street) for _ in range(MAX_UNGREETED_PER_ADDRESS)]
    status, _, body = await street.ask(REQUEST)
    assert (status, msgspec.json.decode(body)["error"]["message"]) == (503, "Too many unauthenticated sockets")
    wires[0].stream.close()
    await trio.testing.wait_all_tasks_blocked()
    await shake_hands(street)


async def test_who_has_been_let_in_is_not_counted(street):
    for _ in range(MAX_UNGREETED_PER_ADDRESS + 5):
        await shake_hands(street)
    await trio.testing.wait_all_tasks_blocked()
    assert len(street.crowd) == 0


async def test_behind_a_proxy_each_client_is_counted_for_itself(street):
    street.greets = False
    street.proxies = networks_from(["127.0.0.0/8"])
    one, other = upgrade(b"X-Forwarded-For: 192.0.2.1"), upgrade(b"X-Forwarded-For: 192.0.2.2")
    for _ in range(MAX_UNGREETED_PER_ADDRESS):
        await shake_hands(street, one)
    assert (await street.ask(one))[0] == 503
    await shake_hands(street, other)


# --- time and garbage -------------------------------------------------------------------------------------------------


async def test_who_says_nothing_is_hung_up_on(street, autojump_clock):
    visitor = street.visitor()
    assert await visitor.is_hung_up_on()
    assert trio.current_time() == pytest.approx(HEAD_SECONDS, abs=0.1)


async def test_who_says_it_ever_so_slowly_is_told_and_hung_up_on(street, autojump_clock):
    visitor = street.visitor()
    for byte in REQUEST[:9]:
        visitor.stream.write(bytes([byte]))
        await trio.sleep(1.0)
    assert (await visitor.answer())[0] == 408
    assert trio.current_time() == pytest.approx(HEAD_SECONDS, abs=0.1)
    assert await visitor.is_hung_up_on()
    await trio.sleep(LINGER_SECONDS + 0.1)
    assert len(street.crowd) == 0


async def test_an_idle_connection_is_not_kept_for_ever(street, autojump_clock):
    visitor = street.visitor()
    visitor.stream.write(get("/healthz"))
    await visitor.answer()
    begun = trio.current_time()
    assert await visitor.is_hung_up_on()
    assert trio.current_time() - begun == pytest.approx(IDLE_SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("bytes_", "status"),
    [
        (b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (get("/healthz", *[b"X-%d: y" % n for n in range(3000)]), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (get("/healthz", b"Content-Length: -1"), 400),
        (get("/healthz", b"Transfer-Encoding: chunked", b"Content-Length: 3"), 200),
        (b"GET http://evil.test/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    ],
    ids=["long line", "many headers", "TLS", "ssh", "two hosts", "negative", "smuggling", "absolute"],
)
async def test_strange_requests_get_an_answer_and_nothing_more(street, bytes_: bytes, status: int):
    assert (await street.ask(bytes_))[0] == status
    assert (await street.ask(get("/healthz")))[0] == 200


@given(st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", REQUEST[:-2]]))
def test_no_bytes_break_the_door(rest: bytes, start: bytes):
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            street = Street(nursery)
            visitor = street.visitor()
            visitor.stream.write(start + rest)
            visitor.stream.half_close()
            with trio.fail_after(10):
                while not await visitor.is_hung_up_on():
                    pass
                assert (await street.ask(get("/healthz")))[0] == 200
            nursery.cancel_scope.cancel()
        street.close()

    trio.run(main)


def test_a_probe_says_no_more_than_that():
    for probe in ("live", "ready", "started"):
        for standing in Standing:
            assert set(probed(probe, standing).document) <= {"ok", "status", "ready"}  # type: ignore[call-overload]
