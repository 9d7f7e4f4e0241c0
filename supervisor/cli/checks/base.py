"""What one check of `peergate doctor` found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """`fix` is what to do when `status` is not ok."""

    name: str
    status: str
    found: str
    fix: str = ""

    def document(self) -> dict[str, str | None]:
        """As --json prints it."""
        return {"name": self.name, "status": self.status, "found": self.found, "fix": self.fix or None}
