"""The log: one line of JSON for one record, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from gateway.logs import JsonFormatter, set_level


@pytest.fixture
def log():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("gateway.test", logging.DEBUG)
    logger.addHandler(handler)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    return logger, lines


def test_a_record_is_one_line_with_its_fields(log):
    logger, lines = log
    logger.warning("call refused", extra={"who": "tool\nof agent", "uid": 5, "odd": object})
    (line,) = lines()
    assert (line["level"], line["logger"], line["msg"]) == ("warn", "gateway.test", "call refused")
    assert (line["who"], line["uid"]) == ("tool\nof agent", 5)
    assert "object" in line["odd"]
    assert line["ts"] > 1_600_000_000_000


def test_a_traceback_stays_on_the_line(log):
    logger, lines = log
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("broke")
    (line,) = lines()
    assert line["level"] == "error"
    assert "KeyError: 'lost'" in line["exc"]


def test_a_name_that_is_not_utf8_does_not_cost_the_line(log):
    logger, lines = log
    logger.info("read %s", "\udcff")
    assert "udcff" in lines()[0]["msg"]


@pytest.mark.parametrize(
    ("word", "said"), [("debug", True), ("trace", True), ("info", False), ("error", False), ("silent", False)]
)
def test_levels_are_the_configurations(word: str, said: bool):
    root = logging.getLogger()
    before = root.level
    try:
        set_level(word)
        assert root.isEnabledFor(logging.DEBUG) == said
        assert root.isEnabledFor(logging.CRITICAL) == (word != "silent")
    finally:
        root.setLevel(before)
