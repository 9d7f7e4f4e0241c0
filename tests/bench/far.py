"""Connecting from another host: a system in a network namespace of its own, and its clients in another one.

Owns both namespaces, which end with their processes. Only root can make them (network_namespaces(7)); anybody else has
no such rows. From there nobody's descriptors are looked at, as they are when a peer comes from the gateway's own
host."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.door import PER_DEVICE, TOKEN, anonymous, device_says
from tests.bench.load import percentile
from tests.bench.row import Row
from tests.bench.ws_load import Address, Guest, Saying, cpu_seconds, greet
from tests.gateway.auth.signing import TestDevice
from tests.support.system import running

HERE, THERE, PORT = "10.9.0.1", "10.9.0.2", 18789
HANDSHAKES, IDLE = 40, 2000
AT_ONCE = 4
"""Threads that connect them all; more only wait for each other."""
SETTLE_SECONDS = 0.3
_NEAR = f"ip link set lo up; ip link add near type veth peer name far; ip addr add {HERE}/24 dev near; "
_NEAR += 'ip link set near up; exec "$@"'
_FAR = f"read line; ip addr add {THERE}/24 dev far; ip link set far up; exec {sys.executable} -m tests.bench.far"


def rows() -> list[Row]:
    """Three rows, or none where that is not allowed."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return []
    gateway: dict[str, Any] = {"bind": "custom", "customBindHost": HERE, "port": PORT, "auth": {"token": TOKEN}}
    gateway["tls"] = {"enabled": False, "allowPlaintext": True}
    wrapper = ("unshare", "--net", "sh", "-c", _NEAR, "sh")
    with running({"gateway": gateway, "logging": {"level": "error"}}, wrapper=wrapper) as system:
        pid, clients = system.gateway_pid(), _Clients()
        try:
            clients.move(system.pid)
            for _ in range(0, IDLE, PER_DEVICE):
                system.call("device.pair.approve", {"requestId": clients.next()})
            used = cpu_seconds(pid)
            times = clients.next()
            each_connect, before = (cpu_seconds(pid) - used) / len(times), anonymous(pid)
            clients.next()
            time.sleep(SETTLE_SECONDS)
            each = (anonymous(pid) - before) / IDLE
        finally:
            clients.close()
    return [
        Row("connect with a signed device, plain, from another host, p50", percentile(times, 50), "ms", 2),
        Row("… CPU of the gateway for each", each_connect * 1000, "ms"),
        Row(f"memory of an idle connection, plain, {IDLE:,} of them", each / 1024, "KiB"),
    ]


class _Clients:
    """The process of the clients. It says a line of JSON after each step, and waits for one before the next."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "sh", "-c", _FAR]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def move(self, owner: int) -> None:
        """Give them their end of the cable, once they are in a namespace of their own."""
        mine, deadline = Path("/proc/self/ns/net").readlink(), time.monotonic() + 10
        while Path(f"/proc/{self._process.pid}/ns/net").readlink() == mine and time.monotonic() < deadline:
            time.sleep(0.01)
        there = ["ip", "link", "set", "far", "netns", str(self._process.pid)]
        subprocess.run(["nsenter", "--net", "--target", str(owner), *there], check=True, timeout=10)

    def next(self) -> Any:
        """Have them take the next step; what they say of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End them."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """The clients: each device asks to be paired, one connects over and over, then all of them, and stay."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address, devices = Address(HERE, PORT), [TestDevice() for _ in range(0, IDLE, PER_DEVICE)]

    def enter(saying: Saying) -> Guest:
        guest, answer = greet(address, saying)
        if not answer["ok"]:
            raise AssertionError(answer)
        return guest

    for device in devices:
        guest, answer = greet(address, device_says(device))
        guest.close()
        _say(answer["error"]["details"]["requestId"])
    times = []
    for _ in range(HANDSHAKES):
        began = time.perf_counter()
        guest = enter(device_says(devices[0]))
        times.append((time.perf_counter() - began) * 1000)
        guest.close()
    _say(times)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        guests = list(pool.map(enter, [device_says(devices[index // PER_DEVICE]) for index in range(IDLE)]))
    _say(len(guests))


def _say(what: object) -> None:
    """And wait; what began us took the first line."""
    print(json.dumps(what), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
