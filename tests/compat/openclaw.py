"""OpenClaw's own published programs against a system of ours: its command line, its client library, its JSON Schema.

Run by a person, because it needs them installed (`npm install openclaw @openclaw/gateway-client
@openclaw/gateway-protocol ajv` in a directory, and a Node that openclaw accepts); no test collects it:

    python -m tests.compat.openclaw DIRECTORY [--node NODE]

It starts a system on every address with TLS, approves what the programs ask for as a person would, prints a line for
each step, and leaves with 1 when a step did not end as `docs/compatibility.md` says."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.system import System, running

TOKEN = "a-shared-token"
SECONDS = 90
CLIENT = Path(__file__).with_name("client.mjs")

# What is typed, whether it goes well, and words of what is printed. `approve` approves what it left behind; RUN is what
# a run is asked for with, JOB the id of the only job there is.
STEPS: tuple[tuple[str, bool, str], ...] = (
    ("gateway call health", False, "device identity required"),  # a command that reads makes no key of its own
    ("system presence", False, "device pairing required"),
    ("approve", True, ""),
    ("system presence", True, '"mode": "gateway"'),
    ("gateway call health", True, '"ok": true'),
    ("gateway health", True, '"ok": true'),
    ("gateway probe", True, '"ok": true'),
    ("gateway call agents.list", True, '"defaultId": "main"'),
    ("gateway call sessions.list", True, '"sessions": []'),
    ("gateway call status", True, '"draining"'),
    ("gateway call config.get", True, '"valid": true'),
    ("logs --limit 5", True, '"message":"connection ended"'),
    ("devices list", False, "scope upgrade pending approval"),
    ("approve", True, ""),
    ("devices list", True, '"paired"'),
    ("devices approve --latest", False, "No pending device pairing requests"),
    ("gateway call agent --expect-final --params RUN", False, "scope upgrade pending approval"),
    ("approve", True, ""),
    ("gateway call agent --expect-final --params RUN", True, '"status": "ok"'),
    ("cron status", True, '"storage": "sqlite"'),
    ("cron add mail --every 10m --message look", False, "scope upgrade pending approval"),
    ("approve", True, ""),
    ("cron add mail --every 10m --message look", True, '"everyMs": 600000'),
    ("cron list", True, '"hasMore": false'),
    ("cron edit JOB --name post --cron '0 9 * * 1-5' --tz Europe/Berlin", True, '"tz": "Europe/Berlin"'),
    ("cron disable JOB", True, '"enabled": false'),
    ("cron list", True, '"jobs": []'),
    ("cron list --all", True, '"name": "post"'),
    ("cron enable JOB", True, '"nextRunAtMs"'),
    ("cron show JOB", True, '"name": "post"'),
    ("cron run JOB --wait", True, '"completionStatus": "succeeded"'),
    ("cron runs --id JOB", True, '"slotMs"'),
    ("cron rm JOB", True, '"removed": true'),
    ("cron add tea --at 20m --system-event tea", True, '"sessionTarget": "main"'),
    ("cron rm JOB", True, '"removed": true'),
    ('cron add disk --every 1h --command-argv \'["echo", "hi"]\'', True, '"kind": "command"'),
    ("cron run JOB --wait", True, '"summary": "hi'),
)
RUN = json.dumps({"message": "hello", "sessionKey": "main", "idempotencyKey": "by-openclaw"})


def our_address() -> str:
    """The address this machine has in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


class Machine:
    """A system of ours, and OpenClaw's programs with a home of their own."""

    def __init__(self, system: System, directory: Path, node: str, home: str) -> None:
        self._system, self._directory, self._node = system, directory, node
        port = json.loads((system.runtime / "status.json").read_text())["addresses"][0].rpartition(":")[2]
        self.url = f"wss://{our_address()}:{port}"
        certificate = str(system.state / "tls" / "gateway.crt")
        self._environment = {**os.environ, "HOME": home, "NODE_EXTRA_CA_CERTS": certificate}

    def approve(self) -> bool:
        """As a person at the machine, when exactly one request waits."""
        return self._system.cli("devices", "approve", "--latest").returncode == 0

    def _job(self) -> str:
        jobs = json.loads(self._system.cli("cron", "list", "--all", "--json").stdout)["jobs"]
        return str(jobs[0]["id"]) if len(jobs) == 1 else f"not one job but {len(jobs)}"

    def type(self, command: str) -> tuple[int, str]:
        """One command of OpenClaw's; its exit code and what it printed."""
        words = [RUN if word == "RUN" else self._job() if word == "JOB" else word for word in shlex.split(command)]
        program = str(self._directory / "node_modules" / "openclaw" / "openclaw.mjs")
        words = [self._node, program, *words, "--url", self.url, "--token", TOKEN, "--json"]
        done = subprocess.run(
            words, env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def library(self) -> bool:
        """The client library's own steps; they approve by what it prints."""
        shown = json.loads(self._system.cli("cert", "show", "--json").stdout)["fingerprint"]
        words = [self._node, str(CLIENT), str(self._directory), self.url, TOKEN, shown]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                told: dict[str, Any] = json.loads(line)
                if "approve" in told:
                    self._system.cli("devices", "approve", told["approve"])
                    process.stdin.write("approved\n")
                    process.stdin.flush()
                else:
                    print(f"library: {told.get('check') or told}: {'as it should' if told.get('fine', True) else told}")
        return process.returncode == 0


def run(directory: Path, node: str) -> bool:
    """Every step; whether all ended as they should."""
    config = {"gateway": {"bind": "lan", "auth": {"mode": "token", "token": TOKEN}}}
    good = True
    with running(config) as system, tempfile.TemporaryDirectory() as home:
        machine = Machine(system, directory, node, home)
        for command, goes_well, words in STEPS:
            code, said = (0 if machine.approve() else 1, "") if command == "approve" else machine.type(command)
            fine = (code == 0) == goes_well and words in said
            good = good and fine
            print(f"{command}: {'as it should' if fine else f'exit {code}: {said[-600:]!r}'}", flush=True)
        return machine.library() and good


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="OpenClaw's published programs against this gateway")
    parser.add_argument("directory", type=Path, help="where npm installed them")
    parser.add_argument("--node", default="node", help="a Node that openclaw accepts")
    wanted = parser.parse_args()
    sys.exit(0 if run(wanted.directory.resolve(), wanted.node) else 1)


if __name__ == "__main__":
    main()
