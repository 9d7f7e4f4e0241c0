"""Containers as Docker makes them, without Docker: images built by buildah, run by crun with Docker's capabilities and
a default seccomp profile.

Owns: building the shipped image on a Debian base, running it, and the end of both. Only the base is kept between runs,
because it is the one part that does not come from this tree."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path("/var/cache/peergate-tests")
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE, IMAGE = "localhost/base", "localhost/peergate"
PROFILE = Path("/usr/share/containers/seccomp.json")  # containers-common, kept equal to Docker's
BUILD_SECONDS = 240.0

# What Docker leaves to a container's root: docs.docker.com, "Runtime privilege and Linux capabilities".
_DOCKERS = """AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP
    SETUID SYS_CHROOT"""
CAPABILITIES = [f"CAP_{name}" for name in _DOCKERS.split()]
# crun 1.8 refuses a machine that mounts control groups of both versions, so it is shown the second one alone.
UNIFIED = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "crun"]


def require_containers() -> None:
    """Skip where no container can be built or run."""
    for tool in ("buildah", "crun", "mmdebstrap"):
        if os.geteuid() != 0 or shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, as root")
    tried = subprocess.run([*UNIFIED, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs crun: {tried.stderr.strip()[-200:]}")


def _done(command: list[str], **options: Any) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, **options
    )
    if done.returncode and "No matching distribution found" in done.stdout:
        pytest.skip("needs a package index: pip found none")
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-8000:]}"
    return str(done.stdout)


def _make_base(tar: Path) -> None:
    """Debian as python:3-slim has it: apt (and with it libstdc++), Python, venv."""
    without = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--include={BASE_PACKAGES}", *without]
    made = subprocess.run(
        [*command, "bookworm", str(tar)], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if made.returncode:
        pytest.skip(f"needs mmdebstrap and a Debian mirror: {made.stderr.strip()[-200:]}")


class Store:
    """Images and containers of one test module; all but the base goes with it. One at a time per machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        CACHE.mkdir(parents=True, exist_ok=True)
        self._lock = (CACHE / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._buildah = ["buildah", f"--root={CACHE}/store", f"--runroot={directory}/run"]
        self.containers: list[Container] = []

    def buildah(self, *arguments: str) -> str:
        return _done([*self._buildah, *arguments]).strip()

    def build(self) -> None:
        """The shipped image, by its own Dockerfile, with this machine's package index in reach of pip."""
        self.buildah("rm", "--all")  # of a run that was killed
        if BASE not in self.buildah("images", "--format", "{{.Name}}"):
            self._import_base()
        volumes = [part for path in _index_files(self.directory) for part in ("--volume", path)]
        self.buildah(
            "bud", "--format", "docker", "--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={BASE}",
            *volumes, "--file", str(ROOT / "deploy/container/Dockerfile"), "--tag", IMAGE, str(ROOT),
        )  # fmt: skip

    def _import_base(self) -> None:
        tar = self.directory / "base.tar"
        _make_base(tar)
        empty = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", empty, str(tar), "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", empty)
        self.buildah("commit", "--quiet", "--rm", empty, BASE)
        tar.unlink()

    def image(self) -> dict[str, Any]:
        """The image's own configuration: User, Env, Entrypoint, Cmd, Healthcheck, Volumes."""
        config: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        return config

    def volume(self, name: str, covers: str) -> Path:
        """A named volume; a new one takes owner and mode from what it covers in the image, as Docker does."""
        place = self.directory / "volumes" / name
        if not place.exists():
            place.mkdir(parents=True)
            seen = Path(self.mounted()[1] + covers).stat()
            os.chown(place, seen.st_uid, seen.st_gid)
            place.chmod(seen.st_mode & 0o7777)
        return place

    def mounted(self) -> tuple[str, str]:
        """A new working container of the image and where its files are."""
        name = self.buildah("from", IMAGE)
        return name, self.buildah("mount", name)

    def run(self, *command: str, **options: Any) -> Container:
        """Start a container. Without a command the image's own."""
        container = Container(self, len(self.containers), command, **options)
        self.containers.append(container)
        return container

    def close(self) -> None:
        for container in self.containers:
            container.remove()
        self.buildah("rm", "--all")
        self.buildah("rmi", "--force", IMAGE)
        self._lock.close()


class Container:
    """One running container. `volumes` maps a path inside to (directory outside, read only)."""

    def __init__(
        self,
        store: Store,
        number: int,
        command: tuple[str, ...],
        *,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, tuple[Path, bool]] | None = None,
        entrypoint: list[str] | None = None,
        capabilities: list[str] | None = None,
        user: str | None = None,
    ) -> None:
        image = store.image()
        self.name = f"pg{os.getpid()}-{number}"
        self.bundle = store.directory / self.name
        self.bundle.mkdir()
        self._crun = [*UNIFIED, "crun", f"--root={store.directory}/crun", "--cgroup-manager=disabled"]
        self._capabilities = CAPABILITIES if capabilities is None else capabilities
        self._environment = [*image["Env"], *(f"{name}={value}" for name, value in (environment or {}).items())]
        self._cwd = image.get("WorkingDir") or "/"
        self.volumes = dict(volumes or {})
        self.files = Path(store.mounted()[1])
        arguments = [*(entrypoint or image["Entrypoint"]), *(command or image["Cmd"])]
        self._write_bundle(self._process(arguments, user or image["User"]))
        self.log = self.bundle / "log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*self._crun, "run", f"--bundle={self.bundle}", self.name],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def _process(self, arguments: list[str], user: str) -> dict[str, Any]:
        uid, _, gid = user.partition(":")
        held = self._capabilities if uid == "0" else []  # no other user gets any, only the right to a setuid program's
        sets = {name: held for name in ("effective", "permitted")} | {"bounding": self._capabilities}
        return {
            "terminal": False, "user": {"uid": int(uid), "gid": int(gid)}, "args": arguments, "cwd": self._cwd,
            "env": self._environment, "capabilities": sets, "noNewPrivileges": True,
        }  # fmt: skip

    def _write_bundle(self, process: dict[str, Any]) -> None:
        _done([*self._crun, "spec"], cwd=self.bundle)
        path = self.bundle / "config.json"
        spec = json.loads(path.read_text())
        spec["root"] = {"path": str(self.files), "readonly": False}
        spec["process"] = process
        for inside, (outside, read_only) in self.volumes.items():
            options = ["rbind", "ro" if read_only else "rw"]
            spec["mounts"].append({"destination": inside, "type": "bind", "source": str(outside), "options": options})
        spec["linux"].pop("resources", None)
        if PROFILE.exists():
            spec["linux"]["seccomp"] = _seccomp(json.loads(PROFILE.read_text()), set(self._capabilities))
        path.write_text(json.dumps(spec))

    def exec(self, *command: str, user: str = "1000:1000", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`docker exec`: a process beside PID 1, not below it."""
        file = self.bundle / "exec.json"
        file.write_text(json.dumps(self._process(list(command), user)))
        return subprocess.run(
            [*self._crun, "exec", f"--process={file}", self.name], capture_output=True, text=True, timeout=timeout,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def wait_for(self, words: str, seconds: float = 30) -> None:
        """Until the log has these words."""
        deadline = time.monotonic() + seconds
        while words not in self.said():
            assert time.monotonic() < deadline, f"never said {words!r} (exit {self.process.poll()}):\n{self.said()}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, signal_name: str, seconds: float = 10) -> int:
        """`docker stop`: the image's signal to PID 1, and its exit code. Raises subprocess.TimeoutExpired."""
        _done([*self._crun, "kill", self.name, signal_name])
        return self.process.wait(seconds)

    def remove(self) -> None:
        if self.process.poll() is None:
            subprocess.run([*self._crun, "delete", "--force", self.name], capture_output=True, check=False)
            self.process.wait(10)


def _seccomp(profile: dict[str, Any], capabilities: set[str]) -> dict[str, Any]:
    """A profile in Docker's form as the runtime wants it: rules for other machines and other capabilities left out."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    def applies(rule: dict[str, Any]) -> bool:
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if (wanted.get("arches") and machine not in wanted["arches"]) or machine in (unwanted.get("arches") or []):
            return False
        return capabilities.issuperset(wanted.get("caps") or []) and not capabilities & set(unwanted.get("caps") or [])

    fields = ("names", "action", "args", "errnoRet")
    rules = [
        {key: rule[key] for key in fields if rule.get(key) is not None} for rule in profile["syscalls"] if applies(rule)
    ]
    number = {"defaultErrnoRet": profile["defaultErrnoRet"]} if "defaultErrnoRet" in profile else {}
    return {"defaultAction": profile["defaultAction"], **number, "syscalls": rules}


def _index_files(directory: Path) -> list[str]:
    """Volumes that let pip in a build find what pip here finds over the network: its settings and certificates."""
    settings = _pip_settings()
    file = directory / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    trusted = {path for path in ("/etc/ssl/certs", settings.get("cert", "")) if path and Path(path).exists()}
    return [f"{file}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in sorted(trusted))]


def _pip_settings() -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(["/etc/pip.conf", Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"])
    settings = dict(parser["global"]) if parser.has_section("global") else {}
    for key in ("index-url", "extra-index-url", "find-links", "cert", "trusted-host"):
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        settings |= {key: value} if value else {}
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    return settings if "index-url" in settings or not index else {**settings, "index-url": index}
