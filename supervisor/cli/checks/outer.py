"""Checks of the outer door: where it listens or would, whether the network can read along, who comes in, and whether a
peer of this machine can be told from an agent's tool."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.cli.asking import ask
from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation
from supervisor.cli.snapshot import read_status

if TYPE_CHECKING:
    from gateway.config.gateway_settings import Gateway, Tls

_TLS = "outer door's TLS"


def checks(run: Invocation) -> Iterator[Check]:
    """All of them; none when the configuration is wrong, which another check says."""
    from gateway.config import ConfigError, load

    try:
        loaded = load(Path(run.config) if run.config else None, environ=run.environ)
    except ConfigError:
        return
    gateway = loaded.settings.gateway
    if gateway.bind == "off":
        yield Check("outer door", OK, "off: the Unix doors only")
        return
    yield _place(gateway, run)
    yield _tls(gateway, Path(run.state_dir))
    yield from _names(run)
    yield _auth(gateway)
    yield _lookup()


def _place(gateway: Gateway, run: Invocation) -> Check:
    """Where the running system listens; else whether one could: the port is taken for a moment to see."""
    if addresses := (read_status(run.running_dir) or {}).get("addresses"):
        return Check("outer door", OK, f"bind {gateway.bind}: open at {', '.join(map(str, addresses))}")
    from supervisor.holders import who_listens
    from supervisor.listeners import CannotListen, open_listeners

    try:
        door = open_listeners(gateway.bind, gateway.port, gateway.custom_hosts, who_listens)
    except CannotListen as refused:
        found, _, fix = str(refused).partition(": ")
        return Check("outer door", FAIL, found, fix)
    told = [address if gateway.port else f"{address.rpartition(':')[0]} (any free port)" for address in door.addresses]
    door.close()
    return Check("outer door", OK, f"bind {gateway.bind}: will open at {', '.join(told)}")


def _tls(gateway: Gateway, state_dir: Path) -> Check:
    if gateway.tls.enabled:
        return _pair(gateway.tls, state_dir)
    if gateway.stays_local:
        return Check(_TLS, OK, f"off: bind {gateway.bind} is reached from this machine only")
    fix = "set gateway.tls.enabled to true, unless a proxy in front adds TLS"
    return Check(_TLS, WARN, f"off with bind {gateway.bind}: secrets cross the network in the clear", fix)


def _pair(tls: Tls, state_dir: Path) -> Check:
    """Whether certificate and key would be taken: a running system keeps the old pair, the next start does not."""
    from gateway.listen.certificate import BadCertificate, place_of, utc_now
    from gateway.listen.tls import load

    place = place_of(tls, state_dir)
    try:
        if place.generate and not place.cert.exists() and not place.key.exists():
            return Check(_TLS, OK, "on: the certificate is made at the first start")
        facts = load(place, tls).facts
    except BadCertificate as error:
        return Check(_TLS, FAIL, f"on: {error}", "without a pair that fits the next start is refused")
    except OSError as error:
        return Check(_TLS, WARN, f"on: the pair cannot be looked at: {error}", "run it as the account peergate runs as")
    told = f"on: {facts.fingerprint}, valid until {facts.not_after:%Y-%m-%d}"
    if utc_now() > facts.not_after:
        return Check(_TLS, WARN, f"{told}: that is over", "peergate cert renew, or whoever made it")
    return Check(_TLS, OK, told)


def _names(run: Invocation) -> Iterator[Check]:
    """Names a running system is reached by and its certificate lacks; nothing when none is, or nobody can be asked,
    which other checks tell."""
    try:
        told = ask(run.doors, "status", patience=0)
    except CliError:
        return
    if lacking := ((told.get("gateway") or {}).get("outerDoor") or {}).get("lacking"):
        from gateway.listen.certificate import RENEW

        found = f"the certificate in use does not name {', '.join(map(str, lacking))}"
        yield Check("certificate's names", WARN, f"{found}: clients that check names refuse it there", RENEW)


def _auth(gateway: Gateway) -> Check:
    auth = gateway.auth
    if auth.mode == "none":
        whom = "every operator's program here" if gateway.stays_local else "everybody who reaches the port"
        fix = "set gateway.auth.mode to token, unless you mean it"
        return Check("outer door's secret", WARN, f"mode none: {whom} comes in without secret and pairing", fix)
    if auth.mode == "token" and auth.token == "":
        fix = "leave gateway.auth.token out: then one is generated in the state directory"
        return Check("outer door's secret", WARN, "mode token with an empty token: nobody comes in by it", fix)
    return Check("outer door's secret", OK, f"mode {auth.mode}, and a paired device besides")


def _lookup() -> Check:
    """Dial ourselves and ask the kernel whose connection that is."""
    from supervisor import diag, netlink

    name = "peers on this machine"
    fix = (
        "the kernel needs inet_diag and tcp_diag, and a sandbox has to allow netlink; until then peers at this "
        "machine's own addresses are refused"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, peer = server.accept()
        with accepted:
            try:
                found = diag.established(peer, accepted.getsockname())
                local = netlink.is_local("127.0.0.1")
            except OSError as error:
                return Check(name, FAIL, f"cannot be looked up ({error})", fix)
    if found is None or not local:
        return Check(name, FAIL, "cannot be looked up: the kernel does not know a connection of our own", fix)
    return Check(name, OK, "are looked up: an agent's tool gains nothing by dialling the outer door")
