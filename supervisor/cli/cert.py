"""`peergate cert`: the outer door's certificate, shown and replaced, whether the system runs or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.config import load
from supervisor.cli.errors import BadConfig, CliError, NotAllowed
from supervisor.cli.invocation import Invocation, command, framed

if TYPE_CHECKING:
    from gateway.config.gateway_settings import Gateway
    from gateway.listen.certificate import Facts, Place


@click.group("cert")
def _cert() -> None:
    """The certificate clients of the outer door see, and remember by its fingerprint."""


cert = framed(_cert, "peergate cert show", "peergate cert renew")


@command("show", "peergate cert show", "peergate cert show --json")
def show(run: Invocation) -> None:
    """Print fingerprint, names, validity and path of the certificate the outer door uses.

    --json prints {fingerprint, names[], missing[], notBefore, notAfter, expired, generated, certPath, keyPath}."""
    gateway, place = _read(run)
    _refuse_missing(place, gateway)
    _tell(run, place, _facts(place), _wanted(gateway))


@command("renew", "peergate cert renew")
@click.option("--force", is_flag=True, help="Also a certificate that peergate did not make.")
def renew(run: Invocation, force: bool) -> None:
    """Make a new key and certificate with every name the door has now. A running system takes them over within seconds
    and lets connections be. Clients that remember the old fingerprint warn once, and want the new one."""
    from gateway.listen.certificate import make_pair, utc_now, write_pair

    gateway, place = _read(run)
    if place.cert.exists() and not force and not _facts(place).ours:
        fix = "have whoever made it renew it, or write over it with --force"
        raise CliError(f"{place.cert} was not made by peergate", fix=fix)
    wanted = _wanted(gateway)
    try:
        write_pair(place, *make_pair(wanted, utc_now()))
    except PermissionError as error:
        raise NotAllowed(f"{error.filename} cannot be written by this user", fix=_who_may(place.cert)) from None
    except OSError as error:
        raise CliError(f"{place.cert} cannot be written: {error}") from None
    _tell(run, place, _facts(place), wanted)


def _read(run: Invocation) -> tuple[Gateway, Place]:
    """The configuration as `up` would read it, and where it says the pair is."""
    from gateway.listen.certificate import finish_writing, place_of

    gateway = load(run, None).settings.gateway
    place = place_of(gateway.tls, Path(run.state_dir))
    try:
        finish_writing(place)
    except OSError as error:
        raise NotAllowed(f"{place.key.parent} cannot be entered: {error}", fix=_who_may(place.cert)) from None
    return gateway, place


def _refuse_missing(place: Place, gateway: Gateway) -> None:
    if not place.cert.exists():
        told = "it is made when the system starts" if gateway.tls.enabled else "gateway.tls.enabled is not on"
        raise CliError(f"there is no certificate at {place.cert}: {told}", fix="peergate cert renew makes one now")


def _facts(place: Place) -> Facts:
    from gateway.listen.certificate import BadCertificate, read_facts

    try:
        return read_facts(place)
    except BadCertificate as error:
        raise BadConfig(str(error), fix="peergate cert renew --force makes a new pair") from None


def _wanted(gateway: Gateway) -> list[str]:
    """Every name the door has by the configuration and this machine's addresses."""
    from gateway.listen.certificate import interface_addresses, names_of
    from supervisor.addresses import NoAddress, resolve_bind

    try:
        addresses = resolve_bind(gateway.bind, gateway.custom_hosts, interface_addresses())
    except NoAddress:
        addresses = []
    return names_of([one.host for one in addresses], gateway.host_names)


def _who_may(path: Path) -> str:
    """The command as the account that owns the files, or what is there of their directory."""
    import pwd

    for place in (path, *path.parents):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        try:
            return f"sudo -u {pwd.getpwuid(owner).pw_name} peergate cert …"
        except KeyError:
            return f"run it as uid {owner}"
    return "run it as the account peergate runs as"


def _tell(run: Invocation, place: Place, facts: Facts, wanted: list[str]) -> None:
    from gateway.listen.certificate import utc_now

    document: dict[str, Any] = {
        "fingerprint": facts.fingerprint,
        "names": list(facts.names),
        "missing": facts.lacks(wanted),
        "notBefore": facts.not_before.isoformat(),
        "notAfter": facts.not_after.isoformat(),
        "expired": utc_now() > facts.not_after,
        "generated": facts.ours,
        "certPath": str(place.cert),
        "keyPath": str(place.key),
    }
    run.answer(document, lambda: cert_text(document))


def cert_text(told: Mapping[str, Any]) -> str:
    """What a person reads."""
    made = "made by peergate" if told["generated"] else "not made by peergate"
    until = f"{told['notBefore'][:10]} to {told['notAfter'][:10]}" + (" (EXPIRED)" if told["expired"] else "")
    lines = [
        f"fingerprint  {told['fingerprint']}",
        f"names        {', '.join(told['names']) or 'none'}",
        f"valid        {until}, {made}",
        f"certificate  {told['certPath']}",
        f"key          {told['keyPath']}",
    ]
    if told["missing"]:
        lines.append(f"missing      {', '.join(told['missing'])} (peergate cert renew makes one with these names)")
    return "\n".join(lines)


for each in (show, renew):
    _cert.add_command(each)
