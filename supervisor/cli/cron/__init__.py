"""`peergate cron`: jobs that run by the clock. The group, and where each of its commands is."""

from __future__ import annotations

import click

from supervisor.cli.cron.act import disable, enable, remove, run_now
from supervisor.cli.cron.look import list_jobs, runs, show, status
from supervisor.cli.cron.make import add, edit
from supervisor.cli.cron.next import next_slots
from supervisor.cli.cron.wake import wake
from supervisor.cli.invocation import framed

_cron = click.Group(
    "cron",
    help="Jobs that run by the clock: make them, look at them, change them, run them. Inside an agent: its own jobs.",
)
cron = framed(
    _cron, 'peergate cron add --name mail --every 10m --message "look at the mail"',
    'peergate cron add --name report --cron "0 9 * * 1-5" --tz Europe/Berlin -m "write the report" --agent scout',
    'peergate cron add --name disk --cron @daily --command "df -h /"', "peergate cron list",
    'peergate cron next "30 2 * * *" --tz America/New_York', "peergate cron run mail --wait", "peergate cron runs mail",
)  # fmt: skip
for each in (add, list_jobs, show, edit, enable, disable, run_now, runs, remove, next_slots, status):
    _cron.add_command(each)

__all__ = ["cron", "wake"]
