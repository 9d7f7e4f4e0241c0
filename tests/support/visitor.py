"""What stories of a remote client have in common: what it shows, being approved, and what it remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Access, CallFailed, open_client
from tests.gateway.greet.front import TOKEN, Front
from tests.support.doors import operator
from tests.support.outer_door import OuterDoor

READ, WRITE = "operator.read", "operator.write"


def shown(keep: Path, **more: Any) -> Access:
    return Access(**{"token": TOKEN, "scopes": (READ,), "directory": str(keep), **more})


async def approve(front: Front, failed: CallFailed) -> None:
    await front.box.services.pairing.approve(str(failed.details["requestId"]), operator())


async def pair(front: Front, door: OuterDoor, keep: Path, **more: Any) -> None:
    """Ask, be approved, and come back once."""
    with pytest.raises(CallFailed) as refused:
        async with open_client(door.url, access=shown(keep, **more)):
            pass
    await approve(front, refused.value)
    async with open_client(door.url, access=shown(keep, **more)):
        pass


def remembered(keep: Path, door: OuterDoor) -> dict[str, Any]:
    told = json.loads((keep / "known.json").read_text())
    found = told["gateways"][f"127.0.0.1:{door.port}"]
    assert isinstance(found, dict)
    return found
