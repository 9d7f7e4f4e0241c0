"""Starting sub-agents with the tool `sessions_spawn`: what is refused, and in which words."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("seconds", [-1, 2_592_001, 2**63 - 1])
async def test_a_time_limit_out_of_bounds_is_refused_with_the_parameter_and_the_bound(box, hands, seconds):
    result = await hands.use("sessions_spawn", task="x", runTimeoutSeconds=seconds)
    assert result["status"] == "error"
    assert "runTimeoutSeconds" in result["error"]
    assert "2592000" in result["error"]
    assert box.services.runs.counts() == {}
