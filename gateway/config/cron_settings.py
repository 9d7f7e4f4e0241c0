"""The `cron` section: the scheduler, where its webhooks may go, and jobs that stand in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.config.section import Positive, Section, Text, repr_hiding
from gateway.protocol.cron import Wish

_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
JobName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]


class WebhookSsrfPolicy(Section, frozen=True):
    """Where webhooks may lead besides the public network."""

    allow_private_network: Annotated[
        bool, Meta(description="Addresses of this machine and of private networks; never a cloud's metadata service.")
    ] = False
    allowed_hostnames: Annotated[tuple[Text, ...], Meta(description="Hosts that may lead to any address.")] = ()


class FailureAlerts(Section, frozen=True):
    """When somebody is told that a job fails; a job may say otherwise."""

    enabled: bool = False
    after: Annotated[Positive, Meta(description="Failures in a row.")] = 2
    cooldown_ms: Annotated[int, Meta(ge=0, le=31_622_400_000)] = 3_600_000
    include_skipped: bool = False
    mode: Literal["announce", "webhook"] = "announce"
    to: Annotated[
        Text | None, Meta(description="A session key or an address; absent: the job's session, else the main session.")
    ] = None


class CronSettings(Section, frozen=True):
    """Jobs that run by the clock."""

    enabled: Annotated[bool, Meta(description="false: jobs are kept, and none is started.")] = True
    skip_missed_jobs: Annotated[
        bool, Meta(description="Jobs that do not say otherwise leave out what they missed (misfire skip).")
    ] = False
    webhook_token: Annotated[str | None, Meta(description="Sent to webhooks as Authorization: Bearer.")] = None
    webhook_ssrf_policy: WebhookSsrfPolicy = WebhookSsrfPolicy()
    session_retention: Annotated[
        bool | Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[mhdw]$", examples=["90m", "24h", "7d"])],
        Meta(description="How long the session of a single run is kept, such as 24h or 7d; false: as any other."),
    ] = "24h"
    failure_alert: FailureAlerts = FailureAlerts()
    jobs: Annotated[
        dict[JobName, Wish], Meta(description="Jobs by name, made and kept as they stand here (see docs/cron.md).")
    ] = field(default_factory=dict)

    @property
    def session_retention_ms(self) -> float | None:
        """`sessionRetention` in milliseconds; None for ever."""
        text = self.session_retention
        return int(text[:-1]) * _HOURS[text[-1]] * 3_600_000 if isinstance(text, str) else None

    def __repr__(self) -> str:
        return repr_hiding(self, "webhook_token")
