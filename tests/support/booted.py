"""A second machine inside this one: this machine's own files under an overlay, booted by systemd in systemd-nspawn.

Owns: making it, running commands in it, and its end. Nothing is downloaded and nothing written outside a tmpfs: the
overlay lives in a mount namespace of its own, which ends with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.system import eventually

ROOT = Path(__file__).resolve().parents[2]
INIT = Path("/usr/lib/systemd/systemd")
LOCK = Path("/run/peergate-tests-boot.lock")
ADMIN_PATH = "/opt/peergate/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 60.0
OFF_SECONDS = 20.0

STAGE = """[Unit]
Description=what the tests need of a machine, and nothing the machine below had enabled
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""

# $1: an empty directory; $2: files to lay over; $3: directories everybody must be able to enter; the rest: the boot.
MAKE = """set -eu
place=$1 seed=$2 enter=$3; shift 3
mount -t tmpfs -o mode=0755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
rm -rf "$place"/root/etc/systemd/system/* "$place/root/var/log/journal" "$place/root/opt/peergate"
: > "$place/root/etc/fstab"
cp -a "$seed/." "$place/root/"
for directory in $enter; do chmod o+x "$place/root$directory"; done
exec "$@"
"""


def require_boot() -> None:
    """Skip where a machine cannot be booted: not root, no systemd, or a container that may not mount."""
    if os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        pytest.skip("needs systemd-nspawn, as root")
    if not INIT.exists():
        pytest.skip("needs systemd as init: it is not installed")
    groups = Path("/sys/fs/cgroup/unified")
    groups = groups if groups.is_dir() else groups.parent
    if not os.access(groups / "cgroup.procs", os.W_OK) or os.statvfs(groups).f_flag & os.ST_RDONLY:
        pytest.skip("needs systemd as init: control groups are read-only here")
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        Path(place, "over").mkdir()
        Path(place, "seed").mkdir()
        command = ["unshare", "--mount", "sh", "-c", MAKE, "make", f"{place}/over", f"{place}/seed", "", "true"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs systemd-nspawn with an overlay of /: {tried.stderr.strip()[-200:]}")


class Machine:
    """A booted machine. `leader` is its PID 1 as we see it."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self.process, self.leader = process, leader

    def run(self, *command: str, user: str = "root") -> str:
        """What a command prints, both streams. Raises AssertionError with it when it fails."""
        done = self.attempt(*command, user=user)
        assert done.returncode == 0, f"{shlex.join(command)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def attempt(self, *command: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """A command as a user of the machine, with the groups the machine gives him."""
        enter = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        become = [] if user == "root" else ["runuser", "--user", user, "--"]
        return subprocess.run(
            [*enter, "--", "/usr/bin/env", "-i", f"PATH={ADMIN_PATH}", *become, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def write(self, path: str, text: str) -> None:
        """A file of root's in the machine, with its directory."""
        directory = shlex.quote(str(Path(path).parent))
        self.run("sh", "-c", f"mkdir -p {directory} && printf %s {shlex.quote(text)} > {shlex.quote(path)}")

    def unit(self, name: str, *fields: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        text = self.run("systemctl", "show", name, "--property", ",".join(fields))
        return dict(line.split("=", 1) for line in text.splitlines())

    def pids(self, group: str) -> set[int]:
        """The processes in a control group and below it, as the machine numbers them."""
        text = self.run("sh", "-c", f"cat $(find /sys/fs/cgroup/{group} -name cgroup.procs) 2>/dev/null || true")
        return {int(line) for line in text.split()}

    def alive(self, pid: int) -> bool:
        """Whether the process exists there and is no zombie."""
        return self.attempt("grep", "-q", "^State:.[^ZX]", f"/proc/{pid}/status").returncode == 0


@contextmanager
def booted(files: dict[str, str], links: dict[str, str]) -> Iterator[Machine]:
    """A running machine with these files and symbolic links laid over ours, and nothing enabled."""
    # One at a time: systemd-nspawn gives every unregistered machine the same control group.
    with LOCK.open("w") as lock, tempfile.TemporaryDirectory(prefix="pg-boot-") as directory:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place, seed, log = Path(directory, "place"), Path(directory, "seed"), Path(directory, "log")
        place.mkdir()
        _fill(seed, {**files, "/etc/systemd/system/stage.target": STAGE}, links)
        needed = [str(ROOT), sys.prefix, sys.base_prefix]
        command = ["unshare", "--mount", "sh", "-c", MAKE, "make", str(place), str(seed), _to_enter(needed)]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *_boot(place, needed)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )
        try:
            yield _await_boot(process, log)
        finally:
            _power_off(process)


def _boot(place: Path, needed: list[str]) -> list[str]:
    command = [
        "systemd-nspawn",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--console=pipe",
        "--quiet",
    ]
    command += ["--private-network", f"--directory={place}/root", *(f"--bind-ro={path}" for path in needed)]
    return [*command, "systemd.unit=stage.target"]


def _to_enter(needed: list[str]) -> str:
    """The parents of our files that not everybody may enter: /root, where pyenv likes to live."""
    parents = {parent for path in needed for parent in Path(path).parents}
    return " ".join(sorted(str(one) for one in parents if not one.stat().st_mode & stat.S_IXOTH))


def _fill(seed: Path, files: dict[str, str], links: dict[str, str]) -> None:
    for name, text in files.items():
        path = seed / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in links.items():
        path = seed / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def _await_boot(process: subprocess.Popen[bytes], log: Path) -> Machine:
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            machine = Machine(process, int(child))
            if machine.attempt("systemctl", "is-active", "stage.target").stdout.strip() == "active":
                return machine
        time.sleep(0.05)
    raise AssertionError(
        f"the machine did not boot (exit {process.poll()}):\n{log.read_text(errors='replace')[-4000:]}"
    )


def _power_off(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        eventually(lambda: process.poll() is not None, OFF_SECONDS)
    finally:
        process.kill()
        process.wait()
