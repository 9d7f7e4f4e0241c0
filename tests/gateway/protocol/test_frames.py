"""Frames: what travels comes out as it went in, and nothing a peer sends raises anything but BadFrame."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import (
    JSON,
    MSGPACK,
    BadFrame,
    Broadcast,
    Codec,
    Event,
    FrameTooLarge,
    Request,
    Response,
    Splitter,
    decode_incoming,
    decode_request,
    encode,
    malformed_text,
    pack,
)

JSON_TREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    x: int


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    a: list[Inner]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a": [], "b": 1}', "at root: unexpected property 'b'"),
        ('{"a": [{"x": 1}, {"x": 2, "y": 3}]}', "at /a/1: unexpected property 'y'"),
        ("{}", "must have required property 'a'"),
        ('{"a": [{}]}', "at /a/0: must have required property 'x'"),
        ('{"a": 3}', "Expected `array`, got `int` - at `$.a`"),
        ("{", "Input data was truncated"),
    ],
)
def test_a_member_too_many_or_too_few_is_told_in_openclaws_words(body: str, words: str):
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body, type=Outer)
    assert malformed_text(caught.value) == words


@given(st.text(min_size=1), st.text(min_size=1), JSON_TREE)
def test_a_request_comes_out_as_it_went_in(id: str, method: str, params: Any):
    request = decode_request(encode(Request(id, method, msgspec.Raw(msgspec.msgpack.encode(params)))))
    assert (request.id, request.method, msgspec.msgpack.decode(request.params)) == (id, method, params)


@given(st.binary())
def test_no_bytes_break_the_decoders_otherwise_than_they_say(body: bytes):
    for decode in (decode_request, decode_incoming):
        try:
            decode(body)
        except BadFrame:
            continue


@pytest.mark.parametrize(
    "tree",
    [
        None, 5, [], {}, {"type": "req"}, {"type": "req", "id": "1"}, {"type": "req", "id": 1, "method": "x"},
        {"type": "req", "id": "1", "method": ""}, {"type": "req", "id": "", "method": "x"},
        {"type": "res", "id": "1", "ok": True}, {"type": "req", "id": "1", "method": "x", "scope": "admin"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_request_is_refused(tree: object):
    with pytest.raises(BadFrame, match="invalid request frame"):
        decode_request(msgspec.msgpack.encode(tree))


@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa1a"], ids=["arrays", "maps"])
@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_a_tower_of_nesting_is_refused_and_costs_no_crash(nest: bytes, depth: int):
    with pytest.raises(BadFrame):
        decode_incoming(b"\x83\xa4type\xa5event\xa5event\xa1x\xa7payload" + nest * depth + b"\xc0")


def test_names_that_are_not_utf8_are_refused():
    with pytest.raises(BadFrame):
        decode_request(b"\x83\xa4type\xa3req\xa2id\xa1\xff\xa6method\xa1x")


def test_another_msgpack_library_reads_what_we_write():
    error = ErrorShape("FORBIDDEN", "no", {"code": "X"}, retry_after_ms=5)
    assert msgpack.unpackb(encode(Response("1", False, error=error))) == {
        "type": "res", "id": "1", "ok": False,
        "error": {"code": "FORBIDDEN", "message": "no", "details": {"code": "X"}, "retryAfterMs": 5},
    }  # fmt: skip
    assert msgpack.unpackb(encode(Event("tick", {"ts": 1}))) == {"type": "event", "event": "tick", "payload": {"ts": 1}}


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_bodies_are_cut_the_same_however_the_bytes_arrive(bodies: list[bytes], data: st.DataObject):
    stream = b"".join(map(pack, bodies))
    splitter, cut = Splitter(300), list[bytes]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        splitter.feed(stream[:size])
        stream = stream[size:]
        while (body := splitter.next_body()) is not None:
            cut.append(body)
    assert cut == bodies
    assert splitter.pending == 0


def test_a_header_that_announces_too_much_is_refused_before_its_body():
    splitter = Splitter(10)
    splitter.feed(pack(b"x" * 10) + (11).to_bytes(4, "big"))
    assert splitter.next_body() == b"x" * 10
    with pytest.raises(FrameTooLarge, match="11 bytes, at most 10"):
        splitter.next_body()


# --- both codecs ------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(min_size=1), JSON_TREE)
def test_a_request_in_json_comes_out_as_it_went_in(id: str, method: str, params: Any):
    frame = {"type": "req", "id": id, "method": method, "params": params}
    request = JSON.decode_request(msgspec.json.encode(frame))
    assert (request.id, request.method, msgspec.json.decode(request.params)) == (id, method, params)


@given(st.binary() | st.text().map(str.encode))
def test_no_text_breaks_the_json_decoders_otherwise_than_they_say(body: bytes):
    for decode in (JSON.decode_request, JSON.decode_incoming):
        try:
            decode(body)
        except BadFrame:
            continue


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"null", b'"req"', b"{", b'{"type":"req"}', b'{"type":"req","id":"","method":"health"}',
        b'{"type":"req","id":"1","method":"health","extra":1}', b'{"type":"res","id":"1","ok":true}',
        b'{"type":"req","id":1,"method":"health"}', b"\xff\xfe", b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_text_that_is_no_request_is_a_bad_frame(text: bytes):
    with pytest.raises(BadFrame, match=r"^invalid request frame"):
        JSON.decode_request(text)


def test_what_openclaws_clients_add_to_a_request_is_passed_over():
    text = b'{"type":"req","id":"1:x","method":"health","traceparent":"00-1","expectedProfileId":"p"}'
    assert JSON.decode_request(text).params == msgspec.Raw(b"{}")


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=lambda codec: codec.name)
@pytest.mark.parametrize("version", [None, {"presence": 1, "health": 2}])
def test_a_broadcast_is_the_event_with_its_number(codec: Codec, version: dict[str, int] | None):
    broadcast = Broadcast("tick", {"text": "ä"}, version)
    for seq in (1, 128, 2**40):
        assert codec.decode_incoming(broadcast.body(seq, codec)) == Event("tick", {"text": "ä"}, seq, version)


@pytest.mark.parametrize(("codec", "null"), [(MSGPACK, b"\xa7payload\xc0"), (JSON, b'"payload":null')])
def test_an_answer_may_be_null_and_an_error_has_none(codec: Codec, null: bytes):
    assert null in codec.encode(Response("1", True, None))
    assert b"payload" not in codec.encode(Response("1", False, error=ErrorShape("UNAVAILABLE", "no")))
