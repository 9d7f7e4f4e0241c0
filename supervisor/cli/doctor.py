"""`peergate doctor`: every check, what it found, and how to mend it."""

from __future__ import annotations

import click

from supervisor.cli.checks.base import FAIL, WARN, Check
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import clean


@command("doctor", "peergate doctor", "peergate doctor --json | jq '.checks[] | select(.status != \"ok\")'")
def doctor(run: Invocation) -> None:
    """Check this machine, the installation, the configuration and the running system. Exit code 1 when something fails.

    --json prints {ok, checks[{name, status: ok|warn|fail, found, fix}]}."""
    from supervisor.cli.checks import all_checks

    checks = all_checks(run)
    failed = any(check.status == FAIL for check in checks)
    document = {"ok": not failed, "checks": [check.document() for check in checks]}
    run.answer(document, lambda: doctor_text(checks))
    if failed:
        click.get_current_context().exit(1)


def doctor_text(checks: list[Check]) -> str:
    """One line for each check, and its fix below it when it needs one."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:<5} {check.name}: {check.found}")
        if check.fix and check.status != "ok":
            lines.append(f"      {check.fix}")
    warned, failed = (sum(check.status == status for check in checks) for status in (WARN, FAIL))
    lines.append(f"{len(checks)} checks, {warned} warnings, {failed} failures")
    return clean("\n".join(lines))
