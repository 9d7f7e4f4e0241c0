"""The protocol page says what the rows say."""

from __future__ import annotations

from pathlib import Path

from gateway.protocol.calls import ROWS
from gateway.protocol.describe import page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"


def test_the_page_is_the_rows():
    assert PAGE.read_text() == page(), "run: .venv/bin/python -m gateway.protocol.describe > docs/protocol.md"


def test_every_method_is_on_the_page():
    assert [name for name in ROWS if f"### {name}\n" not in page()] == []
